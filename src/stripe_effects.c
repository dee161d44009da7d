/*
 * stripe_effects.c
 *		What Stripe's answers mean, by the kind of request; what they mean for
 *		payments and refunds is payments.c's and refunds.c's.
 *
 * Writes ticketing.stripe_handoff.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "dvnt_ticketing.h"

KEPT_PLAN(hand_off,
		  "INSERT INTO ticketing.stripe_handoff (request_id, user_id, order_id, client_secret, ephemeral_key, payment_methods, url, url_expires_at, created_at) "
		  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) "
		  "ON CONFLICT (request_id) DO UPDATE SET client_secret = excluded.client_secret, ephemeral_key = excluded.ephemeral_key, "
		  "  payment_methods = excluded.payment_methods, url = excluded.url, url_expires_at = excluded.url_expires_at, created_at = excluded.created_at",
		  UUIDOID, TEXTOID, UUIDOID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID);

KEPT_PLAN(delete_old_handoffs,
		  "DELETE FROM ticketing.stripe_handoff WHERE request_id = ANY (ARRAY(SELECT request_id FROM ticketing.stripe_handoff WHERE created_at < $1 - interval '14 minutes' "
		  "  ORDER BY created_at LIMIT 1000 FOR UPDATE SKIP LOCKED))",
		  TIMESTAMPTZOID);

/*
 * Deletes up to a thousand things that were handed out, or not asked for, for 14
 * minutes; how many. The relay's claims do it, and a job that runs each minute:
 * so none is ever older than 15.
 */
uint64
forget_handoffs(TimestampTz now)
{
	Datum		value = TimestampTzGetDatum(now);

	return run_latest(&delete_old_handoffs, &value, NULL);
}

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

/* Puts what the client is handed where await_stripe finds it. */
void
keep_for_client(const StripeAnswer *call, const Handoff *handoff)
{
	char		nulls[10] = "         ";
	Datum		values[9];

	values[0] = UUIDPGetDatum(call->request_id);
	values[1] = CStringGetTextDatum(call->user_id);
	values[2] = UUIDPGetDatum(call->order_id);
	nulls[2] = call->order_id ? ' ' : 'n';
	values[3] = text_or_null(handoff->client_secret, &nulls[3]);
	values[4] = text_or_null(handoff->ephemeral_key, &nulls[4]);
	nulls[5] = handoff->payment_methods ? ' ' : 'n';
	values[5] = handoff->payment_methods ? jsonb_from_text(handoff->payment_methods) : (Datum) 0;
	values[6] = text_or_null(handoff->url, &nulls[6]);
	nulls[7] = handoff->url ? ' ' : 'n';
	values[7] = TimestampTzGetDatum(handoff->url_expires_at);
	values[8] = TimestampTzGetDatum(call->now);
	run_latest(&hand_off, values, nulls);
}

/* What the answers to each kind of request mean; NULL: nothing is to be done. */
static const struct
{
	const char *kind;
	void		(*done) (const StripeAnswer *call);
	void		(*failed) (const StripeAnswer *call);	/* it will never succeed */
	bool		together;		/* done locks nothing that another's may hold: several are stored in one transaction */
}			kinds[] = {
	{"create_customer", customer_created, NULL, true},
	{"create_ephemeral_key", ephemeral_key_created, NULL, true},
	{"create_payment_intent", payment_intent_answered, payment_creation_failed, false},
	{"get_payment_intent", payment_intent_answered, payment_fetch_failed, false},
	{"cancel_payment_intent", payment_intent_answered, payment_cancel_failed, false},
	{"create_checkout_session", checkout_session_answered, payment_creation_failed, false},
	{"get_checkout_session", checkout_session_answered, payment_fetch_failed, false},
	{"expire_checkout_session", checkout_session_answered, payment_cancel_failed, false},
	{"create_refund", refund_answered, refund_creation_failed, false},
	{"get_refund", refund_answered, NULL, false},
	{"list_refunds", refunds_listed, NULL, false},
	{"get_dispute", dispute_answered, dispute_fetch_failed, false},
	{"create_reversal", reversal_answered, reversal_failed, false},
	{"create_transfer", retransfer_answered, retransfer_failed, false},
	{"get_payout", payout_answered, payout_fetch_failed, false},
	{"create_setup_intent", setup_intent_created, NULL, true},
	{"list_payment_methods", payment_methods_listed, NULL, true},
	{"check_payment_method", payment_method_checked, NULL, false},
	{"set_default_payment_method", NULL, NULL, true},
	{"detach_payment_method", NULL, NULL, true},
	{"create_account", account_created, NULL, false},
	{"create_account_link", account_link_created, NULL, true},
	{"get_account", account_answered, NULL, false},
	{"list_created", listing_answered, listing_failed, false},
	{"list_balance_transactions", balance_page_answered, balance_page_failed, false},
	{"list_events", events_listed, event_listing_failed, false},
};

/* The kinds whose answers may be stored in one transaction with others, as an array of text. */
Datum
kinds_stored_together(void)
{
	Datum		names[lengthof(kinds)];
	int			count = 0;

	for (size_t i = 0; i < lengthof(kinds); i++)
		if (kinds[i].together)
			names[count++] = CStringGetTextDatum(kinds[i].kind);
	return text_array(names, count);
}

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
