/*
 * reconcile.c
 *		A run of the comparison: it finds, repairs and records; and the report
 *		for people.
 *
 * Reads and writes ticketing.findings and reconciliation_runs, reads
 * event_cursors and orders for the report; what it compares and repairs is
 * reconcile_checks.c's and reconcile_repairs.c's. One session at a time; the
 * findings are written after all repairs.
 */
#include "postgres.h"

#include <sys/resource.h>

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "reconcile.h"

#define LONGEST_REST_SECONDS 10.0
#define RUNS_KEPT "100"
#define LINES_OF_A_KIND "50"	/* in the report */

/*
 * An open finding gets its new figures, and is resolved if it was repaired. A
 * new one is recorded, unless a person has resolved the very same.
 */
KEPT_SURVEY(record_findings,
			"WITH d AS MATERIALIZED (SELECT kind, entity, detail::jsonb AS detail, repaired, repair, n FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY AS d (kind, entity, detail, repaired, repair, n)), "
			"known AS (UPDATE ticketing.findings f SET detail = d.detail, repair = d.repair, repaired = d.repaired, "
			"    resolved_at = CASE WHEN d.repaired THEN $6 END, resolution = CASE WHEN d.repaired THEN 'repaired' END "
			"  FROM d WHERE f.kind = d.kind AND f.entity = d.entity AND f.resolved_at IS NULL AND (f.detail, f.repair, f.repaired) IS DISTINCT FROM (d.detail, d.repair, d.repaired) "
			"  RETURNING f.kind, f.entity, f.detail, f.repaired, f.repair), "
			"made AS (INSERT INTO ticketing.findings (kind, entity, detail, found_at, repaired, repair, resolved_at, resolution) "
			"  SELECT d.kind, d.entity, d.detail, $6, d.repaired, d.repair, CASE WHEN d.repaired THEN $6 END, CASE WHEN d.repaired THEN 'repaired' END FROM d "
			"  WHERE NOT EXISTS (SELECT FROM ticketing.findings f WHERE f.kind = d.kind AND f.entity = d.entity AND f.resolved_at IS NULL) "
			"  AND NOT EXISTS (SELECT FROM ticketing.findings f WHERE f.kind = d.kind AND f.entity = d.entity AND f.resolved_at IS NOT NULL AND coalesce(f.resolution, '') NOT IN ('repaired', 'gone') AND f.detail = d.detail) "
			"  ORDER BY d.repaired DESC, d.n LIMIT $7 ON CONFLICT (kind, entity) WHERE resolved_at IS NULL DO NOTHING "
			"  RETURNING kind, entity, detail, repaired, repair) "
			"SELECT kind, entity, detail, repaired, repair FROM known WHERE repaired UNION ALL SELECT kind, entity, detail, repaired, repair FROM made ORDER BY 1, 2",
			TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BOOLARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID, INT4OID);
KEPT_SURVEY(resolve_gone,
			"UPDATE ticketing.findings f SET resolved_at = $4, resolution = 'gone' WHERE f.resolved_at IS NULL AND f.kind = ANY ($1) "
			"AND NOT EXISTS (SELECT FROM unnest($2, $3) d (kind, entity) WHERE d.kind = f.kind AND d.entity = f.entity)",
			TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID);
KEPT_PLAN(record_run,
		  "INSERT INTO ticketing.reconciliation_runs (started_at, finished_at, found, repaired, gone) VALUES ($1, $2, $3, $4, $5)",
		  TIMESTAMPTZOID, TIMESTAMPTZOID, INT4OID, INT4OID, INT4OID);
KEPT_PLAN(forget_runs,
		  "DELETE FROM ticketing.reconciliation_runs r USING (SELECT id FROM ticketing.reconciliation_runs ORDER BY id DESC OFFSET " RUNS_KEPT ") o WHERE r.id = o.id");

/* Seconds of a processor that this backend has used. */
static double
seconds_used(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_utime.tv_sec + usage.ru_stime.tv_sec + (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Waits while others have the processors. */
static void
sleep_for(double seconds)
{
	TimestampTz until = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) (seconds * 1000));
	long		left;

	while ((left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), until)) > 0)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Leaves the processors to buyers, for as long as makes what was used since the
 * last rest the run's part of the time. A run in parts has no snapshot
 * meanwhile.
 */
void
rest(Reconciliation *run)
{
	double		used = seconds_used() - run->used_before;
	double		seconds = Min(used * (1 / run->pace - 1), LONGEST_REST_SECONDS);

	if (seconds >= 0.001)
	{
		if (run->parts)
			end_part(run->parts);
		sleep_for(seconds);
		if (run->parts)
			begin_part(run->parts);
	}
	run->used_before = seconds_used();
}

/* Notes a fault, each once. */
void
add_finding(Reconciliation *run, const char *kind, const char *entity, const char *detail)
{
	MemoryContext before = MemoryContextSwitchTo(run->context);

	if (run->count == run->room)
	{
		run->room = Max(64, run->room * 2);
		run->findings = run->findings == NULL ? palloc(sizeof(Finding) * run->room) : repalloc_huge(run->findings, sizeof(Finding) * run->room);
	}
	run->findings[run->count++] = (Finding) {.kind = reconcile_kind(kind)->name, .entity = pstrdup(entity), .detail = pstrdup(detail)};
	MemoryContextSwitchTo(before);
}

/* Records what was found and what became of it; the rows of the last statement are then those that are news. */
static uint64
record(const Reconciliation *run, uint64 *gone)
{
	Datum	   *kinds = palloc(sizeof(Datum) * Max(run->count, reconcile_kind_count));
	Datum	   *entities = palloc(sizeof(Datum) * (run->count + 1));
	Datum	   *details = palloc(sizeof(Datum) * (run->count + 1));
	Datum	   *repaired = palloc(sizeof(Datum) * (run->count + 1));
	Datum	   *repairs = palloc(sizeof(Datum) * (run->count + 1));
	bool	   *no_nulls = palloc0(sizeof(bool) * (run->count + 1));
	Datum		values[7];
	Datum		missing[4];

	for (int i = 0; i < reconcile_kind_count; i++)
		kinds[i] = CStringGetTextDatum(reconcile_kinds[i].name);
	missing[0] = text_array(kinds, reconcile_kind_count);
	for (int i = 0; i < run->count; i++)
	{
		kinds[i] = CStringGetTextDatum(run->findings[i].kind);
		entities[i] = CStringGetTextDatum(run->findings[i].entity);
		details[i] = CStringGetTextDatum(run->findings[i].detail);
		repaired[i] = BoolGetDatum(run->findings[i].repaired);
		repairs[i] = CStringGetTextDatum(run->findings[i].repair);
	}
	values[0] = missing[1] = text_array(kinds, run->count);
	values[1] = missing[2] = text_array(entities, run->count);
	values[2] = text_array(details, run->count);
	values[3] = array_with_nulls(repaired, no_nulls, run->count, BOOLOID);
	values[4] = text_array(repairs, run->count);
	values[5] = missing[3] = TimestampTzGetDatum(run->now);
	values[6] = Int32GetDatum(run->max_findings);
	*gone = run_latest(&resolve_gone, missing, NULL);
	return run_latest(&record_findings, values, NULL);
}

/* Notes what a run came to. */
static void
note_run(const Reconciliation *run, uint64 found, int repairs, uint64 gone)
{
	Datum		values[5] = {
		TimestampTzGetDatum(run->now), TimestampTzGetDatum(engine_now()), Int32GetDatum((int32) found), Int32GetDatum(repairs), Int32GetDatum((int32) gone)
	};

	run_latest(&record_run, values, NULL);
	run_latest(&forget_runs, NULL, NULL);
}

/* Reads the arguments max_findings and pace; what is kept until the end is kept in the caller's context. */
void
read_run_arguments(FunctionCallInfo fcinfo, Reconciliation *run)
{
	require_argument(fcinfo, 0, "max_findings");
	require_argument(fcinfo, 1, "pace");
	run->now = engine_now();
	run->max_findings = PG_GETARG_INT32(0);
	run->pace = PG_GETARG_FLOAT8(1);
	if (run->max_findings < 1)
		refuse(BAD_REQUEST, "\"argument\": \"max_findings\"", NULL, "max_findings is below 1");
	if (!(run->pace >= 0.01 && run->pace <= 1))
		refuse(BAD_REQUEST, "\"argument\": \"pace\"", "0.1 is a tenth of one processor, 1 all of it.", "pace is not between 0.01 and 1");
	run->context = AllocSetContextCreate(CurrentMemoryContext, "dvnt_ticketing reconciliation", ALLOCSET_DEFAULT_SIZES);
	run->used_before = seconds_used();
}

/* Compares, repairs and records; what is news are the rows of the result, unless fcinfo is NULL. */
void
carry_out(Reconciliation *run, FunctionCallInfo fcinfo)
{
	uint64		found;
	uint64		gone;
	int			repairs = 0;

	compare_everything(run);
	repair_findings(run);
	(void) begin_locking(RANK_NONE);
	found = record(run, &gone);
	for (uint64 row = 0; row < found; row++)
		repairs += DatumGetBool(row_datum(row, 4));
	if (fcinfo)
		rows_to_result(fcinfo);
	note_run(run, found, repairs, gone);
}

PG_FUNCTION_INFO_V1(dvnt_reconcile_orders);

/* reconcile_orders(max_findings, pace) → kind, entity, detail, repaired, repair */
Datum
dvnt_reconcile_orders(PG_FUNCTION_ARGS)
{
	Reconciliation run = {0};

	read_run_arguments(fcinfo, &run);
	InitMaterializedSRF(fcinfo, 0);
	begin_command();
	if (try_lock_reconciliation(RECONCILE_COMPARES, false))
		carry_out(&run, fcinfo);
	else
		ereport(NOTICE, (errmsg("orders are being reconciled by another session")));
	SPI_finish();
	return (Datum) 0;
}

/* The report, a statement; of each kind some, the oldest first; $1 and $2: kinds of findings and what a person can do about them, $3: now. */
KEPT_SURVEY(report,
			"WITH f AS (SELECT f.*, coalesce(f.repair, a.advice, 'See the table of findings in docs/operations.md.') AS advice "
			"  FROM ticketing.findings f LEFT JOIN unnest($1, $2) a (kind, advice) ON a.kind = f.kind), "
			"r AS (SELECT * FROM ticketing.reconciliation_runs ORDER BY id DESC LIMIT 1) "
			"SELECT section, line FROM ("
			"  SELECT 1 AS part, 0::bigint AS n, 'summary' AS section, CASE WHEN count(*) = 0 THEN 'Nothing is open.' ELSE count(*) || ' findings are open.' END AS line FROM f WHERE resolved_at IS NULL "
			"  UNION ALL SELECT 1, 1, 'summary', coalesce((SELECT format('Orders were compared last at %s, in %s s: %s new findings, %s repaired, %s gone.', to_char(started_at, 'YYYY-MM-DD HH24:MI TZ'), "
			"      round(extract(epoch FROM finished_at - started_at), 1), found, repaired, gone) FROM r), 'Orders have never been compared: call reconcile_orders.') "
			"  UNION ALL SELECT 2, row_number() OVER (ORDER BY count(*) DESC, kind), 'open', format('%s: %s, since %s', replace(kind, '_', ' '), count(*), to_char(min(found_at), 'YYYY-MM-DD')) FROM f WHERE resolved_at IS NULL GROUP BY kind "
			"  UNION ALL SELECT 3, row_number() OVER (ORDER BY kind, id), 'to do', format('%s, %s: %s %s', replace(kind, '_', ' '), entity, advice, detail) "
			"    FROM (SELECT f.*, row_number() OVER (PARTITION BY kind ORDER BY id) AS nth FROM f WHERE resolved_at IS NULL) f WHERE nth <= " LINES_OF_A_KIND " "
			"  UNION ALL SELECT 4, row_number() OVER (ORDER BY kind, id), 'repaired', format('%s, %s, %s: %s', to_char(resolved_at, 'YYYY-MM-DD HH24:MI'), replace(kind, '_', ' '), entity, advice) FROM f WHERE repaired AND resolved_at > $3 - interval '7 days' AND id IN (SELECT k.id FROM f k WHERE k.repaired ORDER BY k.id DESC LIMIT " LINES_OF_A_KIND ") "
			"  UNION ALL SELECT 5, row_number() OVER (ORDER BY seen_until), 'events read', format('%s: up to %s ago%s', CASE account WHEN '' THEN 'the platform' ELSE account END, date_trunc('second', $3 - seen_until), coalesce('; refused: ' || failure, '')) "
			"    FROM ticketing.event_cursors WHERE account = '' OR failure IS NOT NULL OR seen_until < $3 - interval '1 day' "
			"  UNION ALL SELECT 6, row_number() OVER (ORDER BY due_at), 'waiting orders', format('%s is %s; that was due %s ago', order_id, replace(state, '_', ' '), date_trunc('second', $3 - due_at)) "
			"    FROM ticketing.orders WHERE state IN ('awaiting_payment', 'processing', 'expiring', 'canceling') AND due_at < $3 - interval '10 minutes') l "
			"ORDER BY part, n",
			TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZOID);

PG_FUNCTION_INFO_V1(dvnt_reconciliation_report);

/* reconciliation_report() → section, line */
Datum
dvnt_reconciliation_report(PG_FUNCTION_ARGS)
{
	Datum	   *kinds = palloc(sizeof(Datum) * reconcile_kind_count);
	Datum	   *advice = palloc(sizeof(Datum) * reconcile_kind_count);
	Datum		values[3];

	for (int i = 0; i < reconcile_kind_count; i++)
	{
		kinds[i] = CStringGetTextDatum(reconcile_kinds[i].name);
		advice[i] = CStringGetTextDatum(reconcile_kinds[i].advice);
	}
	values[0] = text_array(kinds, reconcile_kind_count);
	values[1] = text_array(advice, reconcile_kind_count);
	values[2] = TimestampTzGetDatum(engine_now());
	return answer_rows(fcinfo, &report, values, NULL);
}
