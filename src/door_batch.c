/*
 * door_batch.c
 *		A batch of offline scans as it comes and goes: read from JSON, each scan
 *		by itself, written to ticketing.checkins in one statement, and answered
 *		from there.
 *
 * Reads and writes ticketing.checkins, reads public.tickets. Takes no lock of
 * its own; the caller has locked the tickets.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "door_batch.h"

#define SCANS_MAX 10000

KEPT_PLAN(record_scans,
		  "INSERT INTO ticketing.checkins (id, event_id, ticket_id, code_hash, result, direction, scanned_by, device_id, gate, scan_id, scanned_at, happened_at, recorded_at, moved, flags, manifest_id, uploaded_by) "
		  "SELECT gen_random_uuid(), $1, u.ticket_id, u.code_hash, u.result, CASE WHEN u.is_out THEN 'out' ELSE 'in' END, u.scanned_by, $2, u.gate, u.scan_id, u.scanned_at, u.happened_at, $3, u.moved, "
		  "       string_to_array(u.flags, ','), u.manifest_id, $4 "
		  "FROM unnest($5::uuid[], $6::uuid[], $7::text[], $8::text[], $9::boolean[], $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::boolean[], $15::text[], $16::uuid[]) "
		  "  AS u (scan_id, ticket_id, code_hash, result, is_out, scanned_by, gate, scanned_at, happened_at, moved, flags, manifest_id) "
		  "ON CONFLICT (scan_id) WHERE scan_id IS NOT NULL DO NOTHING",
		  INT4OID, TEXTOID, TIMESTAMPTZOID, TEXTOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, BOOLARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
		  TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID, BOOLARRAYOID, TEXTARRAYOID, UUIDARRAYOID);
KEPT_PLAN(read_recorded,
		  "SELECT c.scan_id, c.event_id, c.code_hash, c.direction = 'out', c.result, c.id, c.ticket_id, t.checked_in_at, t.checked_in_by, array_to_json(c.flags)::text "
		  "FROM ticketing.checkins c LEFT JOIN public.tickets t ON t.id = c.ticket_id WHERE c.scan_id = ANY ($1)",
		  UUIDARRAYOID);

static const char *const flag_names[] = {
	"clock", "operator_revoked", "device_revoked", "manifest_expired", "refunded", "void", "suspended", "superseded",
	"wrong_gate", "too_early", "too_late", "no_ticket"
};

/* A member of a scan as a C string: NULL when it is not there or null; *odd when it is of another type. */
static char *
member_text(JsonbContainer *scan, const char *key, bool *odd)
{
	JsonbValue	value;

	if (getKeyJsonValueFromContainer(scan, key, strlen(key), &value) == NULL || value.type == jbvNull)
		return NULL;
	if (value.type != jbvString)
	{
		*odd = true;
		return NULL;
	}
	return pnstrdup(value.val.string.val, value.val.string.len);
}

static bool
member_uuid(JsonbContainer *scan, const char *key, pg_uuid_t *id, bool *odd)
{
	char	   *text = member_text(scan, key, odd);

	if (text == NULL)
		return false;
	if (!uuid_from_text(text, strlen(text), id))
		*odd = true;
	return !*odd;
}

/* Results that a device may report. */
static bool
is_result(const char *result)
{
	static const char *const results[] = {
		"admitted", "already_admitted", "malformed", "bad_signature", "unknown_key", "wrong_event", "wrong_gate", "too_early",
		"too_late", "not_found", "superseded", "refunded", "void", "suspended", "exited", "not_inside", "not_allowed"
	};

	for (size_t i = 0; i < lengthof(results); i++)
		if (strcmp(result, results[i]) == 0)
			return true;
	return false;
}

/* Reads one scan; what is wrong with it, it alone pays for. */
static void
read_scan(const Batch *batch, JsonbValue *element, OfflineScan *scan)
{
	JsonbContainer *members;
	bool		odd = false;
	char	   *text;

	scan->error = "scan";
	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		return;
	members = element->val.binary.data;
	scan->error = "scan_id";
	if (!member_uuid(members, "scan_id", &scan->scan_id, &odd))
		return;
	scan->error = "payload";
	text = member_text(members, "payload", &odd);
	if (text == NULL || text[0] == '\0' || strlen(text) > TICKET_CODE_MAX_BYTES)
		return;
	scan->code = ticket_code_of(text);
	scan->error = "scanned_at";
	text = member_text(members, "scanned_at", &odd);
	if (text == NULL || !time_from_text(text, &scan->scanned_at))
		return;
	scan->error = "scanned_by";
	scan->scanned_by = member_text(members, "scanned_by", &odd);
	if (odd || (scan->scanned_by && scan->scanned_by[0] == '\0'))
		return;
	if (scan->scanned_by == NULL)
		scan->scanned_by = batch->uploaded_by;
	scan->error = "gate";
	scan->gate = member_text(members, "gate", &odd);
	if (odd)
		return;
	scan->error = "direction";
	text = member_text(members, "direction", &odd);
	if (odd || (text != NULL && strcmp(text, "in") != 0 && strcmp(text, "out") != 0))
		return;
	scan->out = text != NULL && strcmp(text, "out") == 0;
	scan->error = "manifest_id";
	scan->has_manifest = member_uuid(members, "manifest_id", &scan->manifest_id, &odd);
	if (odd)
		return;
	scan->error = "result";
	scan->device_result = member_text(members, "result", &odd);
	if (odd || (scan->device_result != NULL && !is_result(scan->device_result)))
		return;
	scan->error = NULL;
	scan->code_hash = sha256_hex(scan->code, strlen(scan->code));
}

void
read_batch(Jsonb *scans, Batch *batch)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_ARRAY(scans) || JB_ROOT_IS_SCALAR(scans))
		refuse(BAD_REQUEST, "\"argument\": \"scans\"", "Pass an array of scans.", "scans is not an array");
	if (JB_ROOT_COUNT(scans) > SCANS_MAX)
		refuse(BAD_REQUEST, psprintf("\"argument\": \"scans\", \"limit\": %d", SCANS_MAX), "Upload them in several calls.",
			   "%d scans are more than %d", JB_ROOT_COUNT(scans), SCANS_MAX);
	batch->scans = palloc0(sizeof(OfflineScan) * (JB_ROOT_COUNT(scans) + 1));
	iterator = JsonbIteratorInit(&scans->root);
	(void) JsonbIteratorNext(&iterator, &value, true);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) == WJB_ELEM)
		read_scan(batch, &value, &batch->scans[batch->count++]);
}

/* Sorts ids and makes each appear once. */
int
unique_uuids(pg_uuid_t *ids, int count)
{
	int			kept = 0;

	qsort(ids, count, sizeof(pg_uuid_t), compare_uuids);
	for (int i = 0; i < count; i++)
		if (kept == 0 || memcmp(ids[kept - 1].data, ids[i].data, UUID_LEN) != 0)
			ids[kept++] = ids[i];
	return kept;
}

Datum
array_of_uuids(pg_uuid_t *ids, int count)
{
	Datum	   *elements = palloc(sizeof(Datum) * (count + 1));

	for (int i = 0; i < count; i++)
		elements[i] = UUIDPGetDatum(&ids[i]);
	return uuid_array(elements, count);
}

/* The flags' names, separated by commas, as string_to_array reads them. */
static char *
flags_text(int flags)
{
	StringInfoData text;

	initStringInfo(&text);
	for (size_t i = 0; i < lengthof(flag_names); i++)
		if (flags & (1 << i))
			appendStringInfo(&text, "%s%s", text.len > 0 ? "," : "", flag_names[i]);
	return text.data;
}

/* The scans as columns of one statement. */
void
record_batch(const Batch *batch)
{
	enum
	{
		SCAN_ID, TICKET_ID, CODE_HASH, RESULT, IS_OUT, SCANNED_BY, GATE, SCANNED_AT, HAPPENED_AT, MOVED, FLAGS, MANIFEST_ID, COLUMNS
	};
	static const Oid types[COLUMNS] = {UUIDOID, UUIDOID, TEXTOID, TEXTOID, BOOLOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, BOOLOID, TEXTOID, UUIDOID};
	Datum	   *columns[COLUMNS];
	bool	   *nulls[COLUMNS];
	Datum		values[4 + COLUMNS];
	int			n = 0;

	for (int c = 0; c < COLUMNS; c++)
	{
		columns[c] = palloc0(sizeof(Datum) * (batch->count + 1));
		nulls[c] = palloc0(sizeof(bool) * (batch->count + 1));
	}
	for (int i = 0; i < batch->count; i++)
	{
		OfflineScan *scan = &batch->scans[i];

		if (scan->error != NULL)
			continue;
		columns[SCAN_ID][n] = UUIDPGetDatum(&scan->scan_id);
		columns[TICKET_ID][n] = UUIDPGetDatum(&scan->ticket_id);
		nulls[TICKET_ID][n] = !scan->has_ticket;
		columns[CODE_HASH][n] = CStringGetTextDatum(scan->code_hash);
		columns[RESULT][n] = CStringGetTextDatum(scan->result);
		columns[IS_OUT][n] = BoolGetDatum(scan->out);
		columns[SCANNED_BY][n] = CStringGetTextDatum(scan->scanned_by);
		nulls[GATE][n] = scan->gate == NULL;
		columns[GATE][n] = scan->gate ? CStringGetTextDatum(scan->gate) : (Datum) 0;
		columns[SCANNED_AT][n] = TimestampTzGetDatum(scan->scanned_at);
		columns[HAPPENED_AT][n] = TimestampTzGetDatum(scan->happened_at);
		columns[MOVED][n] = BoolGetDatum(scan->moved);
		columns[FLAGS][n] = CStringGetTextDatum(flags_text(scan->flags));
		columns[MANIFEST_ID][n] = UUIDPGetDatum(&scan->manifest_id);
		nulls[MANIFEST_ID][n] = !scan->has_manifest;
		n++;
	}
	if (n == 0)
		return;
	values[0] = Int32GetDatum(batch->event_id);
	values[1] = CStringGetTextDatum(batch->device_id);
	values[2] = TimestampTzGetDatum(batch->now);
	values[3] = CStringGetTextDatum(batch->uploaded_by);
	for (int c = 0; c < COLUMNS; c++)
		values[4 + c] = array_with_nulls(columns[c], nulls[c], n, types[c]);
	run_latest(&record_scans, values, NULL);
}

/* A row of checkins that a scan of the batch has, by its scan id. */
typedef struct Recorded
{
	pg_uuid_t	scan_id;
	uint64		row;
} Recorded;

static void
answer_error(StringInfo json, const OfflineScan *scan, bool has_id, const char *reason, const char *argument)
{
	Answer		answer;
	Answer		error;

	answer_begin(&error);
	answer_text(&error, "reason", reason);
	if (argument != NULL)
		answer_text(&error, "argument", argument);
	answer_begin(&answer);
	answer_uuid(&answer, "scan_id", has_id ? &scan->scan_id : NULL);
	answer_raw(&answer, "error", answer_end(&error));
	appendStringInfoString(json, answer_end(&answer));
}

static void
answer_scan(StringInfo json, const OfflineScan *scan, uint64 row)
{
	const char *result = row_text(row, 5);
	Answer		answer;

	answer_begin(&answer);
	answer_uuid(&answer, "scan_id", &scan->scan_id);
	answer_text(&answer, "result", result);
	answer_uuid(&answer, "checkin_id", DatumGetUUIDP(row_datum(row, 6)));
	answer_uuid(&answer, "ticket_id", row_is_null(row, 7) ? NULL : DatumGetUUIDP(row_datum(row, 7)));
	answer_row_time(&answer, "admitted_at", row, 8);
	if (!row_is_null(row, 8))
		answer_text(&answer, "admitted_by", row_text(row, 9));
	answer_raw(&answer, "flags", row_text(row, 10));
	appendStringInfoString(json, answer_end(&answer));
}

/* An answer for each scan, from what is recorded, in the order of the batch. */
char *
answer_batch(const Batch *batch)
{
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * (batch->count + 1));
	int			count = 0;
	Recorded   *recorded = NULL;
	uint64		rows = 0;
	Datum		values[1];
	StringInfoData json;

	for (int i = 0; i < batch->count; i++)
		if (batch->scans[i].error == NULL)
			ids[count++] = batch->scans[i].scan_id;
	count = unique_uuids(ids, count);
	if (count > 0)
	{
		values[0] = array_of_uuids(ids, count);
		rows = run_latest(&read_recorded, values, NULL);
		recorded = palloc(sizeof(Recorded) * (rows + 1));
		for (uint64 row = 0; row < rows; row++)
			recorded[row] = (Recorded) {*DatumGetUUIDP(row_datum(row, 1)), row};
		qsort(recorded, rows, sizeof(Recorded), compare_uuids);
	}
	initStringInfo(&json);
	appendStringInfoChar(&json, '[');
	for (int i = 0; i < batch->count; i++)
	{
		const OfflineScan *scan = &batch->scans[i];
		Recorded   *match;

		CHECK_FOR_INTERRUPTS();
		if (i > 0)
			appendStringInfoString(&json, ", ");
		if (scan->error != NULL)
		{
			answer_error(&json, scan, strcmp(scan->error, "scan") != 0 && strcmp(scan->error, "scan_id") != 0, "bad_request", scan->error);
			continue;
		}
		match = bsearch(&scan->scan_id, recorded, rows, sizeof(Recorded), compare_uuids);
		if (match == NULL)
			elog(ERROR, "scan %s was not recorded", uuid_text(&scan->scan_id));
		if (DatumGetInt32(row_datum(match->row, 2)) != batch->event_id || strcmp(row_text(match->row, 3), scan->code_hash) != 0 ||
			DatumGetBool(row_datum(match->row, 4)) != scan->out)
			answer_error(&json, scan, true, "request_id_reused", NULL);
		else
			answer_scan(&json, scan, match->row);
	}
	appendStringInfoChar(&json, ']');
	return json.data;
}
