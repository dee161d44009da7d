/*
 * door_settings.c
 *		What an event's doors are told to do, and what a host is told of them:
 *		hours, gates, re-entry, suite; conflicts and progress.
 *
 * Reads and writes ticketing.event_settings and event_gates, reads
 * public.ticket_types and ticketing.checkins. Locks: the event's settings.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

/* Columns that are not asked to change keep their value. */
KEPT_PLAN(change_settings,
		  "UPDATE ticketing.event_settings SET "
		  "  doors_open = CASE WHEN $2 ? 'doors_open' THEN ($2 ->> 'doors_open')::timestamptz ELSE doors_open END, "
		  "  doors_close = CASE WHEN $2 ? 'doors_close' THEN ($2 ->> 'doors_close')::timestamptz ELSE doors_close END, "
		  "  reentry = coalesce(($2 ->> 'reentry')::boolean, reentry), "
		  "  suite = coalesce(($2 ->> 'suite')::smallint, suite) "
		  "WHERE event_id = $1 RETURNING doors_open, doors_close, reentry, suite",
		  INT4OID, JSONBOID);
KEPT_PLAN(odd_setting,
		  "SELECT key FROM jsonb_each($1) WHERE CASE key "
		  "  WHEN 'doors_open' THEN jsonb_typeof(value) NOT IN ('string', 'null') "
		  "  WHEN 'doors_close' THEN jsonb_typeof(value) NOT IN ('string', 'null') "
		  "  WHEN 'reentry' THEN jsonb_typeof(value) <> 'boolean' "
		  "  WHEN 'suite' THEN value NOT IN ('1', '2') "
		  "  WHEN 'gates' THEN CASE jsonb_typeof(value) WHEN 'object' THEN EXISTS (SELECT FROM jsonb_each(value) AS g (gate, tiers) "
		  "         WHERE gate = '' OR CASE jsonb_typeof(tiers) WHEN 'null' THEN false WHEN 'array' THEN EXISTS (SELECT FROM jsonb_array_elements(tiers) t WHERE jsonb_typeof(t) <> 'string') ELSE true END) "
		  "       ELSE true END "
		  "  ELSE true END LIMIT 1",
		  JSONBOID);
KEPT_PLAN(drop_gates, "DELETE FROM ticketing.event_gates WHERE event_id = $1", INT4OID);
KEPT_PLAN(add_gates,
		  "INSERT INTO ticketing.event_gates (event_id, gate, ticket_type_ids) "
		  "SELECT $1, gate, CASE jsonb_typeof(tiers) WHEN 'array' THEN (SELECT coalesce(array_agg(t::uuid ORDER BY t), '{}') FROM jsonb_array_elements_text(tiers) t) END "
		  "FROM jsonb_each($2 -> 'gates') AS g (gate, tiers)",
		  INT4OID, JSONBOID);
KEPT_PLAN(strange_tier,
		  "SELECT t FROM ticketing.event_gates g, unnest(g.ticket_type_ids) t WHERE g.event_id = $1 "
		  "AND NOT EXISTS (SELECT FROM public.ticket_types k WHERE k.id = t AND k.event_id = g.event_id) LIMIT 1",
		  INT4OID);
KEPT_PLAN(gates_of,
		  "SELECT coalesce(jsonb_object_agg(gate, to_jsonb(ticket_type_ids) ORDER BY gate), '{}')::text FROM ticketing.event_gates WHERE event_id = $1", INT4OID);
KEPT_PLAN(list_conflicts,
		  "SELECT c.id, c.ticket_id, array_remove(c.flags, 'clock'), c.result, c.direction, c.gate, c.device_id, c.scanned_by, c.scanned_at, c.happened_at, c.recorded_at, c.uploaded_by, c.undone_at "
		  "FROM ticketing.checkins c WHERE c.event_id = $1 AND c.flags <> '{}' AND NOT c.flags <@ '{clock,adopted}' ORDER BY c.happened_at, c.id",
		  INT4OID);
KEPT_PLAN(read_progress,
		  "SELECT gate, admitted, inside, remaining, duplicates, refused, scans_per_minute, last_scan_at FROM ticketing.door_progress WHERE event_id = $1 ORDER BY gate NULLS FIRST",
		  INT4OID);

/* The hours in two columns of the last statement's first row. */
DoorHours
row_hours(int column)
{
	DoorHours	hours = {.has_open = !row_is_null(0, column), .has_close = !row_is_null(0, column + 1)};

	if (hours.has_open)
		hours.open = DatumGetTimestampTz(row_datum(0, column));
	if (hours.has_close)
		hours.close = DatumGetTimestampTz(row_datum(0, column + 1));
	return hours;
}

bool
too_early(const DoorHours *hours, TimestampTz at)
{
	return hours->has_open && at < hours->open;
}

bool
too_late(const DoorHours *hours, TimestampTz at)
{
	return hours->has_close && at >= hours->close;
}

void
answer_hours(Answer *answer, const DoorHours *hours, const char *open_key, const char *close_key)
{
	if (hours->has_open)
		answer_time(answer, open_key, hours->open);
	else
		answer_null(answer, open_key);
	if (hours->has_close)
		answer_time(answer, close_key, hours->close);
	else
		answer_null(answer, close_key);
}

PG_FUNCTION_INFO_V1(dvnt_save_door_settings);

/* save_door_settings(event_id, actor, settings) → jsonb */
Datum
dvnt_save_door_settings(PG_FUNCTION_ARGS)
{
	char	   *actor = text_argument(fcinfo, 1, "actor");
	int32		event_id;
	Datum		values[2];
	Answer		answer;
	DoorHours	hours;
	bool		reentry;
	int16		suite;
	Datum		result;

	require_argument(fcinfo, 0, "event_id");
	require_argument(fcinfo, 2, "settings");
	event_id = PG_GETARG_INT32(0);
	if (!JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(2)))
		refuse(BAD_REQUEST, "\"argument\": \"settings\"", "Pass an object.", "settings is not an object");
	begin_command();
	require_permission(event_id, actor, "edit");
	values[0] = Int32GetDatum(event_id);
	values[1] = PG_GETARG_DATUM(2);
	if (run_latest(&odd_setting, &values[1], NULL) > 0)
		refuse(BAD_REQUEST, "\"argument\": \"settings\"",
			   "Settings are doors_open, doors_close (a time or null), reentry (true, false), suite (1, 2) and gates (an object of gate and null or an array of ticket type ids).",
			   "setting \"%s\" is unknown or has no value that it can have", row_text(0, 1));
	declare_lock(RANK_SHAPE);
	run_latest(&change_settings, values, NULL);
	hours = row_hours(1);
	reentry = DatumGetBool(row_datum(0, 3));
	suite = DatumGetInt16(row_datum(0, 4));
	if (hours.has_open && too_late(&hours, hours.open))
		refuse(BAD_REQUEST, "\"argument\": \"settings\"", NULL, "doors would close before they open");
	if (json_object_at(PG_GETARG_JSONB_P(2), JSON_PATH("gates")) != NULL)
	{
		run_latest(&drop_gates, values, NULL);
		run_latest(&add_gates, values, NULL);
		if (run_latest(&strange_tier, values, NULL) > 0)
			refuse(NOT_FOUND, psprintf("\"ticket_type_id\": \"%s\"", row_uuid_text(0, 1)), NULL,
				   "event %d has no ticket type %s", event_id, row_uuid_text(0, 1));
	}
	run_latest(&gates_of, values, NULL);
	answer_begin(&answer);
	answer_int(&answer, "event_id", event_id);
	answer_hours(&answer, &hours, "doors_open", "doors_close");
	answer_bool(&answer, "reentry", reentry);
	answer_int(&answer, "suite", suite);
	answer_raw(&answer, "gates", row_text(0, 1));
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

PG_FUNCTION_INFO_V1(dvnt_door_conflicts);

/* door_conflicts(event_id, actor) → rows */
Datum
dvnt_door_conflicts(PG_FUNCTION_ARGS)
{
	return rows_about_event(fcinfo, &list_conflicts, "view");
}

PG_FUNCTION_INFO_V1(dvnt_door_progress);

/* door_progress(event_id, actor) → rows */
Datum
dvnt_door_progress(PG_FUNCTION_ARGS)
{
	return rows_about_event(fcinfo, &read_progress, "view");
}
