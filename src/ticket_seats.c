/*
 * ticket_seats.c
 *		Tickets whose validity changes, many at once, and their seats: suspended,
 *		ended for good, made valid again.
 *
 * A suspended ticket is void for the application; a hold without an end keeps
 * its seat, so that stock needs no word for it. Reads and writes
 * public.tickets, ticketing.suspended_tickets, ticket_holds and door_states,
 * writes ticket_changes, reads checkins and stock_pools. Locks, in this order:
 * the event's shape, holds, what a return of stock takes, the tickets by id.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

KEPT_PLAN(suspend,
		  "WITH valid AS MATERIALIZED ("
		  "  SELECT t.id, t.ticket_type_id, t.user_id, t.status, gen_random_uuid() AS hold_id FROM public.tickets t "
		  "  WHERE t.id = ANY ($1) AND t.event_id = $2 AND t.status IN ('active', 'scanned') ORDER BY t.id FOR NO KEY UPDATE), "
		  "kept AS (INSERT INTO ticketing.ticket_holds (id, reservation_id, event_id, ticket_type_id, user_id, quantity, status, expires_at, created_at) "
		  "  SELECT hold_id, gen_random_uuid(), $2, ticket_type_id, user_id, 1, 'active', 'infinity', $5 FROM valid), "
		  "noted AS (INSERT INTO ticketing.suspended_tickets (ticket_id, event_id, hold_id, status_before, reason, suspended_by, suspended_at) "
		  "  SELECT id, $2, hold_id, status, $3, $4, $5 FROM valid), "
		  "logged AS (INSERT INTO ticketing.ticket_changes (ticket_id, event_id, change, actor, detail, changed_at) "
		  "  SELECT id, $2, 'suspended', $4, jsonb_build_object('reason', $3), $5 FROM valid) "
		  "UPDATE public.tickets t SET status = 'void' FROM valid v WHERE t.id = v.id RETURNING t.id",
		  UUIDARRAYOID, INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(tickets_with_seats,
		  "SELECT count(*), count(s.ticket_id) FROM public.tickets t LEFT JOIN ticketing.suspended_tickets s ON s.ticket_id = t.id "
		  "WHERE t.id = ANY ($1) AND t.event_id = $2 AND (t.status IN ('active', 'scanned') OR s.ticket_id IS NOT NULL)",
		  UUIDARRAYOID, INT4OID);
KEPT_PLAN(end_kept_seats,
		  "UPDATE ticketing.ticket_holds h SET status = $2, ended_at = $3 "
		  "FROM (SELECT k.id FROM ticketing.suspended_tickets s JOIN ticketing.ticket_holds k ON k.id = s.hold_id WHERE s.ticket_id = ANY ($1) AND k.status = 'active' ORDER BY k.id FOR UPDATE OF k) o "
		  "WHERE h.id = o.id",
		  UUIDARRAYOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(pools_of_tickets,
		  "SELECT p.pool_id, count(*)::integer FROM public.tickets t LEFT JOIN ticketing.suspended_tickets s ON s.ticket_id = t.id "
		  "JOIN ticketing.stock_pools p ON p.event_id = $2 AND (p.ticket_type_id IS NULL OR p.ticket_type_id = t.ticket_type_id) "
		  "WHERE t.id = ANY ($1) AND t.event_id = $2 AND (t.status IN ('active', 'scanned') OR s.ticket_id IS NOT NULL) GROUP BY p.pool_id",
		  UUIDARRAYOID, INT4OID);
KEPT_PLAN(end_valid_tickets,
		  "WITH locked AS MATERIALIZED (SELECT t.id, t.status FROM public.tickets t WHERE t.id = ANY ($1) AND t.event_id = $2 ORDER BY t.id FOR NO KEY UPDATE), "
		  "freed AS (DELETE FROM ticketing.suspended_tickets s USING locked l WHERE s.ticket_id = l.id RETURNING s.ticket_id), "
		  "ended AS (UPDATE public.tickets t SET status = $3 FROM locked l WHERE t.id = l.id "
		  "  AND (l.status IN ('active', 'scanned') OR (l.status = 'void' AND l.id IN (SELECT ticket_id FROM freed))) RETURNING t.id), "
		  "logged AS (INSERT INTO ticketing.ticket_changes (ticket_id, event_id, change, actor, detail, changed_at) "
		  "  SELECT id, $2, $4, $5, CASE WHEN $6 IS NULL THEN '{}' ELSE jsonb_build_object('reason', $6) END, $7 FROM ended) "
		  "SELECT count(*) FROM ended",
		  UUIDARRAYOID, INT4OID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(make_valid,
		  "WITH locked AS MATERIALIZED (SELECT t.id, t.status FROM public.tickets t WHERE t.id = ANY ($1) AND t.event_id = $2 ORDER BY t.id FOR NO KEY UPDATE), "
		  "freed AS (DELETE FROM ticketing.suspended_tickets s USING locked l WHERE s.ticket_id = l.id AND l.status = 'void' RETURNING s.ticket_id, s.status_before), "
		  "logged AS (INSERT INTO ticketing.ticket_changes (ticket_id, event_id, change, actor, detail, changed_at) SELECT ticket_id, $2, 'restored', $3, '{}', $4 FROM freed) "
		  "UPDATE public.tickets t SET status = f.status_before FROM freed f WHERE t.id = f.ticket_id "
		  "RETURNING t.id, EXISTS (SELECT FROM ticketing.checkins c WHERE c.ticket_id = t.id AND c.moved)",
		  UUIDARRAYOID, INT4OID, TEXTOID, TIMESTAMPTZOID);

/* What the locks before the tickets' own were chosen by must be as it was. */
static void
fail_changed_meanwhile(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("tickets were changed meanwhile"),
			 errhint("Try again.")));
}

/*
 * Suspends those of the tickets that are valid: no door admits them, and their
 * seats stay theirs. Returns how many, and which in suspended (may be NULL).
 * The caller has the event's shape lock, shared.
 */
int
suspend_tickets(int32 event_id, Datum ticket_ids, const char *reason, const char *actor, Datum *suspended, TimestampTz now)
{
	Datum		values[5] = {ticket_ids, Int32GetDatum(event_id), CStringGetTextDatum(reason), CStringGetTextDatum(actor), TimestampTzGetDatum(now)};
	uint64		rows;
	Datum	   *ids;

	declare_lock(RANK_PUBLIC);
	rows = run_latest(&suspend, values, NULL);
	if (suspended == NULL)
		return (int) rows;
	ids = palloc(sizeof(Datum) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
		ids[row] = uuid_copy(row_datum(row, 1));
	*suspended = uuid_array(ids, (int) rows);
	return (int) rows;
}

/* Gives the seats of tickets back to the pools of their tiers and event. */
static void
return_seats(int32 event_id, Datum ticket_ids)
{
	Datum		values[2] = {ticket_ids, Int32GetDatum(event_id)};
	uint64		rows = run_latest(&pools_of_tickets, values, NULL);
	PoolMove   *moves = palloc0(sizeof(PoolMove) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
	{
		moves[row].pool_id = DatumGetInt64(row_datum(row, 1));
		moves[row].quantity = DatumGetInt32(row_datum(row, 2));
		tally_pool(moves[row].pool_id, -moves[row].quantity);
	}
	stock_return(moves, (int) rows);
}

/* Ends the holds that keep the seats of suspended tickets; false when there are not as many as there should be. */
static bool
end_holds(Datum ticket_ids, const char *status, int64 expected, TimestampTz now)
{
	Datum		values[3] = {ticket_ids, CStringGetTextDatum(status), TimestampTzGetDatum(now)};

	if (expected == 0)
		return true;
	declare_lock(RANK_HOLD);
	return run_latest(&end_kept_seats, values, NULL) == (uint64) expected;
}

/*
 * Ends those of the tickets that are valid or suspended, as void or refunded,
 * and gives their seats back; the others have ended before. The caller has the
 * event's shape lock, shared. reason may be NULL. False: they were changed
 * meanwhile, and the caller must raise an error.
 */
bool
try_end_tickets(int32 event_id, Datum ticket_ids, const char *status, const char *change, const char *actor, const char *reason, TimestampTz now)
{
	char		nulls[8] = "       ";
	Datum		values[7] = {ticket_ids, Int32GetDatum(event_id), CStringGetTextDatum(status), CStringGetTextDatum(change), CStringGetTextDatum(actor),
	text_or_null(reason, &nulls[5]), TimestampTzGetDatum(now)};
	int64		seats;
	int64		suspended;

	run_latest(&tickets_with_seats, values, NULL);
	seats = DatumGetInt64(row_datum(0, 1));
	suspended = DatumGetInt64(row_datum(0, 2));
	if (seats == 0)
		return true;
	/* the seats before the tickets, as locks are ordered */
	if (!end_holds(ticket_ids, "released", suspended, now))
		return false;
	return_seats(event_id, ticket_ids);
	declare_lock(RANK_PUBLIC);
	run_latest(&end_valid_tickets, values, nulls);
	if (DatumGetInt64(row_datum(0, 1)) != seats)
		return false;
	/* what is void was void in public.tickets while it was suspended: no trigger has told the doors */
	if (suspended > 0)
		touch_door_states(ticket_ids, event_id);
	return true;
}

/* The same for callers who need not tell what was changed. */
void
end_tickets(int32 event_id, Datum ticket_ids, const char *status, const char *change, const char *actor, const char *reason, TimestampTz now)
{
	if (!try_end_tickets(event_id, ticket_ids, status, change, actor, reason, now))
		fail_changed_meanwhile();
}

/* Makes those of the tickets that are suspended valid again, as they were. The caller has the event's shape lock, shared. */
void
restore_tickets(int32 event_id, Datum ticket_ids, const char *actor, TimestampTz now)
{
	Datum		values[4] = {ticket_ids, Int32GetDatum(event_id), CStringGetTextDatum(actor), TimestampTzGetDatum(now)};
	int64		suspended;
	uint64		rows;
	pg_uuid_t  *moved;
	int			moved_count = 0;

	run_latest(&tickets_with_seats, values, NULL);
	suspended = DatumGetInt64(row_datum(0, 2));
	if (suspended == 0)
		return;
	if (!end_holds(ticket_ids, "converted", suspended, now))
		fail_changed_meanwhile();
	declare_lock(RANK_PUBLIC);
	rows = run_latest(&make_valid, values, NULL);
	if (rows != (uint64) suspended)
		fail_changed_meanwhile();
	moved = palloc(sizeof(pg_uuid_t) * rows);
	for (uint64 row = 0; row < rows; row++)
		if (DatumGetBool(row_datum(row, 2)))
			moved[moved_count++] = *DatumGetUUIDP(row_datum(row, 1));
	/* scans may have been uploaded or undone meanwhile */
	qsort(moved, moved_count, sizeof(pg_uuid_t), compare_uuids);
	if (moved_count > 0)
		fold_tickets(moved, moved_count);
}
