/*
 * door_sync.c
 *		Scans that devices made offline: what each of them was, by its code, its
 *		ticket, its operator and its time; then the batch is recorded and the
 *		tickets are brought to what all their scans come to. Nothing is dropped,
 *		and nothing that happened at the door is denied: what was wrong about it
 *		is flagged.
 *
 * Reads ticketing.event_settings, event_gates, co_organizer_changes,
 * door_manifests, superseded_codes and suspended_tickets; reads and writes
 * public.tickets, writes door_devices, and checkins by door_batch.c and
 * ticket_moves.c. Locks: the tickets, by id.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/int.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "door_batch.h"

#define CLOCK_FLAG_USECS (2 * USECS_PER_MINUTE)

KEPT_PLAN(read_door,
		  "SELECT s.host_id, s.doors_open, s.doors_close, s.reentry FROM ticketing.event_settings s WHERE s.event_id = $1", INT4OID);
KEPT_PLAN(read_gates,
		  "SELECT gate, ticket_type_ids FROM ticketing.event_gates WHERE event_id = $1", INT4OID);
KEPT_PLAN(read_authority,
		  "SELECT user_id, changed_at, coalesce(status = 'accepted' AND ticketing.role_permits(role, permissions, 'scan'), false) "
		  "FROM ticketing.co_organizer_changes WHERE event_id = $1 AND user_id = ANY ($2) ORDER BY user_id COLLATE \"C\", changed_at, id",
		  INT4OID, TEXTARRAYOID);
KEPT_PLAN(read_manifests,
		  "SELECT manifest_id, issued_at, expires_at FROM ticketing.door_manifests WHERE manifest_id = ANY ($1) AND event_id = $2 ORDER BY manifest_id",
		  UUIDARRAYOID, INT4OID);
KEPT_PLAN(find_tokens,
		  "SELECT qr_token, id, event_id, NULL::timestamptz FROM public.tickets WHERE qr_token = ANY ($1) ORDER BY qr_token COLLATE \"C\"", TEXTARRAYOID);
KEPT_PLAN(lock_tickets,
		  "SELECT id, event_id, ticket_type_id, status, qr_payload, qr_token FROM public.tickets WHERE id = ANY ($1) ORDER BY id FOR NO KEY UPDATE",
		  UUIDARRAYOID);
KEPT_PLAN(find_suspended,
		  "SELECT ticket_id FROM ticketing.suspended_tickets WHERE ticket_id = ANY ($1)", UUIDARRAYOID);
KEPT_PLAN(find_superseded,
		  "SELECT code_hash, ticket_id, event_id, superseded_at FROM ticketing.superseded_codes WHERE code_hash = ANY ($1) ORDER BY code_hash COLLATE \"C\"", TEXTARRAYOID);

/*-- what is known about the door --*/

static void
load_door(Batch *batch)
{
	Datum		event = Int32GetDatum(batch->event_id);
	uint64		rows;

	if (run_latest(&read_door, &event, NULL) == 0)
		refuse_unknown_event(batch->event_id);
	batch->host_id = row_text(0, 1);
	batch->hours = row_hours(2);
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

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *) a, *(const char *const *) b);
}

/* Finds out when whoever uploads and each operator might scan at the event. */
static void
load_authorities(Batch *batch)
{
	const char **names = palloc(sizeof(char *) * (batch->count + 1));
	Datum	   *users;
	int			count = 0;
	Datum		values[2];
	AuthorityChange *changes;
	uint64		rows;
	uint64		row = 0;

	names[count++] = batch->uploaded_by;
	for (int i = 0; i < batch->count; i++)
		if (batch->scans[i].error == NULL)
			names[count++] = batch->scans[i].scanned_by;
	qsort(names, count, sizeof(char *), compare_names);
	batch->authorities = palloc0(sizeof(Authority) * count);
	users = palloc(sizeof(Datum) * count);
	for (int i = 0; i < count; i++)
	{
		Authority  *authority = &batch->authorities[batch->authority_count];

		if (i > 0 && strcmp(names[i - 1], names[i]) == 0)
			continue;
		authority->user_id = names[i];
		authority->hosts = batch->host_id != NULL && strcmp(batch->host_id, names[i]) == 0;
		users[batch->authority_count++] = CStringGetTextDatum(names[i]);
	}

	values[0] = Int32GetDatum(batch->event_id);
	values[1] = text_array(users, batch->authority_count);
	rows = run_latest(&read_authority, values, NULL);
	changes = palloc(sizeof(AuthorityChange) * (rows + 1));
	for (int i = 0; i < batch->authority_count; i++)
	{
		Authority  *authority = &batch->authorities[i];

		authority->changes = &changes[row];
		for (; row < rows && strcmp(row_text(row, 1), authority->user_id) == 0; row++, authority->count++)
			changes[row] = (AuthorityChange) {DatumGetTimestampTz(row_datum(row, 2)), DatumGetBool(row_datum(row, 3))};
	}
}

static const Authority *
authority_of(const Batch *batch, const char *user_id)
{
	return bsearch(&user_id, batch->authorities, batch->authority_count, sizeof(Authority), compare_names);
}

static bool
might_ever_scan(const Authority *authority)
{
	for (int i = 0; i < authority->count; i++)
		if (authority->changes[i].permitted)
			return true;
	return authority->hosts;
}

static bool
might_scan_at(const Authority *authority, TimestampTz at)
{
	bool		permitted = authority->hosts;

	for (int i = 0; i < authority->count && authority->changes[i].at <= at; i++)
		permitted = authority->changes[i].permitted;
	return permitted;
}

static void
load_manifests(Batch *batch)
{
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * (batch->count + 1));
	int			count = 0;
	Datum		values[2];
	uint64		rows;

	for (int i = 0; i < batch->count; i++)
		if (batch->scans[i].error == NULL && batch->scans[i].has_manifest)
			ids[count++] = batch->scans[i].manifest_id;
	count = unique_uuids(ids, count);
	if (count == 0)
		return;
	values[0] = array_of_uuids(ids, count);
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
 * than now. A time that is none then is the scan's error.
 */
static void
correct_time(const Batch *batch, OfflineScan *scan)
{
	const ManifestTimes *manifest = !scan->has_manifest || batch->manifest_count == 0 ? NULL
		: bsearch(&scan->manifest_id, batch->manifests, batch->manifest_count, sizeof(ManifestTimes), compare_uuids);

	if (pg_add_s64_overflow(scan->scanned_at, batch->offset, &scan->happened_at) || !IS_VALID_TIMESTAMP(scan->happened_at))
	{
		scan->error = "scanned_at";
		return;
	}
	if (batch->offset > CLOCK_FLAG_USECS || batch->offset < -CLOCK_FLAG_USECS || scan->happened_at > batch->now)
		scan->flags |= FLAG_CLOCK;
	if (manifest != NULL)
	{
		if (scan->happened_at < manifest->issued_at)
			scan->flags |= FLAG_CLOCK;
		scan->happened_at = Max(scan->happened_at, manifest->issued_at);
		if (scan->happened_at > manifest->expires_at)
			scan->flags |= FLAG_MANIFEST_EXPIRED;
	}
	scan->happened_at = Min(scan->happened_at, batch->now);
}

/*-- the tickets --*/

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

/* Tickets by codes or hashes of codes, in their order. */
typedef struct CodeOwner
{
	const char *code;
	pg_uuid_t	ticket_id;
	int32		event_id;
	TimestampTz superseded_at;
} CodeOwner;

typedef struct CodeOwners
{
	int			count;
	CodeOwner  *owners;
} CodeOwners;

static CodeOwners
find_owners(KeptPlan *plan, Datum *codes, int count)
{
	Datum		values[1] = {text_array(codes, count)};
	CodeOwners	found = {.count = count == 0 ? 0 : (int) run_latest(plan, values, NULL)};

	found.owners = palloc0(sizeof(CodeOwner) * (found.count + 1));
	for (int row = 0; row < found.count; row++)
	{
		CodeOwner  *owner = &found.owners[row];

		owner->code = row_text(row, 1);
		owner->ticket_id = *DatumGetUUIDP(row_datum(row, 2));
		owner->event_id = DatumGetInt32(row_datum(row, 3));
		if (!row_is_null(row, 4))
			owner->superseded_at = DatumGetTimestampTz(row_datum(row, 4));
	}
	return found;
}

static const CodeOwner *
owner_of(const CodeOwners *found, const char *code)
{
	return bsearch(&code, found->owners, found->count, sizeof(CodeOwner), compare_names);
}

static bool
is_open(const OfflineScan *scan)
{
	return scan->error == NULL && scan->result == NULL;
}

/* Finds the codes that have been replaced, and whose they were. */
static void
find_superseded_codes(Batch *batch)
{
	Datum	   *hashes = palloc(sizeof(Datum) * (batch->count + 1));
	int			count = 0;
	CodeOwners	found;

	for (int i = 0; i < batch->count; i++)
		if (is_open(&batch->scans[i]))
			hashes[count++] = CStringGetTextDatum(batch->scans[i].code_hash);
	found = find_owners(&find_superseded, hashes, count);
	for (int i = 0; i < batch->count; i++)
	{
		OfflineScan *scan = &batch->scans[i];
		const CodeOwner *owner = is_open(scan) ? owner_of(&found, scan->code_hash) : NULL;

		if (owner == NULL)
			continue;
		scan->was_superseded = true;
		scan->superseded_at = owner->superseded_at;
		scan->ticket_id = owner->ticket_id;
		if (owner->event_id != batch->event_id)
			scan->result = "wrong_event";
	}
}

/* Finds the tickets of bare tokens. */
static void
find_tickets_of_tokens(Batch *batch)
{
	Datum	   *tokens = palloc(sizeof(Datum) * (batch->count + 1));
	int			count = 0;
	CodeOwners	found;

	for (int i = 0; i < batch->count; i++)
		if (is_open(&batch->scans[i]) && batch->scans[i].parsed.is_token)
			tokens[count++] = CStringGetTextDatum(batch->scans[i].code);
	found = find_owners(&find_tokens, tokens, count);
	for (int i = 0; i < batch->count; i++)
	{
		OfflineScan *scan = &batch->scans[i];
		const CodeOwner *owner;

		if (!is_open(scan) || !scan->parsed.is_token)
			continue;
		owner = owner_of(&found, scan->code);
		if (owner != NULL)
			scan->ticket_id = owner->ticket_id;
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
		if (is_open(&batch->scans[i]))
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
	if (!scan->out && too_early(&batch->hours, scan->happened_at))
		flags |= FLAG_TOO_EARLY;
	if (!scan->out && too_late(&batch->hours, scan->happened_at))
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
	const Authority *authority = authority_of(batch, scan->scanned_by);
	LockedTicket *ticket;

	if (!might_ever_scan(authority))
	{
		scan->result = "not_allowed";
		return;
	}
	ticket = match_ticket(batch, scan);
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
	batch.device_id = device_argument(fcinfo, 2);
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
	load_authorities(&batch);
	if (!might_ever_scan(authority_of(&batch, batch.uploaded_by)))
		refuse(NOT_ALLOWED, psprintf("\"event_id\": %d", batch.event_id), NULL, "user may not scan at event %d", batch.event_id);
	batch.device_revoked = enrol_unknown_device(batch.event_id, batch.device_id, batch.uploaded_by, batch.now, &batch.device_revoked_at);
	load_manifests(&batch);
	for (int i = 0; i < batch.count; i++)
		if (batch.scans[i].error == NULL)
			correct_time(&batch, &batch.scans[i]);
	find_superseded_codes(&batch);
	find_tickets_of_tokens(&batch);
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
