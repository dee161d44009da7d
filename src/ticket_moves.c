/*
 * ticket_moves.c
 *		Brings tickets and the results of their scans to what door_fold.c makes
 *		of the scans that moved somebody, and undoes a scan.
 *
 * Reads ticketing.event_settings; reads and writes ticketing.checkins,
 * door_states and public.tickets. Locks: tickets by id; callers of the exported
 * functions hold them already.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "door_fold.h"
#include "dvnt_ticketing.h"

/* Scanned by other code, or before us: a scan of its own stands for that. */
KEPT_PLAN(adopt_admissions,
		  "INSERT INTO ticketing.checkins (id, event_id, ticket_id, code_hash, result, direction, scanned_by, scanned_at, happened_at, recorded_at, moved, flags) "
		  "SELECT gen_random_uuid(), t.event_id, t.id, encode(sha256(convert_to(t.qr_token, 'UTF8')), 'hex'), 'admitted', 'in', coalesce(t.checked_in_by, ''), "
		  "       coalesce(t.checked_in_at, $2), coalesce(t.checked_in_at, $2), $2, true, '{adopted}' "
		  "FROM public.tickets t WHERE t.id = ANY ($1) AND t.status = 'scanned' "
		  "AND NOT EXISTS (SELECT FROM ticketing.checkins c WHERE c.ticket_id = t.id AND c.moved AND c.direction = 'in' AND c.undone_at IS NULL)",
		  UUIDARRAYOID, TIMESTAMPTZOID);
KEPT_PLAN(read_moves,
		  "SELECT c.ticket_id, c.id, coalesce(c.scan_id, c.id), c.happened_at, c.device_id, c.direction = 'out', c.result, c.scanned_by, 'duplicate' = ANY (c.flags) "
		  "FROM ticketing.checkins c WHERE c.ticket_id = ANY ($1) AND c.moved AND c.undone_at IS NULL ORDER BY c.ticket_id",
		  UUIDARRAYOID);
KEPT_PLAN(write_results,
		  "UPDATE ticketing.checkins c SET result = u.result, "
		  "  flags = CASE WHEN u.result = 'already_admitted' THEN array_append(array_remove(c.flags, 'duplicate'), 'duplicate') ELSE array_remove(c.flags, 'duplicate') END "
		  "FROM unnest($1::uuid[], $2::text[]) AS u (id, result) WHERE c.id = u.id",
		  UUIDARRAYOID, TEXTARRAYOID);
KEPT_PLAN(write_states,
		  "UPDATE public.tickets t SET "
		  "  status = CASE WHEN t.status NOT IN ('active', 'scanned') THEN t.status WHEN u.admitted_at IS NULL THEN 'active' ELSE 'scanned' END, "
		  "  checked_in_at = u.admitted_at, checked_in_by = u.admitted_by "
		  "FROM unnest($1::uuid[], $2::timestamptz[], $3::text[]) AS u (id, admitted_at, admitted_by) "
		  "WHERE t.id = u.id AND (t.status IN ('active', 'scanned') OR u.admitted_at IS NOT NULL) AND (t.checked_in_at, t.checked_in_by, t.status = 'scanned') IS DISTINCT FROM (u.admitted_at, u.admitted_by, u.admitted_at IS NOT NULL)",
		  UUIDARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID);
KEPT_PLAN(touch_doors,
		  "INSERT INTO ticketing.door_states AS d (event_id, ticket_id, version, changed_by) SELECT $2, id, 1, pg_current_xact_id() FROM unnest($1) id "
		  "ON CONFLICT (event_id, ticket_id) DO UPDATE SET version = d.version + 1, changed_by = excluded.changed_by",
		  UUIDARRAYOID, INT4OID);
KEPT_PLAN(find_checkin,
		  "SELECT event_id, ticket_id, scanned_by FROM ticketing.checkins WHERE id = $1", UUIDOID);
KEPT_PLAN(lock_ticket,
		  "SELECT FROM public.tickets WHERE id = $1 FOR NO KEY UPDATE", UUIDOID);
KEPT_PLAN(mark_undone,
		  "UPDATE ticketing.checkins SET undone_at = $2, undone_by = $3, undo_reason = $4 WHERE id = $1 AND moved AND undone_at IS NULL",
		  UUIDOID, TIMESTAMPTZOID, TEXTOID, TEXTOID);
KEPT_PLAN(read_undone,
		  "SELECT c.undone_at, t.status, c.moved FROM ticketing.checkins c LEFT JOIN public.tickets t ON t.id = c.ticket_id WHERE c.id = $1", UUIDOID);

/* A row of checkins that moved somebody. */
typedef struct MovedScan
{
	pg_uuid_t	ticket_id;
	pg_uuid_t	checkin_id;
	const char *result;
	const char *scanned_by;
	bool		flagged;		/* as a duplicate */
} MovedScan;

/* What is to be written. */
typedef struct Changes
{
	int			scan_count;
	Datum	   *scan_ids;
	Datum	   *results;
	int			ticket_count;
	Datum	   *ticket_ids;
	Datum	   *admitted_at;
	Datum	   *admitted_by;
	bool	   *admitted_nulls;
} Changes;

static void
read_move(uint64 row, DoorMove *move, MovedScan *scan)
{
	scan->ticket_id = *DatumGetUUIDP(row_datum(row, 1));
	scan->checkin_id = *DatumGetUUIDP(row_datum(row, 2));
	scan->result = row_text(row, 7);
	scan->scanned_by = row_text(row, 8);
	scan->flagged = DatumGetBool(row_datum(row, 9));
	memcpy(move->scan_id, DatumGetUUIDP(row_datum(row, 3))->data, UUID_LEN);
	move->happened_at = DatumGetTimestampTz(row_datum(row, 4));
	move->device_id = row_text(row, 5);
	move->out = DatumGetBool(row_datum(row, 6));
	move->owner = scan;
}

/* Folds one ticket's moves, which may be none, and notes what differs. */
static void
fold_ticket(const pg_uuid_t *ticket_id, DoorMove *moves, int count, Changes *changes)
{
	DoorState	state;
	int			n = changes->ticket_count++;

	qsort(moves, count, sizeof(DoorMove), door_move_compare);
	state = door_fold(moves, count);
	for (int i = 0; i < count; i++)
	{
		MovedScan  *scan = moves[i].owner;
		const char *result = move_result_name(moves[i].result);

		if (strcmp(scan->result, result) == 0 && scan->flagged == (moves[i].result == MOVE_ALREADY_ADMITTED))
			continue;
		changes->scan_ids[changes->scan_count] = UUIDPGetDatum(&scan->checkin_id);
		changes->results[changes->scan_count++] = CStringGetTextDatum(result);
	}
	changes->ticket_ids[n] = UUIDPGetDatum(ticket_id);
	changes->admitted_nulls[n] = state.admission == NULL;
	changes->admitted_at[n] = state.admission ? TimestampTzGetDatum(state.admission->happened_at) : (Datum) 0;
	changes->admitted_by[n] = state.admission ? CStringGetTextDatum(((MovedScan *) state.admission->owner)->scanned_by) : (Datum) 0;
}

static void
write_changes(const Changes *changes)
{
	Datum		results[2] = {uuid_array(changes->scan_ids, changes->scan_count), text_array(changes->results, changes->scan_count)};
	Datum		states[3] = {uuid_array(changes->ticket_ids, changes->ticket_count),
		array_with_nulls(changes->admitted_at, changes->admitted_nulls, changes->ticket_count, TIMESTAMPTZOID),
	array_with_nulls(changes->admitted_by, changes->admitted_nulls, changes->ticket_count, TEXTOID)};

	if (changes->scan_count > 0)
		run_latest(&write_results, results, NULL);
	run_latest(&write_states, states, NULL);
}

/* Gives tickets that other code has scanned a scan of their own to be folded. */
void
adopt_scanned_tickets(Datum ticket_ids, TimestampTz now)
{
	Datum		values[2] = {ticket_ids, TimestampTzGetDatum(now)};

	run_latest(&adopt_admissions, values, NULL);
}

/* Tells the doors of tickets whose last movement has changed, though their row has not. */
void
touch_door_states(Datum ticket_ids, int32 event_id)
{
	Datum		values[2] = {ticket_ids, Int32GetDatum(event_id)};

	run_latest(&touch_doors, values, NULL);
}

/* Folds the moves of tickets, which are locked and each there once, in the order of their ids. */
void
fold_tickets(const pg_uuid_t *ticket_ids, int count)
{
	Datum	   *ids = palloc(sizeof(Datum) * count);
	Datum		values[1];
	uint64		rows;
	uint64		row = 0;
	DoorMove   *moves;
	MovedScan  *scans;
	Changes		changes = {0};

	for (int i = 0; i < count; i++)
		ids[i] = UUIDPGetDatum(&ticket_ids[i]);
	values[0] = uuid_array(ids, count);
	rows = run_latest(&read_moves, values, NULL);
	moves = palloc0(sizeof(DoorMove) * (rows + 1));
	scans = palloc0(sizeof(MovedScan) * (rows + 1));
	for (uint64 i = 0; i < rows; i++)
		read_move(i, &moves[i], &scans[i]);

	changes.scan_ids = palloc(sizeof(Datum) * (rows + 1));
	changes.results = palloc(sizeof(Datum) * (rows + 1));
	changes.ticket_ids = palloc(sizeof(Datum) * count);
	changes.admitted_at = palloc(sizeof(Datum) * count);
	changes.admitted_by = palloc(sizeof(Datum) * count);
	changes.admitted_nulls = palloc(sizeof(bool) * count);
	for (int i = 0; i < count; i++)
	{
		uint64		first = row;

		while (row < rows && memcmp(scans[row].ticket_id.data, ticket_ids[i].data, UUID_LEN) == 0)
			row++;
		fold_ticket(&ticket_ids[i], &moves[first], (int) (row - first), &changes);
	}
	if (row != rows)
		elog(ERROR, "moves of tickets are not in the order of their ids");
	write_changes(&changes);
}

/* Finds the scan that is to be undone and checks that the actor may: who made it, or who leads the event. */
static int32
find_scan_to_undo(const pg_uuid_t *checkin_id, const char *actor, pg_uuid_t *ticket_id)
{
	Datum		id = UUIDPGetDatum(checkin_id);
	char	   *figures = psprintf("\"checkin_id\": \"%s\"", uuid_text(checkin_id));
	int32		event_id;
	char	   *scanned_by;

	if (run_latest(&find_checkin, &id, NULL) == 0)
		refuse(NOT_FOUND, figures, NULL, "check-in %s does not exist", uuid_text(checkin_id));
	event_id = DatumGetInt32(row_datum(0, 1));
	scanned_by = row_text(0, 3);
	if (row_is_null(0, 2))
		refuse(WRONG_STATE, figures, "Only a scan that let somebody in or out can be undone.",
			   "check-in %s is of no ticket", uuid_text(checkin_id));
	*ticket_id = *DatumGetUUIDP(row_datum(0, 2));
	if (strcmp(scanned_by, actor) != 0 || !is_permitted(event_id, actor, "scan"))
		require_permission(event_id, actor, "admin");
	return event_id;
}

PG_FUNCTION_INFO_V1(dvnt_undo_check_in);

/* undo_check_in(checkin_id, actor, reason) → jsonb */
Datum
dvnt_undo_check_in(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *checkin_id;
	char	   *actor = text_argument(fcinfo, 1, "actor");
	char	   *reason = text_argument(fcinfo, 2, "reason");
	pg_uuid_t	ticket_id;
	Datum		ticket;
	int32		event_id;
	Datum		values[4];
	TimestampTz now;
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 0, "checkin_id");
	checkin_id = PG_GETARG_UUID_P(0);
	begin_command();
	event_id = find_scan_to_undo(checkin_id, actor, &ticket_id);
	ticket = UUIDPGetDatum(&ticket_id);
	declare_lock(RANK_PUBLIC);
	run_latest(&lock_ticket, &ticket, NULL);
	now = engine_now();
	values[0] = UUIDPGetDatum(checkin_id);
	values[1] = TimestampTzGetDatum(now);
	values[2] = CStringGetTextDatum(actor);
	values[3] = CStringGetTextDatum(reason);
	if (run_latest(&mark_undone, values, NULL) == 0)
	{
		bool		moved;

		run_latest(&read_undone, values, NULL);
		moved = DatumGetBool(row_datum(0, 3));
		refuse(moved ? ALREADY_DONE : WRONG_STATE, psprintf("\"checkin_id\": \"%s\"", uuid_text(checkin_id)),
			   moved ? NULL : "Only a scan that let somebody in or out can be undone.",
			   moved ? "check-in %s was undone before" : "check-in %s was refused at the door", uuid_text(checkin_id));
	}
	fold_tickets(&ticket_id, 1);
	touch_door_states(uuid_array(&ticket, 1), event_id);
	run_latest(&read_undone, values, NULL);
	answer_begin(&answer);
	answer_uuid(&answer, "checkin_id", checkin_id);
	answer_uuid(&answer, "ticket_id", &ticket_id);
	answer_text(&answer, "ticket_status", row_text(0, 2));
	answer_time(&answer, "undone_at", now);
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
