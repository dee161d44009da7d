/*
 * spi_plan.c
 *		Statements that are planned once for each backend, the two ways to run
 *		them, and subtransactions that undo a half-done step.
 *
 * run_latest() sees what has committed up to now, whatever the isolation level
 * of the caller: to be used after a lock is taken (see ri_triggers.c for the
 * same need). run_stable() sees the active snapshot and writes nothing.
 */
#include "postgres.h"

#include "access/xact.h"
#include "funcapi.h"
#include "jit/jit.h"
#include "optimizer/cost.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "dvnt_ticketing.h"

/* Each command of the engine begins here and ends with SPI_finish. */
void
begin_command(void)
{
	(void) begin_locking(RANK_NONE);
	SPI_connect();
}

/*
 * For hold_tickets, which runs no statement on its usual path and so does not
 * pay for a search_path of its own on every call: fixes it where a statement is
 * run after all, until unfix_search_path or an error.
 */
int
fix_search_path(void)
{
	int			nest = NewGUCNestLevel();

	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return nest;
}

void
unfix_search_path(int nest)
{
	AtEOXact_GUC(true, nest);
}

/* Plans a statement on its first use, and again when its plan was lost. */
static pg_noinline SPIPlanPtr
ready_plan(KeptPlan *kept)
{
	if (kept->plan == NULL || !SPI_plan_is_valid(kept->plan))
	{
		SPIPlanPtr	fresh;

		if (kept->plan != NULL)
		{
			SPI_freeplan(kept->plan);
			kept->plan = NULL;
		}
		/* how many rows a survey's parameters stand for decides how it is done */
		fresh = SPI_prepare_cursor(kept->sql, kept->argument_count, kept->argument_types, kept->reads_much ? CURSOR_OPT_CUSTOM_PLAN : CURSOR_OPT_GENERIC_PLAN);
		if (fresh == NULL)
			elog(ERROR, "SPI_prepare returned %s for %s", SPI_result_code_string(SPI_result), kept->sql);
		if (SPI_keepplan(fresh) != 0)
			elog(ERROR, "SPI_keepplan failed for %s", kept->sql);
		kept->plan = fresh;
	}
	return kept->plan;
}

/* Checks SPI's answer and returns the number of rows. */
static uint64
checked(int code, const KeptPlan *kept)
{
	if (code < 0)
		elog(ERROR, "SPI returned %s for %s", SPI_result_code_string(code), kept->sql);
	return SPI_processed;
}

/*
 * Runs a kept plan. It is planned once, perhaps while a table is still tiny and
 * reading all of it, or of a partial index, looks cheap: at an on-sale it will
 * not be. So a statement with parameters takes the one index that serves, unless
 * it is made to compare much of its tables (KEPT_SURVEY).
 */
static uint64
run_plan(KeptPlan *kept, const Datum *values, const char *nulls, Snapshot snapshot)
{
	SPIPlanPtr	plan = ready_plan(kept);
	bool		seqscan_before = enable_seqscan;
	bool		bitmapscan_before = enable_bitmapscan;
	bool		jit_before = jit_enabled;
	volatile int code = 0;

	if (kept->argument_count > 0 && !kept->reads_much)
	{
		enable_seqscan = false;
		enable_bitmapscan = false;
		jit_enabled = false;	/* the price of what is ruled out is no reason to compile */
	}
	PG_TRY();
	{
		code = snapshot == InvalidSnapshot
			? SPI_execute_plan(plan, (Datum *) values, nulls, true, 0)
			: SPI_execute_snapshot(plan, (Datum *) values, nulls, snapshot, InvalidSnapshot, false, true, 0);
	}
	PG_FINALLY();
	{
		enable_seqscan = seqscan_before;
		enable_bitmapscan = bitmapscan_before;
		jit_enabled = jit_before;
	}
	PG_END_TRY();
	return checked(code, kept);
}

uint64
run_latest(KeptPlan *kept, const Datum *values, const char *nulls)
{
	return run_plan(kept, values, nulls, GetLatestSnapshot());
}

uint64
run_stable(KeptPlan *kept, const Datum *values, const char *nulls)
{
	return run_plan(kept, values, nulls, InvalidSnapshot);
}

/*
 * For answers that a command of the same transaction may have changed, at an
 * isolation level with one old snapshot: our commands change the latest
 * versions of rows, beside which that snapshot may still see an older one. So
 * once the transaction has written, it reads what is latest.
 */
void
begin_reading(void)
{
	if (IsolationUsesXactSnapshot() && TransactionIdIsValid(GetTopTransactionIdIfAny()))
		PushActiveSnapshot(GetLatestSnapshot());
	else
		PushActiveSnapshot(GetActiveSnapshot());
}

void
end_reading(void)
{
	PopActiveSnapshot();
}

/* A column of a row of the last statement; columns count from 1. */
Datum
row_value(uint64 row, int column, bool *isnull)
{
	return SPI_getbinval(SPI_tuptable->vals[row], SPI_tuptable->tupdesc, column, isnull);
}

/* The same where NULL cannot be. */
Datum
row_datum(uint64 row, int column)
{
	bool		isnull;
	Datum		value = row_value(row, column, &isnull);

	if (isnull)
		elog(ERROR, "unexpected NULL in column %d", column);
	return value;
}

bool
row_is_null(uint64 row, int column)
{
	bool		isnull;

	(void) row_value(row, column, &isnull);
	return isnull;
}

/* A text column as a C string, NULL for NULL. */
char *
row_text(uint64 row, int column)
{
	bool		isnull;
	Datum		value = row_value(row, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* A uuid column as its 36 characters. */
char *
row_uuid_text(uint64 row, int column)
{
	return uuid_text(DatumGetUUIDP(row_datum(row, column)));
}

/* Makes the rows of the last statement the result of a set-returning function. */
void
rows_to_result(FunctionCallInfo fcinfo)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	SPITupleTable *rows = SPI_tuptable;
	int			columns = rows->tupdesc->natts;
	Datum	   *values = palloc(sizeof(Datum) * columns);
	bool	   *nulls = palloc(sizeof(bool) * columns);

	for (uint64 row = 0; row < rows->numvals; row++)
	{
		heap_deform_tuple(rows->vals[row], rows->tupdesc, values, nulls);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
}

/* A whole set-returning function that only reads: the rows of a statement. */
Datum
answer_rows(FunctionCallInfo fcinfo, KeptPlan *plan, const Datum *values, const char *nulls)
{
	InitMaterializedSRF(fcinfo, 0);
	begin_command();
	begin_reading();
	run_stable(plan, values, nulls);
	rows_to_result(fcinfo);
	end_reading();
	SPI_finish();
	return (Datum) 0;
}

/* Begins a step that may have to be undone by itself; errors must be caught and undo it, too. */
void
guarded_begin(Guard *guard)
{
	guard->context = CurrentMemoryContext;
	guard->owner = CurrentResourceOwner;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(guard->context);
}

void
guarded_commit(Guard *guard)
{
	ReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(guard->context);
	CurrentResourceOwner = guard->owner;
}

void
guarded_rollback(Guard *guard)
{
	RollbackAndReleaseCurrentSubTransaction();
	MemoryContextSwitchTo(guard->context);
	CurrentResourceOwner = guard->owner;
}

/* Errors that say nothing of the step: it was interrupted, or others were in its way. The caller is to try again. */
static bool
is_passing(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_QUERY_CANCELED || sqlerrcode == ERRCODE_ADMIN_SHUTDOWN ||
		sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE || sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED ||
		sqlerrcode == ERRCODE_LOCK_NOT_AVAILABLE;
}

/* Who is interrupted ends. */
static bool
is_interruption(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_QUERY_CANCELED || sqlerrcode == ERRCODE_ADMIN_SHUTDOWN;
}

/* Runs a step; NULL when it went well, else it is undone, and why it failed is returned, unless must_raise says that of its error. */
static char *
run_step(void (*step) (void *), void *argument, bool (*must_raise) (int sqlerrcode))
{
	Guard		guard;
	char	   *volatile failure = NULL;
	LockRank	before = begin_locking(RANK_NONE);

	guarded_begin(&guard);
	PG_TRY();
	{
		step(argument);
		guarded_commit(&guard);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(guard.context);
		error = CopyErrorData();
		FlushErrorState();
		guarded_rollback(&guard);
		if (must_raise(error->sqlerrcode))
			ReThrowError(error);
		failure = psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message);
		FreeErrorData(error);
	}
	PG_END_TRY();
	(void) begin_locking(before);
	return failure;
}

/*
 * Runs a step that may fail because of what it works on. NULL when it went
 * well; else it is undone, and why it failed is returned. Errors that pass with
 * time are raised.
 */
char *
try_step(void (*step) (void *), void *argument)
{
	return run_step(step, argument, is_passing);
}

/* The same for a step that somebody will try again anyway: what was in its way is a reason like others. */
char *
try_step_once(void (*step) (void *), void *argument)
{
	return run_step(step, argument, is_interruption);
}
