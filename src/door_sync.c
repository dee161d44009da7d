/*
 * door_sync.c
 *		Scans that devices made offline: a batch is recorded, each scan with an
 *		answer of its own, and the tickets are brought to what all their scans
 *		come to. Nothing is dropped, and nothing that happened at the door is
 *		denied: what was wrong about it is flagged.
 *
 * Reads ticketing.event_settings, event_gates, co_organizer_changes,
 * door_manifests, superseded_codes and suspended_tickets; reads and writes
 * public.tickets and ticketing.checkins, writes door_devices. Locks: the
 * tickets, by id.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define SCANS_MAX 10000
#define CLOCK_FLAG_USECS (2 * USECS_PER_MINUTE)

KEPT_PLAN(read_door,
		  "SELECT s.host_id, s.doors_open, s.doors_close, s.reentry FROM ticketing.event_settings s WHERE s.event_id = $1", INT4OID);
KEPT_PLAN(read_gates,
		  "SELECT gate, ticket_type_ids FROM ticketing.event_gates WHERE event_id = $1", INT4OID);
KEPT_PLAN(read_authority,
		  "SELECT changed_at, coalesce(status = 'accepted' AND ticketing.role_permits(role, permissions, 'scan'), false) "
		  "FROM ticketing.co_organizer_changes WHERE event_id = $1 AND user_id = $2 ORDER BY changed_at, id",
		  INT4OID, TEXTOID);
KEPT_PLAN(read_manifests,
		  "SELECT manifest_id, issued_at, expires_at FROM ticketing.door_manifests WHERE manifest_id = ANY ($1) AND event_id = $2",
		  UUIDARRAYOID, INT4OID);
KEPT_PLAN(find_tokens,
		  "SELECT qr_token, id FROM public.tickets WHERE qr_token = ANY ($1)", TEXTARRAYOID);
KEPT_PLAN(lock_tickets,
		  "SELECT id, event_id, ticket_type_id, status, qr_payload, qr_token FROM public.tickets WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE",
		  UUIDARRAYOID);
KEPT_PLAN(find_suspended,
		  "SELECT ticket_id FROM ticketing.suspended_tickets WHERE ticket_id = ANY ($1)", UUIDARRAYOID);
KEPT_PLAN(find_superseded,
		  "SELECT code_hash, ticket_id, superseded_at, event_id FROM ticketing.superseded_codes WHERE code_hash = ANY ($1)", TEXTARRAYOID);
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

/* Flags, in the order in which they are written. */
typedef enum ScanFlag
{
	FLAG_CLOCK = 1 << 0,		/* the device's clock was off by more than two minutes */
	FLAG_OPERATOR_REVOKED = 1 << 1, /* the operator might not scan any more, or not yet */
	FLAG_DEVICE_REVOKED = 1 << 2,
	FLAG_MANIFEST_EXPIRED = 1 << 3,
	FLAG_REFUNDED = 1 << 4,		/* admitted, though the ticket was or is no ticket any more */
	FLAG_VOID = 1 << 5,
	FLAG_SUSPENDED = 1 << 6,
	FLAG_SUPERSEDED = 1 << 7,	/* by a code that had been replaced */
	FLAG_WRONG_GATE = 1 << 8,
	FLAG_TOO_EARLY = 1 << 9,
	FLAG_TOO_LATE = 1 << 10,
	FLAG_NO_TICKET = 1 << 11	/* the device let somebody in by a code that is no ticket's of this event */
} ScanFlag;

static const char *const flag_names[] = {
	"clock", "operator_revoked", "device_revoked", "manifest_expired", "refunded", "void", "suspended", "superseded",
	"wrong_gate", "too_early", "too_late", "no_ticket"
};

/* One scan of a batch. */
typedef struct OfflineScan
{
	/* asked */
	pg_uuid_t	scan_id;
	char	   *code;
	char	   *code_hash;
	TimestampTz scanned_at;
	char	   *scanned_by;
	char	   *gate;
	bool		out;
	bool		has_manifest;
	pg_uuid_t	manifest_id;
	char	   *device_result;	/* what the device decided; NULL: it does not say */
	/* found */
	const char *error;			/* why it cannot be recorded; the rest is unset then */
	TicketCode	parsed;
	TimestampTz happened_at;
	bool		was_superseded; /* the code has been replaced: */
	TimestampTz superseded_at;
	bool		has_ticket;
	pg_uuid_t	ticket_id;
	const char *result;
	bool		moved;
	int			flags;
} OfflineScan;

/* Whether somebody might scan, from when to when. */
typedef struct Authority
{
	const char *user_id;
	bool		hosts;
	int			count;
	TimestampTz *since;
	bool	   *permitted;
} Authority;

typedef struct Gate
{
	char	   *name;
	int			tier_count;		/* -1: all tiers */
	pg_uuid_t  *tiers;
} Gate;

typedef struct ManifestTimes
{
	pg_uuid_t	id;
	TimestampTz issued_at;
	TimestampTz expires_at;
} ManifestTimes;

typedef struct LockedTicket
{
	pg_uuid_t	id;
	int32		event_id;
	pg_uuid_t	ticket_type_id;
	char	   *status;
	char	   *payload;
	char	   *token;
	bool		suspended;
	bool		touched;		/* a scan of this batch moves it */
} LockedTicket;

/* A batch, and what is known about the door. */
typedef struct Batch
{
	int32		event_id;
	char	   *uploaded_by;
	char	   *device_id;
	TimestampTz now;
	int64		offset;			/* of the server's clock against the device's, microseconds */
	char	   *host_id;
	bool		has_open;
	TimestampTz open;
	bool		has_close;
	TimestampTz close;
	bool		reentry;
	bool		device_revoked;
	TimestampTz device_revoked_at;
	int			gate_count;
	Gate	   *gates;
	int			authority_count;
	Authority  *authorities;
	int			manifest_count;
	ManifestTimes *manifests;
	int			ticket_count;
	LockedTicket *tickets;		/* by id */
	int			count;
	OfflineScan *scans;
} Batch;

/*-- reading a batch --*/

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

static void
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

/*-- what is known about the door --*/

static void
load_door(Batch *batch)
{
	Datum		event = Int32GetDatum(batch->event_id);
	uint64		rows;

	if (run_latest(&read_door, &event, NULL) == 0)
		refuse(NOT_FOUND, psprintf("\"event_id\": %d", batch->event_id), NULL, "event %d does not exist", batch->event_id);
	batch->host_id = row_text(0, 1);
	batch->has_open = !row_is_null(0, 2);
	if (batch->has_open)
		batch->open = DatumGetTimestampTz(row_datum(0, 2));
	batch->has_close = !row_is_null(0, 3);
	if (batch->has_close)
		batch->close = DatumGetTimestampTz(row_datum(0, 3));
	batch->reentry = DatumGetBool(row_datum(0, 4));

	rows = run_latest(&read_gates, &event, NULL);
	batch->gates = palloc0(sizeof(Gate) * (rows + 1));
	batch->gate_count = (int) rows;
	for (uint64 row = 0; row < rows; row++)
	{
		Gate	   *gate = &batch->gates[row];
		ArrayType  *tiers;

		gate->name = row_text(row, 1);
		gate->tier_count = -1;
		if (row_is_null(row, 2))
			continue;
		tiers = DatumGetArrayTypePCopy(row_datum(row, 2));
		gate->tier_count = ArrayGetNItems(ARR_NDIM(tiers), ARR_DIMS(tiers));
		gate->tiers = (pg_uuid_t *) ARR_DATA_PTR(tiers);
	}
}

/* When a user might scan at the event; each is asked about once. */
static Authority *
authority_of(Batch *batch, const char *user_id)
{
	Authority  *found;
	Datum		values[2];
	uint64		rows;

	for (int i = 0; i < batch->authority_count; i++)
		if (strcmp(batch->authorities[i].user_id, user_id) == 0)
			return &batch->authorities[i];
	if (batch->authorities == NULL)
		batch->authorities = palloc0(sizeof(Authority) * (batch->count + 1));
	found = &batch->authorities[batch->authority_count++];
	found->user_id = user_id;
	found->hosts = batch->host_id != NULL && strcmp(batch->host_id, user_id) == 0;
	if (found->hosts)
		return found;
	values[0] = Int32GetDatum(batch->event_id);
	values[1] = CStringGetTextDatum(user_id);
	rows = run_latest(&read_authority, values, NULL);
	found->since = palloc(sizeof(TimestampTz) * (rows + 1));
	found->permitted = palloc(sizeof(bool) * (rows + 1));
	found->count = (int) rows;
	for (uint64 row = 0; row < rows; row++)
	{
		found->since[row] = DatumGetTimestampTz(row_datum(row, 1));
		found->permitted[row] = DatumGetBool(row_datum(row, 2));
	}
	return found;
}

static bool
might_ever_scan(const Authority *authority)
{
	for (int i = 0; i < authority->count; i++)
		if (authority->permitted[i])
			return true;
	return authority->hosts;
}

static bool
might_scan_at(const Authority *authority, TimestampTz at)
{
	bool		permitted = authority->hosts;

	for (int i = 0; i < authority->count && authority->since[i] <= at; i++)
		permitted = authority->permitted[i];
	return permitted;
}

static void
load_manifests(Batch *batch)
{
	Datum	   *ids = palloc(sizeof(Datum) * (batch->count + 1));
	int			count = 0;
	Datum		values[2];
	uint64		rows;

	for (int i = 0; i < batch->count; i++)
		if (batch->scans[i].error == NULL && batch->scans[i].has_manifest &&
			(count == 0 || memcmp(DatumGetUUIDP(ids[count - 1])->data, batch->scans[i].manifest_id.data, UUID_LEN) != 0))
			ids[count++] = UUIDPGetDatum(&batch->scans[i].manifest_id);
	if (count == 0)
		return;
	values[0] = uuid_array(ids, count);
	values[1] = Int32GetDatum(batch->event_id);
	rows = run_latest(&read_manifests, values, NULL);
	batch->manifests = palloc(sizeof(ManifestTimes) * (rows + 1));
	batch->manifest_count = (int) rows;
	for (uint64 row = 0; row < rows; row++)
	{
		batch->manifests[row].id = *DatumGetUUIDP(row_datum(row, 1));
		batch->manifests[row].issued_at = DatumGetTimestampTz(row_datum(row, 2));
		batch->manifests[row].expires_at = DatumGetTimestampTz(row_datum(row, 3));
	}
}

/*
 * The scan's time by the server's clock: corrected by the offset that the
 * device reports, not before the manifest that it was made with, and not later
 * than now.
 */
static void
correct_time(const Batch *batch, OfflineScan *scan)
{
	scan->happened_at = scan->scanned_at + batch->offset;
	if (batch->offset > CLOCK_FLAG_USECS || batch->offset < -CLOCK_FLAG_USECS || scan->happened_at > batch->now)
		scan->flags |= FLAG_CLOCK;
	for (int i = 0; i < batch->manifest_count && scan->has_manifest; i++)
	{
		const ManifestTimes *manifest = &batch->manifests[i];

		if (memcmp(manifest->id.data, scan->manifest_id.data, UUID_LEN) != 0)
			continue;
		if (scan->happened_at < manifest->issued_at)
			scan->flags |= FLAG_CLOCK;
		scan->happened_at = Max(scan->happened_at, manifest->issued_at);
		if (scan->happened_at > manifest->expires_at)
			scan->flags |= FLAG_MANIFEST_EXPIRED;
	}
	scan->happened_at = Min(scan->happened_at, batch->now);
}

/*-- the tickets --*/

static int
compare_uuids(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

/* Sorts ids and makes each appear once. */
static int
unique_uuids(pg_uuid_t *ids, int count)
{
	int			kept = 0;

	qsort(ids, count, sizeof(pg_uuid_t), compare_uuids);
	for (int i = 0; i < count; i++)
		if (kept == 0 || memcmp(ids[kept - 1].data, ids[i].data, UUID_LEN) != 0)
			ids[kept++] = ids[i];
	return kept;
}

static Datum
array_of_uuids(pg_uuid_t *ids, int count)
{
	Datum	   *elements = palloc(sizeof(Datum) * (count + 1));

	for (int i = 0; i < count; i++)
		elements[i] = UUIDPGetDatum(&ids[i]);
	return uuid_array(elements, count);
}

/* What each code says of itself; no table is read. */
static void
judge_codes(Batch *batch)
{
	for (int i = 0; i < batch->count; i++)
	{
		OfflineScan *scan = &batch->scans[i];

		if (scan->error != NULL)
			continue;
		scan->result = judge_ticket_code(scan->code, &scan->parsed);
		if (scan->result == NULL && !scan->parsed.is_token && scan->parsed.event_id != batch->event_id)
			scan->result = "wrong_event";
		if (scan->result == NULL && !scan->parsed.is_token)
			scan->ticket_id = scan->parsed.ticket_id;
	}
}

typedef struct SupersededCode
{
	char	   *code_hash;
	pg_uuid_t	ticket_id;
	int32		event_id;
	TimestampTz superseded_at;
} SupersededCode;

static int
compare_hashes(const void *a, const void *b)
{
	return strcmp(((const SupersededCode *) a)->code_hash, ((const SupersededCode *) b)->code_hash);
}

/* Finds the codes that have been replaced, and whose they were. */
static void
find_superseded_codes(Batch *batch)
{
	Datum	   *hashes = palloc(sizeof(Datum) * (batch->count + 1));
	int			count = 0;
	Datum		values[1];
	SupersededCode *found;
	uint64		rows;

	for (int i = 0; i < batch->count; i++)
		if (batch->scans[i].error == NULL && batch->scans[i].result == NULL)
			hashes[count++] = CStringGetTextDatum(batch->scans[i].code_hash);
	if (count == 0)
		return;
	values[0] = text_array(hashes, count);
	rows = run_latest(&find_superseded, values, NULL);
	found = palloc(sizeof(SupersededCode) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
		found[row] = (SupersededCode) {row_text(row, 1), *DatumGetUUIDP(row_datum(row, 2)), DatumGetInt32(row_datum(row, 4)), DatumGetTimestampTz(row_datum(row, 3))};
	qsort(found, rows, sizeof(SupersededCode), compare_hashes);
	for (int i = 0; i < batch->count && rows > 0; i++)
	{
		OfflineScan *scan = &batch->scans[i];
		SupersededCode key = {.code_hash = scan->code_hash};
		SupersededCode *match;

		if (scan->error != NULL || scan->result != NULL)
			continue;
		match = bsearch(&key, found, rows, sizeof(SupersededCode), compare_hashes);
		if (match == NULL)
			continue;
		scan->was_superseded = true;
		scan->superseded_at = match->superseded_at;
		scan->ticket_id = match->ticket_id;
		if (match->event_id != batch->event_id)
			scan->result = "wrong_event";
	}
}

typedef struct TokenTicket
{
	char	   *token;
	pg_uuid_t	ticket_id;
} TokenTicket;

static int
compare_tokens(const void *a, const void *b)
{
	return strcmp(((const TokenTicket *) a)->token, ((const TokenTicket *) b)->token);
}

/* Finds the tickets of bare tokens. */
static void
find_ticket_of_tokens(Batch *batch)
{
	Datum	   *tokens = palloc(sizeof(Datum) * (batch->count + 1));
	int			count = 0;
	Datum		values[1];
	TokenTicket *found;
	uint64		rows;

	for (int i = 0; i < batch->count; i++)
		if (batch->scans[i].error == NULL && batch->scans[i].result == NULL && batch->scans[i].parsed.is_token)
			tokens[count++] = CStringGetTextDatum(batch->scans[i].code);
	if (count == 0)
		return;
	values[0] = text_array(tokens, count);
	rows = run_latest(&find_tokens, values, NULL);
	found = palloc(sizeof(TokenTicket) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
		found[row] = (TokenTicket) {row_text(row, 1), *DatumGetUUIDP(row_datum(row, 2))};
	qsort(found, rows, sizeof(TokenTicket), compare_tokens);
	for (int i = 0; i < batch->count; i++)
	{
		OfflineScan *scan = &batch->scans[i];
		TokenTicket key = {.token = scan->code};
		TokenTicket *match;

		if (scan->error != NULL || scan->result != NULL || !scan->parsed.is_token)
			continue;
		match = bsearch(&key, found, rows, sizeof(TokenTicket), compare_tokens);
		if (match != NULL)
			scan->ticket_id = match->ticket_id;
		else if (!scan->was_superseded)
			scan->result = "not_found";
	}
}

/* Locks the tickets of all scans that may have one, in the order of their ids. */
static void
lock_scanned_tickets(Batch *batch)
{
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * (batch->count + 1));
	int			count = 0;
	Datum		values[1];
	uint64		rows;

	for (int i = 0; i < batch->count; i++)
		if (batch->scans[i].error == NULL && batch->scans[i].result == NULL)
			ids[count++] = batch->scans[i].ticket_id;
	count = unique_uuids(ids, count);
	if (count == 0)
		return;
	declare_lock(RANK_PUBLIC);
	values[0] = array_of_uuids(ids, count);
	rows = run_latest(&lock_tickets, values, NULL);
	batch->tickets = palloc0(sizeof(LockedTicket) * (rows + 1));
	batch->ticket_count = (int) rows;
	for (uint64 row = 0; row < rows; row++)
	{
		LockedTicket *ticket = &batch->tickets[row];

		ticket->id = *DatumGetUUIDP(row_datum(row, 1));
		ticket->event_id = DatumGetInt32(row_datum(row, 2));
		ticket->ticket_type_id = *DatumGetUUIDP(row_datum(row, 3));
		ticket->status = row_text(row, 4);
		ticket->payload = row_text(row, 5);
		ticket->token = row_text(row, 6);
	}
}

static LockedTicket *
ticket_of(const Batch *batch, const pg_uuid_t *id)
{
	return batch->ticket_count == 0 ? NULL : bsearch(id, batch->tickets, batch->ticket_count, sizeof(LockedTicket), compare_uuids);
}

static void
mark_suspended_tickets(Batch *batch)
{
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * (batch->ticket_count + 1));
	int			count = 0;
	Datum		values[1];
	uint64		rows;

	for (int i = 0; i < batch->ticket_count; i++)
		if (batch->tickets[i].status == NULL || strcmp(batch->tickets[i].status, "void") == 0)
			ids[count++] = batch->tickets[i].id;
	if (count == 0)
		return;
	values[0] = array_of_uuids(ids, count);
	rows = run_latest(&find_suspended, values, NULL);
	for (uint64 row = 0; row < rows; row++)
		ticket_of(batch, DatumGetUUIDP(row_datum(row, 1)))->suspended = true;
}

/*-- judging --*/

/* Whether the gate is wrong for a tier. */
static bool
is_wrong_gate(const Batch *batch, const OfflineScan *scan, const pg_uuid_t *tier)
{
	if (batch->gate_count == 0 || scan->out)
		return false;
	for (int i = 0; i < batch->gate_count; i++)
	{
		const Gate *gate = &batch->gates[i];

		if (scan->gate == NULL || strcmp(gate->name, scan->gate) != 0)
			continue;
		for (int k = 0; k < gate->tier_count; k++)
			if (memcmp(gate->tiers[k].data, tier->data, UUID_LEN) == 0)
				return false;
		return gate->tier_count >= 0;
	}
	return true;
}

/* What was wrong about somebody's going in or out. */
static int
flags_of_ticket(const Batch *batch, const OfflineScan *scan, const LockedTicket *ticket)
{
	int			flags = 0;

	if (ticket->suspended)
		flags |= FLAG_SUSPENDED;
	else if (ticket->status == NULL || strcmp(ticket->status, "void") == 0)
		flags |= FLAG_VOID;
	else if (strcmp(ticket->status, "refunded") == 0)
		flags |= FLAG_REFUNDED;
	if (is_wrong_gate(batch, scan, &ticket->ticket_type_id))
		flags |= FLAG_WRONG_GATE;
	if (!scan->out && batch->has_open && scan->happened_at < batch->open)
		flags |= FLAG_TOO_EARLY;
	if (!scan->out && batch->has_close && scan->happened_at >= batch->close)
		flags |= FLAG_TOO_LATE;
	return flags;
}

/* Did the device let somebody in or out, as far as it says? */
static bool
device_moved(const OfflineScan *scan)
{
	return scan->device_result == NULL || strcmp(scan->device_result, "admitted") == 0 || strcmp(scan->device_result, "exited") == 0;
}

/* The ticket that a scan is of, NULL where there is none; whose code it is today, or was at the time. */
static LockedTicket *
match_ticket(const Batch *batch, OfflineScan *scan)
{
	LockedTicket *ticket;
	const char *code;

	if (scan->result != NULL)
		return NULL;
	ticket = ticket_of(batch, &scan->ticket_id);
	if (ticket == NULL || ticket->event_id != batch->event_id)
	{
		scan->result = ticket == NULL ? "not_found" : "wrong_event";
		return NULL;
	}
	scan->has_ticket = true;
	code = scan->parsed.is_token ? ticket->token : ticket->payload;
	if (code != NULL && strcmp(code, scan->code) == 0)
		return ticket;
	if (scan->was_superseded && scan->happened_at < scan->superseded_at)
		return ticket;
	/* the device could not know, if it let somebody in: whoever had the old code is in */
	if (device_moved(scan))
		scan->flags |= FLAG_SUPERSEDED;
	else
		scan->result = "superseded";
	return ticket;
}

static void
judge_scan(Batch *batch, OfflineScan *scan)
{
	Authority  *authority = authority_of(batch, scan->scanned_by);
	LockedTicket *ticket = match_ticket(batch, scan);

	if (!might_ever_scan(authority))
	{
		scan->result = "not_allowed";
		return;
	}
	if (!might_scan_at(authority, scan->happened_at))
		scan->flags |= FLAG_OPERATOR_REVOKED;
	if (batch->device_revoked && scan->happened_at >= batch->device_revoked_at)
		scan->flags |= FLAG_DEVICE_REVOKED;
	if (ticket == NULL)
	{
		if (scan->device_result != NULL && device_moved(scan))
			scan->flags |= FLAG_NO_TICKET;
	}
	else if (!device_moved(scan))
		scan->result = scan->device_result;
	else if (scan->out && !batch->reentry)
		scan->result = "not_allowed";
	else
	{
		scan->flags |= flags_of_ticket(batch, scan, ticket);
		scan->result = scan->out ? "exited" : "admitted";
		scan->moved = true;
		ticket->touched = true;
	}
}

/*-- writing --*/

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
static void
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

/* The tickets that somebody was let in or out with, in the order of their ids. */
static pg_uuid_t *
moved_tickets(const Batch *batch, int *count)
{
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * (batch->ticket_count + 1));

	*count = 0;
	for (int i = 0; i < batch->ticket_count; i++)
		if (batch->tickets[i].touched)
			ids[(*count)++] = batch->tickets[i].id;
	return ids;
}

/* Brings the tickets that were moved to what their scans come to. */
static void
settle_tickets(const Batch *batch, pg_uuid_t *ids, int count)
{
	bool		exits = false;

	fold_tickets(ids, count);
	for (int i = 0; i < batch->count; i++)
		exits |= batch->scans[i].moved && batch->scans[i].out;
	if (exits)
		touch_door_states(array_of_uuids(ids, count), batch->event_id);
}

/*-- answering --*/

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
	if (row_is_null(row, 8))
		answer_null(&answer, "admitted_at");
	else
	{
		answer_time(&answer, "admitted_at", DatumGetTimestampTz(row_datum(row, 8)));
		answer_text(&answer, "admitted_by", row_text(row, 9));
	}
	answer_raw(&answer, "flags", row_text(row, 10));
	appendStringInfoString(json, answer_end(&answer));
}

/* An answer for each scan, from what is recorded, in the order of the batch. */
static char *
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

PG_FUNCTION_INFO_V1(dvnt_sync_checkins);

/* sync_checkins(event_id, uploaded_by, device_id, device_now, scans) → jsonb */
Datum
dvnt_sync_checkins(PG_FUNCTION_ARGS)
{
	Batch		batch = {0};
	TimestampTz device_now;
	pg_uuid_t  *moved;
	int			moved_count;
	Answer		answer;
	Datum		result;

	/* the offset is of this moment: nothing is waited for before */
	batch.now = engine_now();
	require_argument(fcinfo, 0, "event_id");
	batch.event_id = PG_GETARG_INT32(0);
	batch.uploaded_by = text_argument(fcinfo, 1, "uploaded_by");
	batch.device_id = text_argument(fcinfo, 2, "device_id");
	require_argument(fcinfo, 3, "device_now");
	device_now = PG_GETARG_TIMESTAMPTZ(3);
	if (TIMESTAMP_NOT_FINITE(device_now))
		refuse(BAD_REQUEST, "\"argument\": \"device_now\"", NULL, "device_now is not finite");
	batch.offset = batch.now - device_now;
	require_argument(fcinfo, 4, "scans");
	read_batch(PG_GETARG_JSONB_P(4), &batch);

	judge_codes(&batch);
	begin_command();
	load_door(&batch);
	if (!might_ever_scan(authority_of(&batch, batch.uploaded_by)))
		refuse(NOT_ALLOWED, psprintf("\"event_id\": %d", batch.event_id), NULL, "user may not scan at event %d", batch.event_id);
	batch.device_revoked = enrol_unknown_device(batch.event_id, batch.device_id, batch.uploaded_by, batch.now, &batch.device_revoked_at);
	load_manifests(&batch);
	for (int i = 0; i < batch.count; i++)
		if (batch.scans[i].error == NULL)
			correct_time(&batch, &batch.scans[i]);
	find_superseded_codes(&batch);
	find_ticket_of_tokens(&batch);
	lock_scanned_tickets(&batch);
	mark_suspended_tickets(&batch);
	for (int i = 0; i < batch.count; i++)
		if (batch.scans[i].error == NULL)
			judge_scan(&batch, &batch.scans[i]);
	moved = moved_tickets(&batch, &moved_count);
	if (moved_count > 0)
		adopt_scanned_tickets(array_of_uuids(moved, moved_count), batch.now);
	record_batch(&batch);
	if (moved_count > 0)
		settle_tickets(&batch, moved, moved_count);
	answer_begin(&answer);
	answer_raw(&answer, "results", answer_batch(&batch));
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
