/*
 * stripe_effects.c
 *		What Stripe's answers mean, by the kind of request; what they mean for
 *		payments and refunds is payments.c's and refunds.c's.
 *
 * Writes public.stripe_customers and ticketing.stripe_handoff.
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
		  "INSERT INTO ticketing.stripe_handoff (request_id, user_id, order_id, client_secret, ephemeral_key, created_at, url) VALUES ($1, $2, $3, $4, $5, $6, $7) "
		  "ON CONFLICT (request_id) DO UPDATE SET client_secret = excluded.client_secret, ephemeral_key = excluded.ephemeral_key, url = excluded.url, created_at = excluded.created_at",
		  UUIDOID, TEXTOID, UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TEXTOID);
/* A needed string of an answer. */
char *
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
void
keep_for_client(const StripeAnswer *call, const char *client_secret, const char *ephemeral_key, const char *url)
{
	char		nulls[8] = "       ";
	Datum		values[7];

	values[0] = UUIDPGetDatum(call->request_id);
	values[1] = CStringGetTextDatum(call->user_id);
	values[2] = UUIDPGetDatum(call->order_id);
	nulls[2] = call->order_id ? ' ' : 'n';
	values[3] = text_or_null(client_secret, &nulls[3]);
	values[4] = text_or_null(ephemeral_key, &nulls[4]);
	values[5] = TimestampTzGetDatum(call->now);
	values[6] = text_or_null(url, &nulls[6]);
	run_latest(&hand_off, values, nulls);
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
	keep_for_client(call, NULL, answer_field(call, "secret"), NULL);
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
	{"create_payment_intent", payment_intent_answered, payment_creation_failed},
	{"get_payment_intent", payment_intent_answered, payment_fetch_failed},
	{"cancel_payment_intent", payment_intent_answered, payment_cancel_failed},
	{"create_checkout_session", checkout_session_answered, payment_creation_failed},
	{"get_checkout_session", checkout_session_answered, payment_fetch_failed},
	{"expire_checkout_session", checkout_session_answered, payment_cancel_failed},
	{"create_refund", refund_answered, refund_creation_failed},
	{"get_refund", refund_answered, NULL},
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
