/*
 * stripe_events.c
 *		Webhooks: a genuine event is recorded once, in the transaction that
 *		applies it; what cannot be applied yet is parked, never lost.
 *
 * Reads and writes ticketing.stripe_inbox, writes public.stripe_events and
 * ticketing.findings, reads ticketing.installation, orders and order_payments
 * and public.orders; asks Stripe through payments.c, refunds.c, disputes.c,
 * payouts.c and onboarding.c. Locks: the event's inbox row, then the user, the
 * order and what follows it.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"
#include "stripe_signature.h"
#include "webhook_payload.h"

#define WEBHOOK_MAX_BYTES (1024 * 1024)

KEPT_PLAN(record_event,
		  "INSERT INTO ticketing.stripe_inbox (stripe_event_id, type, object_id, account, livemode, api_version, payload, raw_payload, state, reason, received_at) "
		  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'parked', 'received', $9) ON CONFLICT DO NOTHING",
		  TEXTOID, TEXTOID, TEXTOID, TEXTOID, BOOLOID, TEXTOID, TEXTOID, BYTEAOID, TIMESTAMPTZOID);
KEPT_PLAN(lock_event_row,
		  "SELECT state FROM ticketing.stripe_inbox WHERE stripe_event_id = $1 FOR UPDATE", TEXTOID);
KEPT_PLAN(settle_event,
		  "UPDATE ticketing.stripe_inbox SET state = $2, reason = $3, order_id = $4, settled_at = CASE WHEN $2 <> 'parked' THEN $5 END WHERE stripe_event_id = $1",
		  TEXTOID, TEXTOID, TEXTOID, UUIDOID, TIMESTAMPTZOID);
KEPT_PLAN(keep_reason,
		  "UPDATE ticketing.stripe_inbox SET reason = $2 WHERE stripe_event_id = $1", TEXTOID, TEXTOID);
KEPT_PLAN(show_event,
		  "INSERT INTO public.stripe_events (event_id, event_type, processed_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
		  TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(read_livemode, "SELECT livemode FROM ticketing.installation");
KEPT_PLAN(order_of_before,
		  "SELECT FROM public.orders WHERE stripe_payment_intent_id = $1 LIMIT 1", TEXTOID);
KEPT_PLAN(parked_of_object,
		  "SELECT stripe_event_id, payload FROM ticketing.stripe_inbox WHERE object_id = $1 AND state = 'parked' AND payload IS NOT NULL "
		  "ORDER BY received_at FOR UPDATE SKIP LOCKED",
		  TEXTOID);
KEPT_PLAN(settleable_objects,
		  "SELECT DISTINCT i.object_id FROM ticketing.stripe_inbox i WHERE i.state = 'parked' AND i.object_id IS NOT NULL "
		  "AND EXISTS (SELECT FROM ticketing.order_payments p WHERE p.object_id = i.object_id OR p.payment_intent_id = i.object_id) "
		  "AND EXISTS (SELECT FROM ticketing.installation) LIMIT $1",
		  INT4OID);

/* Objects that say they are an order's, and that no request of ours has brought: Stripe is asked, once. */
KEPT_PLAN(claimed_objects,
		  "WITH claimed AS ("
		  "  SELECT i.stripe_event_id, i.object_id, o.order_id FROM ticketing.stripe_inbox i "
		  "  JOIN ticketing.orders o ON o.order_id = CASE WHEN (i.payload::jsonb #>> '{data,object,metadata,order_id}') ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' "
		  "                                               THEN (i.payload::jsonb #>> '{data,object,metadata,order_id}')::uuid END "
		  "  WHERE i.state = 'parked' AND i.reason = 'unknown_object' AND i.received_at < $1 - interval '1 minute' AND i.object_id ~ '^(pi|cs)_' "
		  "  LIMIT $2 FOR UPDATE OF i SKIP LOCKED), "
		  "asked AS (UPDATE ticketing.stripe_inbox i SET reason = 'asked' FROM claimed c WHERE i.stripe_event_id = c.stripe_event_id) "
		  "SELECT DISTINCT object_id, order_id FROM claimed",
		  TIMESTAMPTZOID, INT4OID);
KEPT_PLAN(find_forgotten,
		  "INSERT INTO ticketing.findings (kind, entity, detail, found_at) "
		  "SELECT 'event_unsettled', 'stripe_inbox/' || stripe_event_id, jsonb_build_object('type', type, 'object_id', object_id, 'reason', reason), $1 "
		  "FROM ticketing.stripe_inbox WHERE state = 'parked' AND received_at < $1 - interval '24 hours' "
		  "ON CONFLICT (kind, entity) WHERE resolved_at IS NULL DO NOTHING",
		  TIMESTAMPTZOID);

/* An event as far as we read it. */
typedef struct StripeEvent
{
	char	   *id;
	char	   *type;
	char	   *account;
	char	   *api_version;
	bool		has_livemode;
	bool		livemode;
	Jsonb	   *object;			/* what it is about; NULL if there is none */
	char	   *object_id;
	char	   *found_by;		/* the object by which its order is found: of a refund or dispute its payment, else itself */
} StripeEvent;

/* What became of an event. */
typedef struct Settlement
{
	const char *state;			/* applied, ignored, parked */
	const char *reason;			/* NULL when applied */
	bool		has_order;
	pg_uuid_t	order_id;
} Settlement;

/* Reads the members of an event that we need; false when it is not an event. */
static bool
read_event(Jsonb *json, StripeEvent *event)
{
	memset(event, 0, sizeof(StripeEvent));
	event->id = json_string_at(json, JSON_PATH("id"));
	event->type = json_string_at(json, JSON_PATH("type"));
	event->account = json_string_at(json, JSON_PATH("account"));
	event->api_version = json_string_at(json, JSON_PATH("api_version"));
	event->has_livemode = json_bool_at(json, JSON_PATH("livemode"), &event->livemode);
	event->object = json_object_at(json, JSON_PATH("data", "object"));
	event->object_id = json_string_at(json, JSON_PATH("data", "object", "id"));
	event->found_by = event->object_id;
	if (event->type != NULL && (strncmp(event->type, "charge.", strlen("charge.")) == 0 || strncmp(event->type, "refund.", strlen("refund.")) == 0))
		event->found_by = json_string_at(json, JSON_PATH("data", "object", "payment_intent"));
	return event->id != NULL;
}

static Settlement
ignored(const char *reason)
{
	return (Settlement) {.state = "ignored", .reason = reason};
}

static Settlement
parked(const char *reason)
{
	return (Settlement) {.state = "parked", .reason = reason};
}

/* What became of an event about an order. */
static Settlement
settled(const pg_uuid_t *order_id, OrderOutcome outcome)
{
	Settlement	settlement = outcome == ORDER_STAYED ? ignored("no_transition") : (Settlement) {.state = "applied"};

	settlement.has_order = true;
	settlement.order_id = *order_id;
	return settlement;
}

/* An object that no order of ours was offered: of one from before us, or of one whose request is under way. */
static Settlement
unknown_payment(const StripeEvent *event)
{
	Datum		object_id = CStringGetTextDatum(event->found_by);

	return run_latest(&order_of_before, &object_id, NULL) > 0 ? ignored("before_us") : parked("unknown_object");
}

/* For events about a PaymentIntent or Checkout Session: finds the order and lets it hear. */
static Settlement
about_payment(const StripeEvent *event, OrderOutcome (*says) (const pg_uuid_t *, Jsonb *, const char *, TimestampTz), TimestampTz now)
{
	pg_uuid_t	order_id;

	if (!order_of_payment(event->object_id, &order_id))
		return unknown_payment(event);
	if (event->api_version != NULL && strcmp(event->api_version, stripe_api_version) != 0)
	{
		/* its fields may mean something else: the object is asked for in the version that we read */
		fetch_payment(event->object_id, &order_id, STRIPE_LANE_URGENT, now);
		return (Settlement) {.state = "applied", .reason = "fetched", .has_order = true, .order_id = order_id};
	}
	return settled(&order_id, says(&order_id, event->object, event->id, now));
}

static Settlement
payment_event(const StripeEvent *event, TimestampTz now)
{
	return about_payment(event, payment_says, now);
}

/* It may be old news, after a failure that came before it: the object itself is asked, too. */
static Settlement
processing_event(const StripeEvent *event, TimestampTz now)
{
	Settlement	settlement = about_payment(event, payment_says, now);

	if (strcmp(settlement.state, "applied") == 0 && settlement.reason == NULL)
		fetch_payment(event->object_id, &settlement.order_id, STRIPE_LANE_URGENT, now);
	return settlement;
}

static Settlement
declined_event(const StripeEvent *event, TimestampTz now)
{
	return about_payment(event, payment_failed, now);
}

static Settlement
session_failed_event(const StripeEvent *event, TimestampTz now)
{
	return about_payment(event, session_failed, now);
}

/* Refunds are asked how they stand: their events may come in any order. */
static Settlement
refund_event(const StripeEvent *event, TimestampTz now)
{
	Settlement	settlement = {.state = "applied", .reason = "fetched", .has_order = true};
	bool		is_charge = strcmp(event->type, "charge.refunded") == 0;

	if (event->found_by == NULL)
		return ignored("not_ours");
	if (!is_stripe_id(event->object_id))
		return ignored("no_object");
	if (!hear_refund_event(event->object, is_charge, event->found_by, &settlement.order_id, now))
		return unknown_payment(event);
	return settlement;
}

/* A dispute is asked how it stands, as refunds are. An old version's event does not say which payment it is about: the answer will. */
static Settlement
dispute_event(const StripeEvent *event, TimestampTz now)
{
	Settlement	settlement = {.state = "applied", .reason = "fetched"};

	if (!is_stripe_id(event->object_id))
		return ignored("no_object");
	if (event->found_by != NULL)
	{
		settlement.has_order = order_of_payment(event->found_by, &settlement.order_id);
		if (!settlement.has_order)
			return unknown_payment(event);
	}
	else if (event->api_version == NULL || strcmp(event->api_version, stripe_api_version) == 0)
		return ignored("not_ours");
	fetch_dispute(event->object_id, settlement.has_order ? &settlement.order_id : NULL, STRIPE_LANE_URGENT, now);
	return settlement;
}

/* So is what an organizer is paid out. */
static Settlement
payout_event(const StripeEvent *event, TimestampTz now)
{
	if (!is_stripe_id(event->object_id))
		return ignored("no_object");
	fetch_payout(event->object_id, event->account, now);
	return (Settlement) {.state = "applied", .reason = "fetched"};
}

/* And his account. */
static Settlement
account_event(const StripeEvent *event, TimestampTz now)
{
	fetch_account(event->account, now);
	return (Settlement) {.state = "applied", .reason = "fetched"};
}

/* The organizer does not let us see or pay his account any more. */
static Settlement
deauthorized_event(const StripeEvent *event, TimestampTz now)
{
	payee_left(event->account, now);
	return (Settlement) {.state = "applied"};
}

/* Whose events count: the platform's own, or those of an organizer's account. */
typedef enum EventSide
{
	OF_PLATFORM,
	OF_ORGANIZER
} EventSide;

/* The types of events that mean something to us. */
static const struct
{
	const char *type;
	Settlement	(*apply) (const StripeEvent *event, TimestampTz now);
	EventSide	side;
}			types[] = {
	{"payment_intent.processing", processing_event},
	{"payment_intent.requires_action", payment_event},
	{"payment_intent.payment_failed", declined_event},
	{"payment_intent.succeeded", payment_event},
	{"payment_intent.canceled", payment_event},
	{"checkout.session.completed", payment_event},
	{"checkout.session.async_payment_succeeded", payment_event},
	{"checkout.session.async_payment_failed", session_failed_event},
	{"checkout.session.expired", payment_event},
	{"charge.refunded", refund_event},
	{"refund.created", refund_event},
	{"refund.updated", refund_event},
	{"refund.failed", refund_event},
	{"charge.dispute.created", dispute_event},
	{"charge.dispute.updated", dispute_event},
	{"charge.dispute.funds_withdrawn", dispute_event},
	{"charge.dispute.funds_reinstated", dispute_event},
	{"charge.dispute.closed", dispute_event},
	{"account.updated", account_event, OF_ORGANIZER},
	{"account.application.deauthorized", deauthorized_event, OF_ORGANIZER},
	{"payout.created", payout_event, OF_ORGANIZER},
	{"payout.updated", payout_event, OF_ORGANIZER},
	{"payout.paid", payout_event, OF_ORGANIZER},
	{"payout.failed", payout_event, OF_ORGANIZER},
	{"payout.canceled", payout_event, OF_ORGANIZER},
};

/* Whether an event comes from where its type counts: a connected account's own charges could else pay our orders. */
static bool
is_from(const StripeEvent *event, EventSide side)
{
	if (side == OF_PLATFORM)
		return event->account == NULL;
	return event->account != NULL && is_stripe_id(event->account) && host_of_account(event->account) != NULL;
}

/* Applies an event to its order, or says why not. */
static Settlement
apply_event(const StripeEvent *event, TimestampTz now)
{
	Settlement	(*apply) (const StripeEvent *, TimestampTz) = NULL;
	EventSide	side = OF_PLATFORM;

	if (run_latest(&read_livemode, NULL, NULL) == 0)
		return parked("no_installation");
	if (!event->has_livemode || event->livemode != DatumGetBool(row_datum(0, 1)))
		return ignored("livemode");
	for (size_t i = 0; i < lengthof(types) && event->type != NULL; i++)
		if (strcmp(types[i].type, event->type) == 0)
		{
			apply = types[i].apply;
			side = types[i].side;
		}
	if (apply == NULL)
		return ignored("type");
	if (!is_from(event, side))
		return ignored("account");
	if (event->object_id == NULL)
		return ignored("no_object");
	return apply(event, now);
}

/* Applies an event whose inbox row is locked and records what became of it. */
static Settlement
settle(const StripeEvent *event, TimestampTz now)
{
	Settlement	settlement = apply_event(event, now);
	char		nulls[6] = "     ";
	Datum		values[5];
	Datum		shown[3];

	values[0] = CStringGetTextDatum(event->id);
	values[1] = CStringGetTextDatum(settlement.state);
	values[2] = text_or_null(settlement.reason, &nulls[2]);
	nulls[3] = settlement.has_order ? ' ' : 'n';
	values[3] = UUIDPGetDatum(&settlement.order_id);
	values[4] = TimestampTzGetDatum(now);
	run_latest(&settle_event, values, nulls);
	if (strcmp(settlement.state, "parked") != 0)
	{
		/* for the readers of the application's own list; another handler may have written it first */
		shown[0] = values[0];
		shown[1] = CStringGetTextDatum(event->type ? event->type : "unknown");
		shown[2] = values[4];
		run_latest(&show_event, shown, NULL);
	}
	return settlement;
}

/* An event that was parked. */
typedef struct ParkedEvent
{
	char	   *id;
	char	   *payload;
	TimestampTz now;
} ParkedEvent;

/* For try_step. */
static void
settle_parked(void *argument)
{
	const ParkedEvent *parked = argument;
	StripeEvent event;

	if (read_event(DatumGetJsonbP(jsonb_from_text(parked->payload)), &event))
		(void) settle(&event, parked->now);
}

/* Settles what was parked about an object that has become known. An event that fails stays parked, with the reason. */
void
apply_parked_events(const char *object_id, TimestampTz now)
{
	Datum		id = CStringGetTextDatum(object_id);
	uint64		rows = run_latest(&parked_of_object, &id, NULL);
	ParkedEvent *parked = palloc(sizeof(ParkedEvent) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
		parked[row] = (ParkedEvent) {row_text(row, 1), row_text(row, 2), now};
	for (uint64 row = 0; row < rows; row++)
	{
		char	   *failure = try_step(settle_parked, &parked[row]);
		Datum		values[2] = {CStringGetTextDatum(parked[row].id), (Datum) 0};

		if (failure == NULL)
			continue;
		values[1] = CStringGetTextDatum(failure);
		run_latest(&keep_reason, values, NULL);
	}
}

/* Metadata proposes an order; what Stripe says of the object confirms it. */
static void
ask_about_claimed_objects(int max_objects, TimestampTz now)
{
	Datum		values[2] = {TimestampTzGetDatum(now), Int32GetDatum(max_objects)};
	uint64		rows = run_latest(&claimed_objects, values, NULL);
	char	  **objects = palloc(sizeof(char *) * (rows + 1));
	pg_uuid_t  *orders = palloc(sizeof(pg_uuid_t) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
	{
		objects[row] = row_text(row, 1);
		orders[row] = *DatumGetUUIDP(row_datum(row, 2));
	}
	for (uint64 row = 0; row < rows; row++)
		fetch_payment(objects[row], &orders[row], STRIPE_LANE_URGENT, now);
}

/* Settles parked events whose objects are known by now; returns how many objects. */
int
sweep_parked_events(int max_objects, TimestampTz now)
{
	Datum		limit = Int32GetDatum(max_objects);
	uint64		rows = run_latest(&settleable_objects, &limit, NULL);
	char	  **objects = palloc(sizeof(char *) * (rows + 1));
	Datum		values[1];

	for (uint64 row = 0; row < rows; row++)
		objects[row] = row_text(row, 1);
	for (uint64 row = 0; row < rows; row++)
		apply_parked_events(objects[row], now);
	ask_about_claimed_objects(max_objects, now);
	values[0] = TimestampTzGetDatum(now);
	run_latest(&find_forgotten, values, NULL);
	return (int) rows;
}

/* Refuses what Stripe has not signed, over the bytes as they came. */
static void
check_signature(bytea *payload, text *signature, TimestampTz now)
{
	StripeSignatureResult result =
		stripe_signature_verify(webhook_secrets(), VARDATA_ANY(signature), VARSIZE_ANY_EXHDR(signature),
								VARDATA_ANY(payload), VARSIZE_ANY_EXHDR(payload), unix_seconds(now));

	if (result == STRIPE_SIGNATURE_OK)
		return;
	if (result == STRIPE_SIGNATURE_NOT_CONFIGURED)
		refuse(NOT_CONFIGURED, NULL,
			   "Set STRIPE_WEBHOOK_SECRET in the environment of the PostgreSQL server and restart it.",
			   "no webhook secret is configured");
	if (result == STRIPE_SIGNATURE_FAILED)
		elog(ERROR, "could not verify a webhook's signature");
	refuse(BAD_SIGNATURE, psprintf("\"signature\": \"%s\"", stripe_signature_result_name(result)),
		   "Pass the request's body byte for byte, and its Stripe-Signature header; check the endpoint's secret and the clock.",
		   "webhook signature is not valid: %s", stripe_signature_result_name(result));
}

/* Writes the event into the inbox; false when it was there already. */
static bool
record_received(const StripeEvent *event, bool is_text, bytea *payload, TimestampTz now)
{
	char	   *bytes = pnstrdup(VARDATA_ANY(payload), VARSIZE_ANY_EXHDR(payload));
	char		nulls[10] = "         ";
	Datum		values[9];

	values[0] = CStringGetTextDatum(event->id);
	values[1] = text_or_null(event->type, &nulls[1]);
	values[2] = text_or_null(event->found_by, &nulls[2]);
	values[3] = text_or_null(event->account, &nulls[3]);
	nulls[4] = event->has_livemode ? ' ' : 'n';
	values[4] = BoolGetDatum(event->livemode);
	values[5] = text_or_null(event->api_version, &nulls[5]);
	nulls[6] = is_text ? ' ' : 'n';
	nulls[7] = is_text ? 'n' : ' ';
	if (is_text)
	{
		strike_client_secrets(bytes, strlen(bytes));
		values[6] = CStringGetTextDatum(bytes);
	}
	else
	{
		bytea	   *struck = (bytea *) palloc(VARHDRSZ + VARSIZE_ANY_EXHDR(payload));

		SET_VARSIZE(struck, VARHDRSZ + VARSIZE_ANY_EXHDR(payload));
		memcpy(VARDATA(struck), VARDATA_ANY(payload), VARSIZE_ANY_EXHDR(payload));
		strike_client_secrets(VARDATA(struck), VARSIZE(struck) - VARHDRSZ);
		values[7] = PointerGetDatum(struck);
	}
	values[8] = TimestampTzGetDatum(now);
	return run_latest(&record_event, values, nulls) == 1;
}

static Datum
webhook_answer(const char *outcome, const StripeEvent *event, const Settlement *settlement)
{
	Answer		answer;

	answer_begin(&answer);
	answer_text(&answer, "outcome", outcome);
	answer_text(&answer, "event_id", event->id);
	answer_text(&answer, "type", event->type);
	if (settlement != NULL && settlement->reason != NULL)
		answer_text(&answer, "reason", settlement->reason);
	if (settlement != NULL && settlement->has_order)
		answer_uuid(&answer, "order_id", &settlement->order_id);
	return answer_jsonb(&answer);
}

/* Records and settles a genuine event. */
static Datum
receive_event(bytea *payload, TimestampTz now)
{
	Jsonb	   *json = parse_json_quietly(VARDATA_ANY(payload), VARSIZE_ANY_EXHDR(payload));
	StripeEvent event;
	Settlement	settlement = {.state = "parked", .reason = "not_json"};
	Datum		id;

	if (json == NULL || !read_event(json, &event))
	{
		memset(&event, 0, sizeof(event));
		event.id = psprintf("sha256:%s", sha256_hex(VARDATA_ANY(payload), VARSIZE_ANY_EXHDR(payload)));
		if (json != NULL)
			settlement.reason = "not_an_event";
		if (!record_received(&event, json != NULL, payload, now))
			return webhook_answer("duplicate", &event, NULL);
		return webhook_answer("parked", &event, &settlement);
	}
	if (!record_received(&event, true, payload, now))
	{
		/* known; if it was parked, this delivery is a good moment to try again */
		id = CStringGetTextDatum(event.id);
		declare_lock(RANK_REQUEST);
		if (run_latest(&lock_event_row, &id, NULL) == 0 || strcmp(row_text(0, 1), "parked") != 0)
			return webhook_answer("duplicate", &event, NULL);
	}
	settlement = settle(&event, now);
	return webhook_answer(settlement.state, &event, &settlement);
}

/* The types of events that mean something to us, by number, and whether they are a connected account's; NULL after the last one. */
const char *
event_type(int number, bool *connected)
{
	if (number >= lengthof(types))
		return NULL;
	*connected = types[number].side == OF_ORGANIZER;
	return types[number].type;
}

/* For try_step. */
typedef struct ListedEvent
{
	const StripeEvent *event;
	TimestampTz now;
} ListedEvent;

static void
settle_listed(void *argument)
{
	const ListedEvent *listed = argument;

	(void) settle(listed->event, listed->now);
}

/*
 * Records and settles an event that Stripe has listed, as if it had been
 * delivered: nothing happens if it was. One that fails is parked, with the
 * reason. account: whose events were listed; NULL: the platform's.
 */
void
hear_listed_event(Jsonb *json, const char *account, TimestampTz now)
{
	char	   *text = JsonbToCString(NULL, &json->root, VARSIZE(json));
	StripeEvent event;
	ListedEvent listed = {&event, now};
	char	   *failure;
	Datum		values[2];

	if (!read_event(json, &event))
		return;
	if (account != NULL && event.account == NULL)
		text = psprintf("{\"account\": \"%s\", %s", account, text + 1);
	if (account != NULL)
		event.account = pstrdup(account);
	values[0] = CStringGetTextDatum(event.id);
	declare_lock(RANK_REQUEST);
	if (!record_received(&event, true, (bytea *) cstring_to_text(text), now) &&
		(run_latest(&lock_event_row, values, NULL) == 0 || strcmp(row_text(0, 1), "parked") != 0))
		return;
	failure = try_step(settle_listed, &listed);
	if (failure == NULL)
		return;
	values[1] = CStringGetTextDatum(failure);
	run_latest(&keep_reason, values, NULL);
}

PG_FUNCTION_INFO_V1(dvnt_stripe_webhook);

/* stripe_webhook(payload, signature) → jsonb */
Datum
dvnt_stripe_webhook(PG_FUNCTION_ARGS)
{
	TimestampTz now = engine_now();
	bytea	   *payload;
	Datum		result;

	require_argument(fcinfo, 0, "payload");
	require_argument(fcinfo, 1, "signature");
	payload = PG_GETARG_BYTEA_PP(0);
	if (VARSIZE_ANY_EXHDR(payload) > WEBHOOK_MAX_BYTES)
		refuse(BAD_REQUEST, psprintf("\"limit\": %d", WEBHOOK_MAX_BYTES), NULL, "payload is longer than %d bytes", WEBHOOK_MAX_BYTES);
	check_signature(payload, PG_GETARG_TEXT_PP(1), now);
	begin_command();
	result = SPI_datumTransfer(receive_event(payload, now), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
