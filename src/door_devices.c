/*
 * door_devices.c
 *		The devices at an event's doors: enrolled by themselves or by name,
 *		revoked, listed.
 *
 * Reads and writes ticketing.door_devices, reads door_manifests and checkins.
 * Locks: the device's row.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define DEVICE_ID_MAX_BYTES 255

KEPT_PLAN(enrol_device,
		  "INSERT INTO ticketing.door_devices (event_id, device_id, name, enrolled_by, enrolled_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
		  INT4OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(enrol_again,
		  "UPDATE ticketing.door_devices SET name = coalesce($3, name), enrolled_by = $4, enrolled_at = $5, revoked_at = NULL, revoked_by = NULL "
		  "WHERE event_id = $1 AND device_id = $2 AND (revoked_at IS NOT NULL OR $3 IS NOT NULL)",
		  INT4OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(revoke_device,
		  "UPDATE ticketing.door_devices SET revoked_at = coalesce(revoked_at, $3), revoked_by = coalesce(revoked_by, $4) WHERE event_id = $1 AND device_id = $2",
		  INT4OID, TEXTOID, TIMESTAMPTZOID, TEXTOID);
KEPT_PLAN(read_device,
		  "SELECT name, enrolled_by, enrolled_at, revoked_at, revoked_by FROM ticketing.door_devices WHERE event_id = $1 AND device_id = $2",
		  INT4OID, TEXTOID);
KEPT_PLAN(list_devices,
		  "SELECT d.device_id, d.name, d.enrolled_by, d.enrolled_at, d.revoked_at, d.revoked_by, m.issued_at, c.recorded_at "
		  "FROM ticketing.door_devices d "
		  "LEFT JOIN LATERAL (SELECT max(k.issued_at) AS issued_at FROM ticketing.door_manifests k WHERE k.event_id = d.event_id AND k.device_id = d.device_id) m ON true "
		  "LEFT JOIN (SELECT k.device_id, max(k.recorded_at) AS recorded_at FROM ticketing.checkins k WHERE k.event_id = $1 GROUP BY k.device_id) c USING (device_id) "
		  "WHERE d.event_id = $1 ORDER BY d.device_id",
		  INT4OID);

/* A device id. */
char *
device_argument(FunctionCallInfo fcinfo, int number)
{
	char	   *device_id = text_argument(fcinfo, number, "device_id");

	if (strlen(device_id) > DEVICE_ID_MAX_BYTES)
		refuse(BAD_REQUEST, "\"argument\": \"device_id\"", NULL, "device_id is longer than %d bytes", DEVICE_ID_MAX_BYTES);
	return device_id;
}

/*
 * A device that is new is enrolled by the operator who works with it. Returns
 * whether it was revoked, and since when.
 */
bool
enrol_unknown_device(int32 event_id, const char *device_id, const char *actor, TimestampTz now, TimestampTz *revoked_at)
{
	Datum		values[5] = {Int32GetDatum(event_id), CStringGetTextDatum(device_id), (Datum) 0, CStringGetTextDatum(actor), TimestampTzGetDatum(now)};

	if (run_latest(&read_device, values, NULL) == 0)
	{
		run_latest(&enrol_device, values, "  n  ");
		run_latest(&read_device, values, NULL);
	}
	if (row_is_null(0, 4))
		return false;
	*revoked_at = DatumGetTimestampTz(row_datum(0, 4));
	return true;
}

/* A device's row, the last one read. */
static Datum
device_answer(int32 event_id, const char *device_id)
{
	Answer		answer;

	answer_begin(&answer);
	answer_int(&answer, "event_id", event_id);
	answer_text(&answer, "device_id", device_id);
	answer_text(&answer, "name", row_text(0, 1));
	answer_text(&answer, "enrolled_by", row_text(0, 2));
	answer_time(&answer, "enrolled_at", DatumGetTimestampTz(row_datum(0, 3)));
	answer_row_time(&answer, "revoked_at", 0, 4);
	answer_text(&answer, "revoked_by", row_text(0, 5));
	return answer_jsonb(&answer);
}

PG_FUNCTION_INFO_V1(dvnt_enrol_door_device);

/* enrol_door_device(event_id, actor, device_id, name) → jsonb */
Datum
dvnt_enrol_door_device(PG_FUNCTION_ARGS)
{
	char	   *actor = text_argument(fcinfo, 1, "actor");
	char	   *device_id = device_argument(fcinfo, 2);
	char	   *name = optional_text(fcinfo, 3);
	char		nulls[6] = "     ";
	Datum		values[5];
	int32		event_id;
	Datum		result;

	require_argument(fcinfo, 0, "event_id");
	event_id = PG_GETARG_INT32(0);
	begin_command();
	require_permission(event_id, actor, "scan");
	values[0] = Int32GetDatum(event_id);
	values[1] = CStringGetTextDatum(device_id);
	values[2] = text_or_null(name, &nulls[2]);
	values[3] = CStringGetTextDatum(actor);
	values[4] = TimestampTzGetDatum(engine_now());
	if (run_latest(&enrol_device, values, nulls) == 0)
	{
		/* who was revoked comes back by somebody in charge alone */
		run_latest(&read_device, values, NULL);
		if (!row_is_null(0, 4))
			require_permission(event_id, actor, "edit");
		run_latest(&enrol_again, values, nulls);
	}
	run_latest(&read_device, values, NULL);
	result = SPI_datumTransfer(device_answer(event_id, device_id), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

PG_FUNCTION_INFO_V1(dvnt_revoke_door_device);

/* revoke_door_device(event_id, actor, device_id) → jsonb */
Datum
dvnt_revoke_door_device(PG_FUNCTION_ARGS)
{
	char	   *actor = text_argument(fcinfo, 1, "actor");
	char	   *device_id = device_argument(fcinfo, 2);
	Datum		values[4];
	int32		event_id;
	Datum		result;

	require_argument(fcinfo, 0, "event_id");
	event_id = PG_GETARG_INT32(0);
	begin_command();
	require_permission(event_id, actor, "edit");
	values[0] = Int32GetDatum(event_id);
	values[1] = CStringGetTextDatum(device_id);
	values[2] = TimestampTzGetDatum(engine_now());
	values[3] = CStringGetTextDatum(actor);
	if (run_latest(&revoke_device, values, NULL) == 0)
		refuse(NOT_FOUND, "\"argument\": \"device_id\"", NULL, "device \"%s\" is not enrolled", device_id);
	run_latest(&read_device, values, NULL);
	result = SPI_datumTransfer(device_answer(event_id, device_id), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

PG_FUNCTION_INFO_V1(dvnt_list_door_devices);

/* list_door_devices(event_id, actor) → rows */
Datum
dvnt_list_door_devices(PG_FUNCTION_ARGS)
{
	return rows_about_event(fcinfo, &list_devices, "view");
}
