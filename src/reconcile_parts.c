/*
 * reconcile_parts.c
 *		A run of the comparison in many transactions, one after each rest: for
 *		cron, where it takes a minute beside buyers, whose rows' old versions a
 *		snapshot that long would keep.
 *
 * A procedure that commits can neither be a security definer nor have settings
 * of its own: each part becomes the owner and fixes its settings by itself.
 * Repairs and findings are one transaction, the last. One session at a time,
 * by a lock of the session.
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "reconcile.h"

/* What is set while a part runs, as reconcile_orders has it. */
static const char *const settings[][2] = {
	{"search_path", "pg_catalog, pg_temp"}, {"work_mem", "64MB"}, {"lock_timeout", "2s"}, {"jit", "off"}
};

/* The transactions of a run. */
typedef struct Parts
{
	bool		may_commit;		/* false: in somebody's transaction block or function, all is one part */
	Oid			owner;
	Oid			caller;
	int			caller_context;
	int			nest_level;		/* of the settings */
} Parts;

/* Becomes the owner, with the settings and a snapshot. */
static void
become_owner(Parts *parts)
{
	parts->nest_level = NewGUCNestLevel();
	for (int i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i][0], settings[i][1], PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	GetUserIdAndSecContext(&parts->caller, &parts->caller_context);
	SetUserIdAndSecContext(parts->owner, parts->caller_context | SECURITY_LOCAL_USERID_CHANGE);
	PushActiveSnapshot(GetTransactionSnapshot());
	(void) begin_locking(RANK_NONE);
}

static void
become_caller(Parts *parts)
{
	PopActiveSnapshot();
	SetUserIdAndSecContext(parts->caller, parts->caller_context);
	AtEOXact_GUC(true, parts->nest_level);
}

void
begin_part(Parts *parts)
{
	if (parts->may_commit)
		become_owner(parts);
}

void
end_part(Parts *parts)
{
	if (!parts->may_commit)
		return;
	become_caller(parts);
	SPI_commit();
}

static Oid
owner_of(Oid function)
{
	HeapTuple	tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for function %u", function);
	owner = ((Form_pg_proc) GETSTRUCT(tuple))->proowner;
	ReleaseSysCache(tuple);
	return owner;
}

PG_FUNCTION_INFO_V1(dvnt_reconcile);

/* reconcile(max_findings, pace), a procedure */
Datum
dvnt_reconcile(PG_FUNCTION_ARGS)
{
	Parts		parts = {.owner = owner_of(fcinfo->flinfo->fn_oid)};
	Reconciliation run = {.parts = &parts};

	parts.may_commit = fcinfo->context && IsA(fcinfo->context, CallContext) && !castNode(CallContext, fcinfo->context)->atomic;
	if (parts.may_commit)
		MemoryContextSwitchTo(PortalContext);
	read_run_arguments(fcinfo, &run);
	SPI_connect_ext(parts.may_commit ? SPI_OPT_NONATOMIC : 0);
	if (!try_lock_reconciliation(RECONCILE_COMPARES, true))
	{
		ereport(NOTICE, (errmsg("orders are being reconciled by another session")));
		SPI_finish();
		PG_RETURN_VOID();
	}
	PG_TRY();
	{
		become_owner(&parts);
		carry_out(&run, NULL);
		become_caller(&parts);
	}
	PG_FINALLY();
	{
		unlock_reconciliation(RECONCILE_COMPARES);
	}
	PG_END_TRY();
	SPI_finish();
	PG_RETURN_VOID();
}
