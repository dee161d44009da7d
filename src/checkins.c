/*
 * checkins.c
 *		The door: one scan, one call, one transaction.
 *
 * The signature is checked before any table is read. Reads
 * ticketing.event_settings, event_gates, event_co_organizers, door_devices,
 * superseded_codes and suspended_tickets; reads and writes public.tickets and
 * ticketing.checkins. Locks: the ticket's row.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

KEPT_PLAN(find_scan,
		  "SELECT c.code_hash, c.event_id, c.direction, c.answer, c.result, c.id, c.ticket_id, t.ticket_type_id, t.checked_in_at, t.checked_in_by "
		  "FROM ticketing.checkins c LEFT JOIN public.tickets t ON t.id = c.ticket_id WHERE c.scan_id = $1", UUIDOID);
KEPT_PLAN(read_door,
		  "SELECT coalesce(s.host_id = $2, false), s.doors_open, s.doors_close, s.reentry, "
		  "       coalesce(ticketing.role_permits(c.role, c.permissions, 'scan'), false), coalesce(ticketing.role_permits(c.role, c.permissions, 'admin'), false), "
		  "       d.revoked_at IS NOT NULL, EXISTS (SELECT FROM ticketing.event_gates k WHERE k.event_id = s.event_id), g.gate IS NOT NULL, g.ticket_type_ids "
		  "FROM ticketing.event_settings s "
		  "LEFT JOIN ticketing.event_co_organizers c ON c.event_id = s.event_id AND c.user_id = $2 AND c.status = 'accepted' "
		  "LEFT JOIN ticketing.door_devices d ON d.event_id = s.event_id AND d.device_id = $3 "
		  "LEFT JOIN ticketing.event_gates g ON g.event_id = s.event_id AND g.gate = $4 "
		  "WHERE s.event_id = $1",
		  INT4OID, TEXTOID, TEXTOID, TEXTOID);
KEPT_PLAN(admit_by_id,
		  "UPDATE public.tickets SET status = 'scanned', checked_in_at = $4, checked_in_by = $5 "
		  "WHERE id = $1 AND event_id = $2 AND qr_payload = $3 AND status = 'active' AND ($6 IS NULL OR ticket_type_id = ANY ($6)) RETURNING id, ticket_type_id",
		  UUIDOID, INT4OID, TEXTOID, TIMESTAMPTZOID, TEXTOID, UUIDARRAYOID);
KEPT_PLAN(admit_by_token,
		  "UPDATE public.tickets SET status = 'scanned', checked_in_at = $3, checked_in_by = $4 "
		  "WHERE qr_token = $2 AND event_id = $1 AND status = 'active' AND ($5 IS NULL OR ticket_type_id = ANY ($5)) RETURNING id, ticket_type_id",
		  INT4OID, TEXTOID, TIMESTAMPTZOID, TEXTOID, UUIDARRAYOID);
KEPT_PLAN(lock_ticket_by_id,
		  "SELECT id, event_id, ticket_type_id, status, checked_in_at, checked_in_by, qr_payload IS NOT DISTINCT FROM $2, $3 IS NULL OR ticket_type_id = ANY ($3) "
		  "FROM public.tickets WHERE id = $1 FOR NO KEY UPDATE",
		  UUIDOID, TEXTOID, UUIDARRAYOID);
KEPT_PLAN(lock_ticket_by_token,
		  "SELECT id, event_id, ticket_type_id, status, checked_in_at, checked_in_by, true, $2 IS NULL OR ticket_type_id = ANY ($2) "
		  "FROM public.tickets WHERE qr_token = $1 FOR NO KEY UPDATE",
		  TEXTOID, UUIDARRAYOID);
KEPT_PLAN(is_superseded,
		  "SELECT ticket_id FROM ticketing.superseded_codes WHERE code_hash = $1", TEXTOID);
KEPT_PLAN(is_suspended,
		  "SELECT FROM ticketing.suspended_tickets WHERE ticket_id = $1", UUIDOID);
KEPT_PLAN(last_movement,
		  "SELECT result, gate FROM ticketing.last_movements WHERE ticket_id = $1",
		  UUIDOID);
KEPT_PLAN(admit_again,
		  "UPDATE public.tickets SET checked_in_at = $2, checked_in_by = $3 WHERE id = $1",
		  UUIDOID, TIMESTAMPTZOID, TEXTOID);
KEPT_PLAN(record_scan,
		  "INSERT INTO ticketing.checkins (id, event_id, ticket_id, code_hash, result, direction, scanned_by, device_id, gate, scan_id, forced, scanned_at, happened_at, recorded_at, moved, answer) "
		  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $5 IN ('admitted', 'exited'), $14) ON CONFLICT (scan_id) WHERE scan_id IS NOT NULL DO NOTHING",
		  UUIDOID, INT4OID, UUIDOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID, UUIDOID, BOOLOID,
		  TIMESTAMPTZOID, TIMESTAMPTZOID, JSONBOID);

/* A scan and what is found out about it. */
typedef struct DoorScan
{
	/* asked */
	char	   *code;			/* without the deep link around it */
	char	   *code_hash;
	int32		event_id;
	char	   *scanned_by;
	char	   *device_id;
	char	   *gate;
	char	   *direction;
	pg_uuid_t  *scan_id;
	bool		has_scanned_at;
	TimestampTz scanned_at;
	bool		force;
	/* by the code alone */
	TicketCode	parsed;
	/* by the tables */
	TimestampTz now;			/* read anew when a lock was waited for */
	bool		reentry;
	bool		forced;
	bool		no_gate;		/* the event has gates, and this is none of them */
	bool		some_tiers;		/* not all tiers may come in at this gate: */
	Datum		tiers;
	const char *result;
	bool		has_ticket;
	pg_uuid_t	ticket_id;
	pg_uuid_t	ticket_type_id;
	bool		has_admitted_at;
	TimestampTz admitted_at;
	char	   *admitted_by;
	char	   *admitted_gate;
} DoorScan;

/* The answer that a scan was given before; one that was uploaded is told by its row, the last one read. */
static Datum
answer_again(void)
{
	Answer		answer;
	const char *result = row_text(0, 5);

	if (!row_is_null(0, 4))
		return row_datum(0, 4);
	answer_begin(&answer);
	answer_text(&answer, "result", result);
	answer_uuid(&answer, "checkin_id", DatumGetUUIDP(row_datum(0, 6)));
	answer_uuid(&answer, "ticket_id", row_is_null(0, 7) ? NULL : DatumGetUUIDP(row_datum(0, 7)));
	if (!row_is_null(0, 8) && strcmp(result, "superseded") != 0)
		answer_uuid(&answer, "ticket_type_id", DatumGetUUIDP(row_datum(0, 8)));
	answer_row_time(&answer, "admitted_at", 0, 9);
	if (!row_is_null(0, 9))
		answer_text(&answer, "admitted_by", row_text(0, 10));
	return answer_jsonb(&answer);
}

/* The answer that this scan id was given before, if any. */
static bool
recall_scan(const DoorScan *scan, Datum *answer)
{
	Datum		id = UUIDPGetDatum(scan->scan_id);

	if (scan->scan_id == NULL || run_latest(&find_scan, &id, NULL) == 0)
		return false;
	if (strcmp(row_text(0, 1), scan->code_hash) != 0 || DatumGetInt32(row_datum(0, 2)) != scan->event_id ||
		strcmp(row_text(0, 3), scan->direction) != 0)
		refuse(REQUEST_ID_REUSED, psprintf("\"scan_id\": \"%s\"", uuid_text(scan->scan_id)),
			   "Use a new scan id for each scan.", "scan id was used for another scan");
	*answer = answer_again();
	return true;
}

/* Whether the operator may scan here and now: NULL, or the result that says why not. */
static const char *
judge_door(DoorScan *scan)
{
	char		nulls[5] = "    ";
	Datum		values[4] = {Int32GetDatum(scan->event_id), CStringGetTextDatum(scan->scanned_by),
	text_or_null(scan->device_id, &nulls[2]), text_or_null(scan->gate, &nulls[3])};
	bool		hosts;
	bool		leads;
	DoorHours	hours;

	if (run_latest(&read_door, values, nulls) == 0)
		refuse_unknown_event(scan->event_id);
	hosts = DatumGetBool(row_datum(0, 1));
	scan->reentry = DatumGetBool(row_datum(0, 4));
	leads = hosts || DatumGetBool(row_datum(0, 6));
	if (!(hosts || DatumGetBool(row_datum(0, 5))) || (scan->force && !leads) || DatumGetBool(row_datum(0, 7)))
		return "not_allowed";
	scan->forced = scan->force;
	if (scan->forced || strcmp(scan->direction, "out") == 0)
		return NULL;
	hours = row_hours(2);
	if (too_early(&hours, scan->now))
		return "too_early";
	if (too_late(&hours, scan->now))
		return "too_late";
	scan->no_gate = DatumGetBool(row_datum(0, 8)) && !DatumGetBool(row_datum(0, 9));
	scan->some_tiers = !row_is_null(0, 10);
	if (scan->some_tiers)
		scan->tiers = PointerGetDatum(DatumGetArrayTypePCopy(row_datum(0, 10)));
	return NULL;
}

/* Notes that the scan admits now. */
static void
note_admission(DoorScan *scan)
{
	scan->has_admitted_at = true;
	scan->admitted_at = scan->now;
	scan->admitted_by = scan->scanned_by;
	scan->admitted_gate = scan->gate;
}

/* The one update that admits an active ticket; false when it did not. */
static bool
admit(DoorScan *scan)
{
	Datum		code = CStringGetTextDatum(scan->code);
	Datum		by_id[6] = {UUIDPGetDatum(&scan->ticket_id), Int32GetDatum(scan->event_id), code,
	TimestampTzGetDatum(scan->now), CStringGetTextDatum(scan->scanned_by), scan->tiers};
	Datum		by_token[5] = {by_id[1], code, by_id[3], by_id[4], scan->tiers};
	uint64		rows;

	rows = scan->parsed.is_token
		? run_latest(&admit_by_token, by_token, scan->some_tiers ? "     " : "    n")
		: run_latest(&admit_by_id, by_id, scan->some_tiers ? "      " : "     n");
	if (rows != 1)
		return false;
	scan->has_ticket = true;
	scan->ticket_id = *DatumGetUUIDP(row_datum(0, 1));
	scan->ticket_type_id = *DatumGetUUIDP(row_datum(0, 2));
	note_admission(scan);
	return true;
}

/* A code that no ticket has: superseded, or not found at all. */
static const char *
judge_unknown(DoorScan *scan)
{
	Datum		hash = CStringGetTextDatum(scan->code_hash);

	if (run_latest(&is_superseded, &hash, NULL) == 0)
		return "not_found";
	scan->has_ticket = true;
	scan->ticket_id = *DatumGetUUIDP(row_datum(0, 1));
	return "superseded";
}

/* A ticket that is inside or was: whether it goes out, comes in again, or was admitted before. */
static const char *
judge_movement(DoorScan *scan)
{
	Datum		id = UUIDPGetDatum(&scan->ticket_id);
	bool		outside = false;

	if (run_latest(&last_movement, &id, NULL) == 1)
	{
		outside = strcmp(row_text(0, 1), "exited") == 0;
		scan->admitted_gate = row_text(0, 2);
	}
	if (strcmp(scan->direction, "out") == 0)
	{
		if (!scan->reentry)
			return "not_allowed";
		if (outside)
			return "not_inside";
		adopt_scanned_tickets(uuid_array(&id, 1), scan->now);
		touch_door_states(uuid_array(&id, 1), scan->event_id);
		return "exited";
	}
	if (outside && scan->reentry)
	{
		Datum		values[3] = {id, TimestampTzGetDatum(scan->now), CStringGetTextDatum(scan->scanned_by)};

		run_latest(&admit_again, values, NULL);
		note_admission(scan);
		return "admitted";
	}
	return "already_admitted";
}

/* What is to be said of a ticket that is no ticket any more, or not for now. */
static const char *
judge_ended(const DoorScan *scan, const char *status)
{
	Datum		id = UUIDPGetDatum(&scan->ticket_id);

	if (status != NULL && strcmp(status, "refunded") == 0)
		return "refunded";
	return run_latest(&is_suspended, &id, NULL) > 0 ? "suspended" : "void";
}

/* What is to be said of a ticket that was not simply admitted. */
static const char *
judge_ticket(DoorScan *scan)
{
	Datum		code = CStringGetTextDatum(scan->code);
	Datum		by_id[3] = {UUIDPGetDatum(&scan->ticket_id), code, scan->tiers};
	Datum		by_token[2] = {code, scan->tiers};
	uint64		rows = scan->parsed.is_token
		? run_latest(&lock_ticket_by_token, by_token, scan->some_tiers ? "  " : " n")
		: run_latest(&lock_ticket_by_id, by_id, scan->some_tiers ? "   " : "  n");
	char	   *status;

	if (rows == 0)
		return judge_unknown(scan);
	scan->now = engine_now();
	scan->has_ticket = true;
	scan->ticket_id = *DatumGetUUIDP(row_datum(0, 1));
	scan->ticket_type_id = *DatumGetUUIDP(row_datum(0, 3));
	if (DatumGetInt32(row_datum(0, 2)) != scan->event_id)
		return "wrong_event";
	if (!DatumGetBool(row_datum(0, 7)))
		return "superseded";
	status = row_text(0, 4);
	if (status == NULL || strcmp(status, "void") == 0 || strcmp(status, "refunded") == 0)
		return judge_ended(scan, status);
	if (scan->no_gate || !DatumGetBool(row_datum(0, 8)))
		return "wrong_gate";
	if (strcmp(status, "active") == 0)
	{
		/* in: what had kept the ticket from being admitted was undone while we waited for its lock */
		if (strcmp(scan->direction, "in") == 0 && admit(scan))
			return "admitted";
		return "not_inside";
	}
	if (!row_is_null(0, 5))
	{
		scan->has_admitted_at = true;
		scan->admitted_at = DatumGetTimestampTz(row_datum(0, 5));
	}
	scan->admitted_by = row_text(0, 6);
	return judge_movement(scan);
}

/* The result of a scan whose code may be a ticket's. */
static const char *
decide(DoorScan *scan)
{
	const char *result = judge_door(scan);

	if (result != NULL)
		return result;
	if (!scan->parsed.is_token && scan->parsed.event_id != scan->event_id)
		return "wrong_event";
	if (strcmp(scan->direction, "in") == 0 && !scan->no_gate && admit(scan))
		return "admitted";
	return judge_ticket(scan);
}

static Datum
scan_answer(const DoorScan *scan, const pg_uuid_t *checkin_id)
{
	Answer		answer;

	answer_begin(&answer);
	answer_text(&answer, "result", scan->result);
	answer_uuid(&answer, "checkin_id", checkin_id);
	answer_uuid(&answer, "ticket_id", scan->has_ticket ? &scan->ticket_id : NULL);
	if (scan->has_ticket && strcmp(scan->result, "superseded") != 0)
		answer_uuid(&answer, "ticket_type_id", &scan->ticket_type_id);
	if (scan->has_admitted_at)
	{
		answer_time(&answer, "admitted_at", scan->admitted_at);
		answer_text(&answer, "admitted_by", scan->admitted_by);
		answer_text(&answer, "admitted_gate", scan->admitted_gate);
	}
	else
		answer_null(&answer, "admitted_at");
	return answer_jsonb(&answer);
}

/* Writes the scan's row and answers; or the answer of the same scan that was faster. */
static Datum
record(DoorScan *scan)
{
	pg_uuid_t  *checkin_id = new_uuid();
	Datum		answer = scan_answer(scan, checkin_id);
	char		nulls[15] = "              ";
	Datum		values[14];
	Datum		first;

	values[0] = UUIDPGetDatum(checkin_id);
	values[1] = Int32GetDatum(scan->event_id);
	values[2] = UUIDPGetDatum(&scan->ticket_id);
	nulls[2] = scan->has_ticket ? ' ' : 'n';
	values[3] = CStringGetTextDatum(scan->code_hash);
	values[4] = CStringGetTextDatum(scan->result);
	values[5] = CStringGetTextDatum(scan->direction);
	values[6] = CStringGetTextDatum(scan->scanned_by);
	values[7] = text_or_null(scan->device_id, &nulls[7]);
	values[8] = text_or_null(scan->gate, &nulls[8]);
	values[9] = UUIDPGetDatum(scan->scan_id);
	nulls[9] = scan->scan_id ? ' ' : 'n';
	values[10] = BoolGetDatum(scan->forced);
	values[11] = TimestampTzGetDatum(scan->has_scanned_at ? scan->scanned_at : scan->now);
	values[12] = TimestampTzGetDatum(scan->now);
	values[13] = answer;
	if (run_latest(&record_scan, values, nulls) == 1)
		return answer;
	if (recall_scan(scan, &first) && strcmp(scan->result, "admitted") != 0 && strcmp(scan->result, "exited") != 0)
		return first;
	/* our own change of the ticket must not stand without a row of its own */
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("scan id %s was used by a concurrent scan", uuid_text(scan->scan_id)),
			 errhint("Ask again with the same scan id.")));
}

/* Reads the arguments of check_in. */
static void
read_scan(FunctionCallInfo fcinfo, DoorScan *scan)
{
	memset(scan, 0, sizeof(DoorScan));
	scan->code = text_argument(fcinfo, 0, "payload");
	if (strlen(scan->code) > TICKET_CODE_MAX_BYTES)
		refuse(BAD_REQUEST, "\"argument\": \"payload\"", NULL, "payload is longer than %d bytes", TICKET_CODE_MAX_BYTES);
	scan->code = ticket_code_of(scan->code);
	scan->code_hash = sha256_hex(scan->code, strlen(scan->code));
	require_argument(fcinfo, 1, "event_id");
	scan->event_id = PG_GETARG_INT32(1);
	scan->scanned_by = text_argument(fcinfo, 2, "scanned_by");
	scan->device_id = optional_text(fcinfo, 3);
	scan->scan_id = PG_ARGISNULL(4) ? NULL : PG_GETARG_UUID_P(4);
	scan->has_scanned_at = !PG_ARGISNULL(5);
	if (scan->has_scanned_at)
		scan->scanned_at = PG_GETARG_TIMESTAMPTZ(5);
	scan->gate = optional_text(fcinfo, 6);
	scan->direction = text_argument(fcinfo, 7, "direction");
	if (strcmp(scan->direction, "in") != 0 && strcmp(scan->direction, "out") != 0)
		refuse(BAD_REQUEST, "\"argument\": \"direction\"", "Use 'in' or 'out'.", "direction \"%s\" is unknown", scan->direction);
	require_argument(fcinfo, 8, "force");
	scan->force = PG_GETARG_BOOL(8);
}

PG_FUNCTION_INFO_V1(dvnt_check_in);

/* check_in(payload, event_id, scanned_by, device_id, scan_id, scanned_at, gate, direction, force) → jsonb */
Datum
dvnt_check_in(PG_FUNCTION_ARGS)
{
	DoorScan	scan;
	Datum		result;

	read_scan(fcinfo, &scan);
	scan.result = judge_ticket_code(scan.code, &scan.parsed);
	scan.ticket_id = scan.parsed.ticket_id;
	begin_command();
	if (!recall_scan(&scan, &result))
	{
		scan.now = engine_now();
		if (scan.result == NULL)
			scan.result = decide(&scan);
		result = record(&scan);
	}
	result = SPI_datumTransfer(result, false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
