/*
 * ticket_changes.c
 *		What may happen to a ticket after it was issued: new codes, another
 *		owner, its end, a suspension and its end; and signed codes for tickets
 *		from before.
 *
 * Reads ticketing.event_settings and suspended_tickets, reads and writes
 * public.tickets, writes ticketing.superseded_codes and ticket_changes. Locks,
 * in this order: users, the event's shape, what ticket_seats.c takes, the
 * ticket.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "dvnt_ticketing.h"

KEPT_PLAN(find_ticket,
		  "SELECT t.event_id, t.ticket_type_id, t.user_id, t.status, s.hold_id IS NOT NULL FROM public.tickets t LEFT JOIN ticketing.suspended_tickets s ON s.ticket_id = t.id WHERE t.id = $1",
		  UUIDOID);
KEPT_PLAN(lock_ticket,
		  "SELECT event_id, ticket_type_id, user_id, status, qr_payload, qr_token FROM public.tickets WHERE id = $1 FOR NO KEY UPDATE",
		  UUIDOID);
KEPT_PLAN(suite_of_event,
		  "SELECT suite FROM ticketing.event_settings WHERE event_id = $1", INT4OID);
KEPT_PLAN(supersede,
		  "INSERT INTO ticketing.superseded_codes (code_hash, ticket_id, event_id, superseded_at) "
		  "SELECT encode(sha256(convert_to(code, 'UTF8')), 'hex'), t.id, t.event_id, $2 FROM public.tickets t, unnest(ARRAY[t.qr_payload, t.qr_token]) AS code "
		  "WHERE t.id = $1 AND code IS NOT NULL ON CONFLICT DO NOTHING",
		  UUIDOID, TIMESTAMPTZOID);
KEPT_PLAN(give_codes,
		  "UPDATE public.tickets SET qr_payload = $2, qr_token = $3, user_id = $4 WHERE id = $1", UUIDOID, TEXTOID, TEXTOID, TEXTOID);
KEPT_PLAN(log_change,
		  "INSERT INTO ticketing.ticket_changes (ticket_id, event_id, change, actor, detail, changed_at) VALUES ($1, $2, $3, $4, $5, $6)",
		  UUIDOID, INT4OID, TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID);
KEPT_PLAN(claimed_back,
		  "SELECT 'refund ' || r.refund_id FROM ticketing.refund_tickets r WHERE r.ticket_id = $1 AND NOT r.failed "
		  "UNION ALL SELECT 'dispute ' || d.dispute_id FROM ticketing.dispute_tickets t JOIN ticketing.disputes d USING (dispute_id) WHERE t.ticket_id = $1 AND d.phase = 'open' LIMIT 1",
		  UUIDOID);
/* What the organizer gave back for a ticket, to a refund that then failed. */
KEPT_PLAN(organizers_part,
		  "SELECT t.refund_id, t.amount_cents - t.buyer_fee_cents - t.organizer_fee_cents FROM ticketing.refund_tickets t "
		  "JOIN ticketing.ledger l ON l.source = t.refund_id::text AND l.kind = 'reversal' WHERE t.ticket_id = $1 AND t.failed LIMIT 1",
		  UUIDOID);
KEPT_PLAN(order_of_ticket,
		  "SELECT order_id FROM ticketing.order_tickets WHERE ticket_id = $1", UUIDOID);
KEPT_PLAN(status_of_ticket,
		  "SELECT status FROM public.tickets WHERE id = $1", UUIDOID);
KEPT_PLAN(next_tickets,
		  "SELECT t.id, t.event_id, coalesce(s.suite, 1::smallint), t.qr_payload IS NULL AND t.status IN ('active', 'scanned') "
		  "FROM public.tickets t LEFT JOIN ticketing.event_settings s ON s.event_id = t.event_id WHERE t.id > $1 ORDER BY t.id LIMIT $2",
		  UUIDOID, INT8OID);
KEPT_PLAN(lock_unsigned,
		  "SELECT id FROM public.tickets WHERE id = ANY ($1) AND qr_payload IS NULL ORDER BY id FOR NO KEY UPDATE SKIP LOCKED", UUIDARRAYOID);
KEPT_PLAN(write_payloads,
		  "UPDATE public.tickets t SET qr_payload = u.payload FROM unnest($1::uuid[], $2::text[]) AS u (id, payload) WHERE t.id = u.id",
		  UUIDARRAYOID, TEXTARRAYOID);

/* A ticket that is to be changed. */
typedef struct ChangedTicket
{
	pg_uuid_t	id;
	int32		event_id;
	pg_uuid_t	ticket_type_id;
	char	   *user_id;
	char	   *status;
	bool		suspended;
} ChangedTicket;

static const char *
ticket_figure(const ChangedTicket *ticket)
{
	return psprintf("\"ticket_id\": \"%s\", \"status\": \"%s\"", uuid_text(&ticket->id),
					ticket->suspended ? "suspended" : ticket->status ? ticket->status : "void");
}

static void
refuse_unknown_ticket(const pg_uuid_t *id)
{
	refuse(NOT_FOUND, psprintf("\"ticket_id\": \"%s\"", uuid_text(id)), NULL, "ticket %s does not exist", uuid_text(id));
}

/* Reads a ticket without a lock: what locks are to be taken, and who may ask. */
static void
read_ticket(FunctionCallInfo fcinfo, ChangedTicket *ticket)
{
	Datum		id;

	ticket->id = *PG_GETARG_UUID_P(0);
	id = UUIDPGetDatum(&ticket->id);
	if (run_latest(&find_ticket, &id, NULL) == 0)
		refuse_unknown_ticket(&ticket->id);
	ticket->event_id = DatumGetInt32(row_datum(0, 1));
	ticket->ticket_type_id = *DatumGetUUIDP(row_datum(0, 2));
	ticket->user_id = row_text(0, 3);
	ticket->status = row_text(0, 4);
	ticket->suspended = DatumGetBool(row_datum(0, 5));
}

/* Locks the ticket and reads what may have changed. What the locks before it were chosen by must be as it was. */
static void
lock_changed_ticket(ChangedTicket *ticket)
{
	Datum		id = UUIDPGetDatum(&ticket->id);

	declare_lock(RANK_PUBLIC);
	if (run_latest(&lock_ticket, &id, NULL) == 0)
		refuse_unknown_ticket(&ticket->id);
	if (DatumGetInt32(row_datum(0, 1)) != ticket->event_id || strcmp(row_text(0, 3), ticket->user_id) != 0 ||
		memcmp(DatumGetUUIDP(row_datum(0, 2))->data, ticket->ticket_type_id.data, UUID_LEN) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("ticket %s was changed meanwhile", uuid_text(&ticket->id)),
				 errhint("Try again.")));
	ticket->status = row_text(0, 4);
}

static bool
is_valid(const ChangedTicket *ticket)
{
	return ticket->status != NULL && (strcmp(ticket->status, "active") == 0 || strcmp(ticket->status, "scanned") == 0);
}

static void
require_valid(const ChangedTicket *ticket)
{
	if (!is_valid(ticket))
		refuse(WRONG_STATE, ticket_figure(ticket), NULL, "ticket %s is no valid ticket", uuid_text(&ticket->id));
}

static void
log_ticket_change(const ChangedTicket *ticket, const char *change, const char *actor, Answer *detail, TimestampTz now)
{
	Datum		values[6] = {UUIDPGetDatum(&ticket->id), Int32GetDatum(ticket->event_id), CStringGetTextDatum(change),
	CStringGetTextDatum(actor), answer_jsonb(detail), TimestampTzGetDatum(now)};

	run_latest(&log_change, values, NULL);
}

/* Replaces the codes of a locked ticket, and perhaps its owner. */
static Datum
replace_codes(const ChangedTicket *ticket, const char *owner, TimestampTz now)
{
	Datum		event = Int32GetDatum(ticket->event_id);
	Datum		old[2] = {UUIDPGetDatum(&ticket->id), TimestampTzGetDatum(now)};
	Datum		values[4] = {old[0]};
	int			suite = run_latest(&suite_of_event, &event, NULL) == 1 ? DatumGetInt16(row_datum(0, 1)) : 1;

	values[1] = new_ticket_payload(&ticket->id, ticket->event_id, suite);
	values[2] = new_ticket_token();
	values[3] = CStringGetTextDatum(owner);
	run_latest(&supersede, old, NULL);
	run_latest(&give_codes, values, NULL);
	return values[1];
}

/* The answer that all these functions begin with. */
static void
begin_ticket_answer(Answer *answer, const ChangedTicket *ticket, const char *status)
{
	answer_begin(answer);
	answer_uuid(answer, "ticket_id", &ticket->id);
	answer_int(answer, "event_id", ticket->event_id);
	answer_uuid(answer, "ticket_type_id", &ticket->ticket_type_id);
	answer_text(answer, "status", status);
}

PG_FUNCTION_INFO_V1(dvnt_reissue_ticket);

/* reissue_ticket(ticket_id, actor) → jsonb */
Datum
dvnt_reissue_ticket(PG_FUNCTION_ARGS)
{
	ChangedTicket ticket;
	char	   *actor = text_argument(fcinfo, 1, "actor");
	TimestampTz now;
	Datum		payload;
	Answer		detail;
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 0, "ticket_id");
	begin_command();
	read_ticket(fcinfo, &ticket);
	if (strcmp(actor, ticket.user_id) != 0)
		require_permission(ticket.event_id, actor, "edit");
	lock_changed_ticket(&ticket);
	require_valid(&ticket);
	now = engine_now();
	payload = replace_codes(&ticket, ticket.user_id, now);
	answer_begin(&detail);
	log_ticket_change(&ticket, "reissued", actor, &detail, now);
	begin_ticket_answer(&answer, &ticket, ticket.status);
	answer_text(&answer, "qr_payload", TextDatumGetCString(payload));
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/* Refuses when the new owner would have more of the tier than he may. */
static void
check_limit_of_new_owner(const ChangedTicket *ticket, const char *user_id, TimestampTz now)
{
	CartItem	item = {.ticket_type_id = ticket->ticket_type_id, .quantity = 1};
	Cart		cart = {.event_id = ticket->event_id, .item_count = 1, .items = &item};
	Snapshot	snapshot;

	cart_load_latest(&cart);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	check_user_limits(&cart, user_id, now, snapshot);
	UnregisterSnapshot(snapshot);
}

PG_FUNCTION_INFO_V1(dvnt_transfer_ticket);

/* transfer_ticket(ticket_id, actor, to_user_id) → jsonb */
Datum
dvnt_transfer_ticket(PG_FUNCTION_ARGS)
{
	ChangedTicket ticket;
	char	   *actor = text_argument(fcinfo, 1, "actor");
	char	   *to_user_id = text_argument(fcinfo, 2, "to_user_id");
	TimestampTz now;
	Answer		detail;
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 0, "ticket_id");
	begin_command();
	read_ticket(fcinfo, &ticket);
	if (strcmp(to_user_id, ticket.user_id) == 0)
		refuse(ALREADY_DONE, ticket_figure(&ticket), NULL, "ticket %s is that user's already", uuid_text(&ticket.id));
	if (strcmp(actor, ticket.user_id) != 0)
		require_permission(ticket.event_id, actor, "admin");
	lock_two_users(ticket.user_id, to_user_id, ticket.event_id);
	now = engine_now();
	check_limit_of_new_owner(&ticket, to_user_id, now);
	lock_changed_ticket(&ticket);
	if (ticket.status == NULL || strcmp(ticket.status, "active") != 0)
		refuse(WRONG_STATE, ticket_figure(&ticket), "Only a ticket that is valid and has not been scanned can go to somebody else.",
			   "ticket %s cannot be transferred", uuid_text(&ticket.id));
	(void) replace_codes(&ticket, to_user_id, now);
	answer_begin(&detail);
	answer_text(&detail, "from", ticket.user_id);
	answer_text(&detail, "to", to_user_id);
	log_ticket_change(&ticket, "transferred", actor, &detail, now);
	/* never the new code: who gives the ticket away asks, and must not have it */
	begin_ticket_answer(&answer, &ticket, ticket.status);
	answer_text(&answer, "user_id", to_user_id);
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/*
 * What void_ticket, suspend_ticket and restore_ticket begin with. The order that
 * the ticket is of is locked, if order is not NULL and there is one. Nothing of
 * the event's stock changes shape until we have committed.
 */
static char *
begin_seat_change(FunctionCallInfo fcinfo, ChangedTicket *ticket, LockedOrder *order)
{
	char	   *actor = text_argument(fcinfo, 1, "actor");
	Datum		id;

	require_argument(fcinfo, 0, "ticket_id");
	begin_command();
	read_ticket(fcinfo, ticket);
	require_permission(ticket->event_id, actor, "admin");
	id = UUIDPGetDatum(&ticket->id);
	if (order != NULL && run_latest(&order_of_ticket, &id, NULL) > 0)
	{
		pg_uuid_t	order_id = *DatumGetUUIDP(row_datum(0, 1));

		lock_order(&order_id, order);
	}
	lock_shape_shared(ticket->event_id);
	return actor;
}

/* And what they end with. */
static Datum
end_seat_change(const ChangedTicket *ticket, const char *status)
{
	Answer		answer;
	Datum		result;

	begin_ticket_answer(&answer, ticket, status);
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	return result;
}

/* The ticket as what the functions for many take. */
static Datum
only_ticket(const ChangedTicket *ticket)
{
	Datum		id = UUIDPGetDatum(&ticket->id);

	return uuid_array(&id, 1);
}

PG_FUNCTION_INFO_V1(dvnt_void_ticket);

/* void_ticket(ticket_id, actor, reason) → jsonb */
Datum
dvnt_void_ticket(PG_FUNCTION_ARGS)
{
	ChangedTicket ticket;
	char	   *reason = text_argument(fcinfo, 2, "reason");
	char	   *actor = begin_seat_change(fcinfo, &ticket, NULL);

	if (!ticket.suspended)
		require_valid(&ticket);
	if (!try_end_tickets(ticket.event_id, only_ticket(&ticket), "void", "voided", actor, reason, engine_now()))
	{
		ticket.suspended = false;
		lock_changed_ticket(&ticket);
		refuse(WRONG_STATE, ticket_figure(&ticket), NULL, "ticket %s was changed meanwhile", uuid_text(&ticket.id));
	}
	PG_RETURN_DATUM(end_seat_change(&ticket, "void"));
}

PG_FUNCTION_INFO_V1(dvnt_suspend_ticket);

/* suspend_ticket(ticket_id, actor, reason) → jsonb */
Datum
dvnt_suspend_ticket(PG_FUNCTION_ARGS)
{
	ChangedTicket ticket;
	char	   *reason = text_argument(fcinfo, 2, "reason");
	char	   *actor = begin_seat_change(fcinfo, &ticket, NULL);

	if (ticket.suspended)
		refuse(ALREADY_DONE, ticket_figure(&ticket), NULL, "ticket %s is suspended", uuid_text(&ticket.id));
	lock_changed_ticket(&ticket);
	require_valid(&ticket);
	(void) suspend_tickets(ticket.event_id, only_ticket(&ticket), reason, actor, NULL, engine_now());
	PG_RETURN_DATUM(end_seat_change(&ticket, "suspended"));
}

/* The buyer keeps his ticket after a refund that failed: the organizer's part, if it was taken back for that, is due to him again. */
static void
find_part_kept(const ChangedTicket *ticket, TimestampTz now)
{
	Datum		id = UUIDPGetDatum(&ticket->id);
	Answer		detail;

	if (run_latest(&organizers_part, &id, NULL) == 0)
		return;
	answer_begin(&detail);
	answer_text(&detail, "refund_id", row_uuid_text(0, 1));
	answer_int(&detail, "amount_cents", DatumGetInt32(row_datum(0, 2)));
	record_finding("organizer_is_owed", psprintf("tickets/%s", uuid_text(&ticket->id)), answer_end(&detail), now);
}

PG_FUNCTION_INFO_V1(dvnt_restore_ticket);

/* restore_ticket(ticket_id, actor) → jsonb */
Datum
dvnt_restore_ticket(PG_FUNCTION_ARGS)
{
	ChangedTicket ticket;
	LockedOrder order = {0};
	char	   *actor = begin_seat_change(fcinfo, &ticket, &order);
	Datum		id = UUIDPGetDatum(&ticket.id);
	TimestampTz now = engine_now();

	if (!ticket.suspended)
		refuse(WRONG_STATE, ticket_figure(&ticket), NULL, "ticket %s is not suspended", uuid_text(&ticket.id));
	if (run_latest(&claimed_back, &id, NULL) > 0)
		refuse(WRONG_STATE, psprintf("%s, \"because\": \"%s\"", ticket_figure(&ticket), row_text(0, 1)),
			   "It becomes refunded or void, or valid again, when Stripe says how that ended.",
			   "the payment of ticket %s is being taken back", uuid_text(&ticket.id));
	if (ticket.status == NULL || strcmp(ticket.status, "void") != 0)
		refuse(WRONG_STATE, ticket_figure(&ticket), NULL, "ticket %s was changed since it was suspended", uuid_text(&ticket.id));
	restore_tickets(ticket.event_id, only_ticket(&ticket), actor, now);
	if (order.state == ORDER_REFUND_FAILED)
	{
		find_part_kept(&ticket, now);
		settle_refunds(&order, "restored", actor, NULL, now);
	}
	run_latest(&status_of_ticket, &id, NULL);
	PG_RETURN_DATUM(end_seat_change(&ticket, row_text(0, 1)));
}

/* Signs the tickets of a batch that could be locked; returns how many. */
static int
sign_tickets(uint64 rows, int wanted)
{
	pg_uuid_t  *ids = palloc(sizeof(pg_uuid_t) * (wanted + 1));
	int32	   *events = palloc(sizeof(int32) * (wanted + 1));
	int		   *suites = palloc(sizeof(int) * (wanted + 1));
	Datum	   *elements = palloc(sizeof(Datum) * (wanted + 1));
	Datum	   *payloads = palloc(sizeof(Datum) * (wanted + 1));
	Datum		values[2];
	int			count = 0;
	int			signed_count;

	for (uint64 row = 0; row < rows; row++)
	{
		if (!DatumGetBool(row_datum(row, 4)))
			continue;
		ids[count] = *DatumGetUUIDP(row_datum(row, 1));
		events[count] = DatumGetInt32(row_datum(row, 2));
		suites[count] = DatumGetInt16(row_datum(row, 3));
		elements[count] = UUIDPGetDatum(&ids[count]);
		count++;
	}
	values[0] = uuid_array(elements, count);
	signed_count = (int) run_latest(&lock_unsigned, values, NULL);
	for (int i = 0, k = 0; i < signed_count; i++, k++)
	{
		/* both are in the order of the ids */
		while (memcmp(ids[k].data, DatumGetUUIDP(row_datum(i, 1))->data, UUID_LEN) != 0)
			k++;
		elements[i] = UUIDPGetDatum(&ids[k]);
		payloads[i] = new_ticket_payload(&ids[k], events[k], suites[k]);
	}
	values[0] = uuid_array(elements, signed_count);
	values[1] = text_array(payloads, signed_count);
	if (signed_count > 0)
		run_latest(&write_payloads, values, NULL);
	return signed_count;
}

PG_FUNCTION_INFO_V1(dvnt_backfill_payloads);

/* backfill_payloads(max_rows, after) → written, skipped, next */
Datum
dvnt_backfill_payloads(PG_FUNCTION_ARGS)
{
	static const pg_uuid_t least = {{0}};
	TupleDesc	description;
	Datum		values[2];
	Datum		columns[3];
	bool		nulls[3] = {false};
	pg_uuid_t	last;
	int			wanted = 0;
	int			written = 0;
	uint64		rows;
	Datum		result;

	require_argument(fcinfo, 0, "max_rows");
	if (PG_GETARG_INT32(0) < 1)
		refuse(BAD_REQUEST, "\"argument\": \"max_rows\"", NULL, "max_rows is below 1");
	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	description = BlessTupleDesc(description);
	begin_command();
	require_ticket_keyring();
	values[0] = PG_ARGISNULL(1) ? UUIDPGetDatum(&least) : PG_GETARG_DATUM(1);
	values[1] = Int64GetDatum(PG_GETARG_INT32(0));
	rows = run_latest(&next_tickets, values, NULL);
	for (uint64 row = 0; row < rows; row++)
		wanted += DatumGetBool(row_datum(row, 4));
	if (rows > 0)
		last = *DatumGetUUIDP(row_datum(rows - 1, 1));
	declare_lock(RANK_PUBLIC);
	if (wanted > 0)
		written = sign_tickets(rows, wanted);
	columns[0] = Int32GetDatum(written);
	columns[1] = Int32GetDatum(wanted - written);
	columns[2] = UUIDPGetDatum(&last);
	nulls[2] = rows < PG_GETARG_INT32(0);
	result = SPI_datumTransfer(HeapTupleGetDatum(heap_form_tuple(description, columns, nulls)), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
