/*
 * statistics.c
 *		How often what happened: draws by path, refusals by reason. Counted for
 *		the whole server when the library is preloaded, else for this backend.
 *
 * Reads and writes no table, takes no lock. What is rolled back is counted, too.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/shmem.h"
#include "utils/builtins.h"

#include "compat.h"
#include "dvnt_ticketing.h"

/* Backends count in different cache lines, as far as there are enough. */
#define STRIPES 16

typedef struct Stripe
{
	pg_atomic_uint64 counts[COUNTER_COUNT];
	char		padding[PG_CACHE_LINE_SIZE];
} Stripe;

static Stripe own_stripes[STRIPES];
static Stripe *stripes = own_stripes;

static shmem_request_hook_type earlier_request_hook = NULL;
static shmem_startup_hook_type earlier_startup_hook = NULL;

static const char *const counter_names[COUNTER_COUNT] = {
	[DRAWN_FAST] = "drawn_fast",
	[DRAWN_STOLEN] = "drawn_stolen",
	[DRAWN_SLOW] = "drawn_slow",
	[DRAWN_AGAIN] = "drawn_again",
	[RETURNED] = "returned",
	[RECLAIMED] = "reclaimed",
};

static void
zero_stripes(Stripe *memory)
{
	for (int i = 0; i < STRIPES; i++)
		for (int k = 0; k < COUNTER_COUNT; k++)
			pg_atomic_init_u64(&memory[i].counts[k], 0);
}

static void
request_memory(void)
{
	if (earlier_request_hook)
		earlier_request_hook();
	RequestAddinShmemSpace(sizeof(own_stripes));
}

static void
attach_memory(void)
{
	bool		found;

	if (earlier_startup_hook)
		earlier_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	stripes = ShmemInitStruct("dvnt_ticketing statistics", sizeof(own_stripes), &found);
	if (!found)
		zero_stripes(stripes);
	LWLockRelease(AddinShmemInitLock);
}

/* Called when the library is loaded. */
void
prepare_statistics(void)
{
	zero_stripes(own_stripes);
	if (!process_shared_preload_libraries_in_progress)
		return;
	earlier_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	earlier_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_memory;
}

void
count_event(int counter)
{
	pg_atomic_fetch_add_u64(&stripes[backend_slot() % STRIPES].counts[counter], 1);
}

PG_FUNCTION_INFO_V1(dvnt_statistics);

/* statistics() → name, count, server_wide */
Datum
dvnt_statistics(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	for (int k = 0; k < COUNTER_COUNT; k++)
	{
		const char *name = k < COUNTER_REFUSED ? counter_names[k] : psprintf("refused_%s", refusal_name(k - COUNTER_REFUSED));
		uint64		count = 0;
		Datum		values[3];
		bool		nulls[3] = {false};

		for (int i = 0; i < STRIPES; i++)
			count += pg_atomic_read_u64(&stripes[i].counts[k]);
		values[0] = CStringGetTextDatum(name);
		values[1] = Int64GetDatum((int64) count);
		values[2] = BoolGetDatum(stripes != own_stripes);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
