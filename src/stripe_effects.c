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
answer_field(Jsonb *answer, const char *kind, const char *field)
{
	char	   *value = json_string_at(answer, JSON_PATH(field));

	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("Stripe's answer to %s has no \"%s\"", kind, field)));
	return value;
}

/* Puts a secret where await_stripe finds it. */
static void
keep_for_client(const pg_uuid_t *request_id, const char *user_id, const pg_uuid_t *order_id,
				const char *client_secret, const char *ephemeral_key, TimestampTz now)
{
	char		nulls[7] = "      ";
	Datum		values[6];

	values[0] = UUIDPGetDatum(request_id);
	values[1] = CStringGetTextDatum(user_id);
	values[2] = UUIDPGetDatum(order_id);
	nulls[2] = order_id ? ' ' : 'n';
	values[3] = client_secret ? CStringGetTextDatum(client_secret) : (Datum) 0;
	nulls[3] = client_secret ? ' ' : 'n';
	values[4] = ephemeral_key ? CStringGetTextDatum(ephemeral_key) : (Datum) 0;
	nulls[4] = ephemeral_key ? ' ' : 'n';
	values[5] = TimestampTzGetDatum(now);
	run_latest(&hand_off, values, nulls);
}

static void
lock_order(const pg_uuid_t *order_id)
{
	Datum		id = UUIDPGetDatum(order_id);

	declare_lock(RANK_ORDER);
	run_latest(&lock_order_of_object, &id, NULL);
}

/* Ties the PaymentIntent to its order, and hears what it says of itself and what was said of it before we knew it. */
static void
apply_intent(const pg_uuid_t *request_id, const pg_uuid_t *order_id, const char *user_id, const char *intent_id,
			 Jsonb *intent, TimestampTz now)
{
	Datum		values[3] = {UUIDPGetDatum(order_id), CStringGetTextDatum(intent_id), TimestampTzGetDatum(now)};
	char	   *client_secret;

	lock_order(order_id);
	run_latest(&keep_payment_intent, values, NULL);
	/* in an answer that is applied late there is no secret any more: the buyer asks again for it */
	if (payment_intent_says(order_id, intent, psprintf("request %s", uuid_text(request_id)), now) == ORDER_STAYED &&
		(client_secret = json_string_at(intent, JSON_PATH("client_secret"))) != NULL)
		keep_for_client(request_id, user_id, order_id, client_secret, NULL, now);
	apply_parked_events(intent_id, now);
	declare_lock(RANK_PUBLIC);
	run_latest(&project_payment_intent, values, NULL);
}

/* Applies the answer of a finished request. */
void
apply_stripe_answer(const char *kind, const pg_uuid_t *request_id, const char *order_text,
					const char *user_id, Jsonb *answer, TimestampTz now)
{
	pg_uuid_t	order_id;
	Datum		values[3];

	if (order_text != NULL && !uuid_from_text(order_text, strlen(order_text), &order_id))
		elog(ERROR, "\"%s\" is not a uuid", order_text);

	if (strcmp(kind, "create_customer") == 0)
	{
		values[0] = CStringGetTextDatum(user_id);
		values[1] = CStringGetTextDatum(answer_field(answer, kind, "id"));
		values[2] = TimestampTzGetDatum(now);
		run_latest(&keep_customer, values, NULL);
	}
	else if (strcmp(kind, "create_ephemeral_key") == 0)
		keep_for_client(request_id, user_id, &order_id, NULL, answer_field(answer, kind, "secret"), now);
	else if (strcmp(kind, "create_payment_intent") == 0 || strcmp(kind, "get_payment_intent") == 0)
		apply_intent(request_id, &order_id, user_id, answer_field(answer, kind, "id"), answer, now);
	else
		elog(ERROR, "no effect is known for a request of kind \"%s\"", kind);
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
