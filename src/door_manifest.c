/*
 * door_manifest.c
 *		What a device at the door is given: the event's tickets as hashes of
 *		their codes, what has changed since it last asked, the public keys of
 *		suite 2.
 *
 * A cursor is "epoch:n". All transactions below n had ended when it was made,
 * so whatever commits later, however late, is in an increment from n on; a row
 * may come twice. Transaction ids mean something in one history of one database
 * only: the epoch names that, and another epoch gets everything anew.
 *
 * Reads public.tickets, ticketing.event_settings, event_gates, door_states,
 * last_movements, superseded_codes and suspended_tickets; writes door_manifests
 * and, by door_devices.c, door_devices. Takes no lock that others wait for.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "common/base64.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"

#include "dvnt_ticketing.h"

#define EPOCH_CHARS 16

KEPT_PLAN(read_event,
		  "SELECT s.doors_open, s.doors_close, s.reentry, pg_snapshot_xmin(pg_current_snapshot())::text, pg_relation_filenode('ticketing.door_states') "
		  "FROM ticketing.event_settings s WHERE s.event_id = $1",
		  INT4OID);
KEPT_PLAN(read_gates,
		  "SELECT gate, array_to_json(ticket_type_ids)::text FROM ticketing.event_gates WHERE event_id = $1 ORDER BY gate", INT4OID);
#define TICKET_COLUMNS \
	"t.qr_payload, t.qr_token, t.status, t.checked_in_at, " \
	"(SELECT true FROM ticketing.suspended_tickets s WHERE s.ticket_id = t.id), " \
	"(SELECT string_agg('\"' || c.code_hash || '\"', ', ') FROM ticketing.superseded_codes c WHERE c.ticket_id = t.id), " \
	"CASE WHEN $2 AND t.status = 'scanned' THEN (SELECT m.result = 'exited' FROM ticketing.last_movements m WHERE m.ticket_id = t.id) END "
/* Also tickets that are gone: under suite 2 a device lets in what is genuine and not listed. */
KEPT_PLAN(read_tickets,
		  "SELECT t.id, coalesce((SELECT d.version FROM ticketing.door_states d WHERE d.event_id = t.event_id AND d.ticket_id = t.id), 0), t.ticket_type_id, " TICKET_COLUMNS
		  "FROM public.tickets t WHERE t.event_id = $1 "
		  "UNION ALL SELECT d.ticket_id, d.version, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL "
		  "FROM ticketing.door_states d WHERE d.event_id = $1 AND NOT EXISTS (SELECT FROM public.tickets t WHERE t.id = d.ticket_id AND t.event_id = $1)",
		  INT4OID, BOOLOID);
KEPT_PLAN(read_changed_tickets,
		  "SELECT d.ticket_id, d.version, t.ticket_type_id, " TICKET_COLUMNS
		  "FROM ticketing.door_states d LEFT JOIN public.tickets t ON t.id = d.ticket_id AND t.event_id = d.event_id "
		  "WHERE d.event_id = $1 AND d.changed_by >= $3::xid8 AND d.changed_by < pg_snapshot_xmax(pg_current_snapshot())",
		  INT4OID, BOOLOID, TEXTOID);
KEPT_PLAN(keep_manifest,
		  "INSERT INTO ticketing.door_manifests (manifest_id, event_id, device_id, actor, issued_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)",
		  UUIDOID, INT4OID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID);

/* An event as the doors know it. */
typedef struct DoorEvent
{
	int32		event_id;
	DoorHours	hours;
	bool		reentry;
	char	   *cursor;			/* transactions below have ended */
	char		epoch[EPOCH_CHARS + 1];
} DoorEvent;

/*
 * What the history of transactions is called that a cursor counts in. Who is
 * outside is told where there is re-entry only: when it begins, all tickets are
 * told anew.
 */
static void
name_epoch(DoorEvent *event, int64 filenode)
{
	char	   *history = psprintf(UINT64_FORMAT "/%u/%u/" INT64_FORMAT "%s", GetSystemIdentifier(), GetWALInsertionTimeLine(), MyDatabaseId, filenode,
								   event->reentry ? "/re-entry" : "");

	memcpy(event->epoch, sha256_hex(history, strlen(history)), EPOCH_CHARS);
	event->epoch[EPOCH_CHARS] = '\0';
}

static void
read_door_event(DoorEvent *event)
{
	Datum		id = Int32GetDatum(event->event_id);

	if (run_latest(&read_event, &id, NULL) == 0)
		refuse_unknown_event(event->event_id);
	event->hours = row_hours(1);
	event->reentry = DatumGetBool(row_datum(0, 3));
	event->cursor = row_text(0, 4);
	name_epoch(event, DatumGetObjectId(row_datum(0, 5)));
}

/* Bytes as base64url without padding. */
static char *
base64url(const uint8 *bytes, int length)
{
	int			space = pg_b64_enc_len(length) + 1;
	char	   *text = palloc0(space);
	int			used = pg_b64_encode((const void *) bytes, length, text, space);

	for (int i = 0; i < used; i++)
	{
		if (text[i] == '+')
			text[i] = '-';
		else if (text[i] == '/')
			text[i] = '_';
		else if (text[i] == '=')
			text[i] = '\0';
	}
	return text;
}

/* The event's public keys of suite 2, as a JSON array; none where there is no secret. */
static char *
public_keys(int32 event_id)
{
	Keyring    *ring = have_ticket_keyring() ? ticket_keyring() : NULL;
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int id = 1; id <= KEYRING_MAX_ID; id++)
	{
		uint8		key[KEYRING_ED25519_PUBLIC_KEY_BYTES];

		if (!keyring_has(ring, id))
			continue;
		if (keyring_ed25519_public_key(ring, id, event_id, key) != KEYRING_OK)
			elog(ERROR, "could not derive the public key of event %d", event_id);
		appendStringInfo(&json, "%s{\"key_id\": %d, \"public_key\": \"%s\"}", json.len > 1 ? ", " : "", id, base64url(key, sizeof(key)));
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

/* When the doors are open, and which gates there are. */
static const char *
doors(const DoorEvent *event)
{
	Datum		id = Int32GetDatum(event->event_id);
	uint64		rows = run_latest(&read_gates, &id, NULL);
	StringInfoData gates;
	Answer		answer;

	initStringInfo(&gates);
	appendStringInfoChar(&gates, '[');
	for (uint64 row = 0; row < rows; row++)
	{
		Answer		gate;
		char	   *tiers = row_text(row, 2);

		answer_begin(&gate);
		answer_text(&gate, "gate", row_text(row, 1));
		answer_raw(&gate, "ticket_type_ids", tiers ? tiers : "null");
		appendStringInfo(&gates, "%s%s", row > 0 ? ", " : "", answer_end(&gate));
	}
	appendStringInfoChar(&gates, ']');
	answer_begin(&answer);
	answer_hours(&answer, &event->hours, "open", "close");
	answer_bool(&answer, "reentry", event->reentry);
	answer_raw(&answer, "gates", gates.data);
	return answer_end(&answer);
}

/* The hash of a code, quoted; nothing for NULL. */
static void
add_code(StringInfo json, uint64 row, int column, bool first)
{
	bool		isnull;
	Datum		value = row_value(row, column, &isnull);
	text	   *code;

	if (isnull)
		return;
	code = DatumGetTextPP(value);
	appendStringInfo(json, "%s\"%s\"", first ? "" : ", ", sha256_hex(VARDATA_ANY(code), VARSIZE_ANY_EXHDR(code)));
}

/* What a device is to know of one ticket; see read_tickets for the columns. */
static void
add_ticket(StringInfo json, uint64 row)
{
	bool		gone = row_is_null(row, 3);
	char	   *status = row_text(row, 6);
	char	   *superseded = row_text(row, 9);
	bool		isnull;
	Datum		outside;

	appendStringInfo(json, "{\"ticket_id\": \"%s\", \"version\": %d, ", row_uuid_text(row, 1), DatumGetInt32(row_datum(row, 2)));
	if (gone)
	{
		appendStringInfoString(json, "\"ticket_type_id\": null, \"codes\": [], \"state\": \"removed\", \"admitted_at\": null}");
		return;
	}
	appendStringInfo(json, "\"ticket_type_id\": \"%s\", \"codes\": [", row_uuid_text(row, 3));
	add_code(json, row, 4, true);
	add_code(json, row, 5, row_is_null(row, 4));
	appendStringInfoChar(json, ']');
	if (superseded != NULL)
		appendStringInfo(json, ", \"superseded\": [%s]", superseded);
	appendStringInfo(json, ", \"state\": \"%s\"", !row_is_null(row, 8) && (status == NULL || strcmp(status, "void") == 0) ? "suspended" : status ? status : "void");
	outside = row_value(row, 10, &isnull);
	if (!isnull && DatumGetBool(outside))
		appendStringInfoString(json, ", \"outside\": true");
	if (row_is_null(row, 7))
		appendStringInfoString(json, ", \"admitted_at\": null}");
	else
	{
		char		buffer[MAXDATELEN + 1];

		JsonEncodeDateTime(buffer, row_datum(row, 7), TIMESTAMPTZOID, NULL);
		appendStringInfo(json, ", \"admitted_at\": \"%s\"}", buffer);
	}
}

/* The tickets that are to be told, as a JSON array. */
static char *
tickets_since(const DoorEvent *event, const char *since)
{
	Datum		values[3] = {Int32GetDatum(event->event_id), BoolGetDatum(event->reentry)};
	StringInfoData json;
	uint64		rows;

	if (since != NULL)
		values[2] = CStringGetTextDatum(since);
	rows = since != NULL ? run_latest(&read_changed_tickets, values, NULL) : run_latest(&read_tickets, values, NULL);
	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (uint64 row = 0; row < rows; row++)
	{
		CHECK_FOR_INTERRUPTS();
		if (row > 0)
			appendStringInfoString(&json, ", ");
		add_ticket(&json, row);
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}

/* Reads a cursor: its number, or NULL when it counts in another epoch. */
static const char *
read_cursor(const char *since, const DoorEvent *event)
{
	const char *colon = strchr(since, ':');
	size_t		digits = colon ? strspn(colon + 1, "0123456789") : 0;

	if (colon == NULL || colon != since + EPOCH_CHARS || digits == 0 || digits > 19 || colon[1 + digits] != '\0' ||
		strspn(since, "0123456789abcdef") != EPOCH_CHARS)
		refuse(BAD_REQUEST, "\"argument\": \"since\"", "Pass the cursor of the last manifest, or NULL for all tickets.", "since is not a cursor");
	return strncmp(since, event->epoch, EPOCH_CHARS) == 0 ? colon + 1 : NULL;
}

PG_FUNCTION_INFO_V1(dvnt_door_manifest);

/* door_manifest(event_id, actor, device_id, since) → jsonb */
Datum
dvnt_door_manifest(PG_FUNCTION_ARGS)
{
	DoorEvent	event;
	char	   *actor = text_argument(fcinfo, 1, "actor");
	char	   *device_id = device_argument(fcinfo, 2);
	char	   *since = optional_text(fcinfo, 3);
	TimestampTz now;
	TimestampTz expires_at;
	TimestampTz revoked_at;
	pg_uuid_t  *manifest_id = new_uuid();
	Datum		values[6];
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 0, "event_id");
	event.event_id = PG_GETARG_INT32(0);
	begin_command();
	require_permission(event.event_id, actor, "scan");
	now = engine_now();
	if (enrol_unknown_device(event.event_id, device_id, actor, now, &revoked_at))
		refuse(NOT_ALLOWED, "\"argument\": \"device_id\"", "Enrol the device again with enrol_door_device.", "device \"%s\" is revoked", device_id);
	/* the cursor first: what commits from here on is in the next increment, if it is not in this one */
	read_door_event(&event);
	if (since != NULL)
		since = (char *) read_cursor(since, &event);
	expires_at = add_seconds(now, manifest_ttl_seconds);
	answer_begin(&answer);
	answer_int(&answer, "event_id", event.event_id);
	answer_text(&answer, "device_id", device_id);
	answer_uuid(&answer, "manifest_id", manifest_id);
	answer_time(&answer, "issued_at", now);
	answer_time(&answer, "expires_at", expires_at);
	answer_text(&answer, "cursor", psprintf("%s:%s", event.epoch, event.cursor));
	answer_bool(&answer, "full", since == NULL);
	answer_raw(&answer, "doors", doors(&event));
	answer_raw(&answer, "keys", public_keys(event.event_id));
	answer_raw(&answer, "tickets", tickets_since(&event, since));
	values[0] = UUIDPGetDatum(manifest_id);
	values[1] = Int32GetDatum(event.event_id);
	values[2] = CStringGetTextDatum(device_id);
	values[3] = CStringGetTextDatum(actor);
	values[4] = TimestampTzGetDatum(now);
	values[5] = TimestampTzGetDatum(expires_at);
	run_latest(&keep_manifest, values, NULL);
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

PG_FUNCTION_INFO_V1(dvnt_door_key);

/* door_key(event_id, actor) → jsonb */
Datum
dvnt_door_key(PG_FUNCTION_ARGS)
{
	char	   *actor = text_argument(fcinfo, 1, "actor");
	int32		event_id;
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 0, "event_id");
	event_id = PG_GETARG_INT32(0);
	begin_command();
	require_permission(event_id, actor, "scan");
	require_ticket_keyring();
	answer_begin(&answer);
	answer_int(&answer, "event_id", event_id);
	answer_raw(&answer, "keys", public_keys(event_id));
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
