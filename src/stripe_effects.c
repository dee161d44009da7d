/*
 * stripe_effects.c
 *		What Stripe's answers and objects mean for the engine's tables.
 *
 * Writes public.stripe_customers, ticketing.stripe_handoff and the object ids
 * of orders; moves orders through orders.c. Locks: order, then what orders.c
 * takes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "dvnt_ticketing.h"

KEPT_PLAN(keep_customer,
		  "INSERT INTO public.stripe_customers (user_id, stripe_customer_id, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
		  TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(hand_off,
		  "INSERT INTO ticketing.stripe_handoff (request_id, user_id, order_id, client_secret, ephemeral_key, created_at) VALUES ($1, $2, $3, $4, $5, $6) "
		  "ON CONFLICT (request_id) DO UPDATE SET client_secret = excluded.client_secret, ephemeral_key = excluded.ephemeral_key, created_at = excluded.created_at",
		  UUIDOID, TEXTOID, UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(lock_order_of_object,
		  "SELECT order_id FROM ticketing.orders WHERE order_id = $1 FOR UPDATE", UUIDOID);
KEPT_PLAN(keep_payment_intent,
		  "UPDATE ticketing.orders SET payment_intent_id = $2, updated_at = $3 WHERE order_id = $1 AND payment_intent_id IS NULL",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(project_payment_intent,
		  "UPDATE public.orders SET stripe_payment_intent_id = $2, updated_at = $3 WHERE id = $1 AND stripe_payment_intent_id IS NULL",
		  UUIDOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(expected_payment,
		  "SELECT o.total_cents, o.currency, o.payee_account, i.livemode FROM ticketing.orders o, ticketing.installation i WHERE o.order_id = $1",
		  UUIDOID);

/* A needed string of an answer. */
static char *
answer_field(const StripeAnswer *call, const char *field)
{
	char	   *value = json_string_at(call->answer, JSON_PATH(field));

	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("Stripe's answer to %s has no \"%s\"", call->kind, field)));
	return value;
}

/* Puts a secret where await_stripe finds it. */
static void
keep_for_client(const StripeAnswer *call, const char *client_secret, const char *ephemeral_key)
{
	char		nulls[7] = "      ";
	Datum		values[6];

	values[0] = UUIDPGetDatum(call->request_id);
	values[1] = CStringGetTextDatum(call->user_id);
	values[2] = UUIDPGetDatum(call->order_id);
	nulls[2] = call->order_id ? ' ' : 'n';
	values[3] = text_or_null(client_secret, &nulls[3]);
	values[4] = text_or_null(ephemeral_key, &nulls[4]);
	values[5] = TimestampTzGetDatum(call->now);
	run_latest(&hand_off, values, nulls);
}

static void
lock_order(const pg_uuid_t *order_id)
{
	Datum		id = UUIDPGetDatum(order_id);

	declare_lock(RANK_ORDER);
	run_latest(&lock_order_of_object, &id, NULL);
}

static void
customer_created(const StripeAnswer *call)
{
	Datum		values[3] = {CStringGetTextDatum(call->user_id), CStringGetTextDatum(answer_field(call, "id")), TimestampTzGetDatum(call->now)};

	run_latest(&keep_customer, values, NULL);
}

static void
ephemeral_key_created(const StripeAnswer *call)
{
	keep_for_client(call, NULL, answer_field(call, "secret"));
}

/* Ties the PaymentIntent to its order, and hears what it says of itself and what was said of it before we knew it. */
static void
payment_intent_answered(const StripeAnswer *call)
{
	char	   *intent_id = answer_field(call, "id");
	Datum		values[3] = {UUIDPGetDatum(call->order_id), CStringGetTextDatum(intent_id), TimestampTzGetDatum(call->now)};
	char	   *client_secret;

	lock_order(call->order_id);
	run_latest(&keep_payment_intent, values, NULL);
	/* in an answer that is applied late there is no secret any more: the buyer asks again for it */
	if (payment_intent_says(call->order_id, call->answer, psprintf("request %s", uuid_text(call->request_id)), call->now) == ORDER_STAYED &&
		(client_secret = json_string_at(call->answer, JSON_PATH("client_secret"))) != NULL)
		keep_for_client(call, client_secret, NULL);
	apply_parked_events(intent_id, call->now);
	declare_lock(RANK_PUBLIC);
	run_latest(&project_payment_intent, values, NULL);
}

/* What the answers to each kind of request mean; NULL: nothing is to be done. */
static const struct
{
	const char *kind;
	void		(*done) (const StripeAnswer *call);
	void		(*failed) (const StripeAnswer *call);	/* it will never succeed */
}			kinds[] = {
	{"create_customer", customer_created, NULL},
	{"create_ephemeral_key", ephemeral_key_created, NULL},
	{"create_payment_intent", payment_intent_answered, NULL},
	{"get_payment_intent", payment_intent_answered, NULL},
	{"list_created", listing_answered, listing_failed},
};

/* Applies the answer of a finished request, or what its failure means. */
void
apply_stripe_answer(const StripeAnswer *call)
{
	for (size_t i = 0; i < lengthof(kinds); i++)
		if (strcmp(kinds[i].kind, call->kind) == 0)
		{
			void		(*effect) (const StripeAnswer *) = call->failed ? kinds[i].failed : kinds[i].done;

			if (effect != NULL)
				effect(call);
			return;
		}
	elog(ERROR, "no effect is known for a request of kind \"%s\"", call->kind);
}

/* Which figure of a paid PaymentIntent is not what the order asks for, or NULL. */
static const char *
payment_difference(const pg_uuid_t *order_id, Jsonb *intent)
{
	Datum		id = UUIDPGetDatum(order_id);
	int64		received = -1;
	bool		livemode = false;
	char	   *currency = json_string_at(intent, JSON_PATH("currency"));
	char	   *destination = json_string_at(intent, JSON_PATH("transfer_data", "destination"));
	char	   *payee;

	if (run_latest(&expected_payment, &id, NULL) == 0)
		return "installation";
	if (!json_int_at(intent, JSON_PATH("amount_received"), &received) || received != DatumGetInt32(row_datum(0, 1)))
		return "amount_received";
	if (currency == NULL || strcmp(currency, row_text(0, 2)) != 0)
		return "currency";
	payee = row_text(0, 3);
	if (destination == NULL || payee == NULL || strcmp(destination, payee) != 0)
		return "transfer_data.destination";
	if (!json_bool_at(intent, JSON_PATH("livemode"), &livemode) || livemode != DatumGetBool(row_datum(0, 4)))
		return "livemode";
	return NULL;
}

/* What a PaymentIntent's own state means for its order. */
OrderOutcome
payment_intent_says(const pg_uuid_t *order_id, Jsonb *intent, const char *source, TimestampTz now)
{
	char	   *status = json_string_at(intent, JSON_PATH("status"));
	const char *difference;
	Answer		detail;
	int64		received;

	lock_order(order_id);
	if (status == NULL || strcmp(status, "succeeded") != 0)
		return ORDER_STAYED;
	difference = payment_difference(order_id, intent);
	answer_begin(&detail);
	answer_text(&detail, "payment_intent", json_string_at(intent, JSON_PATH("id")));
	if (json_int_at(intent, JSON_PATH("amount_received"), &received))
		answer_int(&detail, "amount_received", received);
	if (difference != NULL)
		answer_text(&detail, "differs", difference);
	return order_apply(order_id, difference ? ORDER_EVENT_DIFFERS : ORDER_EVENT_SUCCEEDED, source, answer_end(&detail), now);
}
