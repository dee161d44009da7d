/*
 * payment_methods.c
 *		The payment methods that a user has saved at Stripe: added by a
 *		SetupIntent, listed, one of them the default, removed. Stripe keeps
 *		them; here are only requests, and answers on their way to the client.
 *
 * Reads public.stripe_customers and ticketing.stripe_requests; enqueues Stripe
 * requests, writes ticketing.stripe_handoff. Locks: the user.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

/* What a user does here is about no event. */
#define NO_EVENT 0

/* {"stripe_request_id": ...}, for await_stripe. */
static Datum
request_answer(const pg_uuid_t *request_id)
{
	Answer		answer;

	answer_begin(&answer);
	answer_uuid(&answer, "stripe_request_id", request_id);
	return answer_jsonb(&answer);
}

/* Effect of create_setup_intent. An answer that is applied late has no secret any more: the client asks again. */
void
setup_intent_created(const StripeAnswer *call)
{
	Handoff		handoff = {.client_secret = json_string_at(call->answer, JSON_PATH("client_secret"))};

	if (handoff.client_secret != NULL)
		keep_for_client(call, &handoff);
}

/* Enqueues customer, ephemeral key and SetupIntent, each waiting for the one before. */
static pg_uuid_t *
enqueue_setup(const char *user_id, const char *mobile_api_version, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "create_setup_intent", .lane = STRIPE_LANE_BUYER, .method = "POST", .path = "/v1/setup_intents",
		.customer_of = user_id, .user_id = user_id
	};
	Answer		params;
	Answer		metadata;

	request.waits_for = need_customer_and_key(&request, NULL, mobile_api_version, now);
	answer_begin(&params);
	answer_raw(&params, "automatic_payment_methods", "{\"enabled\": true}");
	answer_text(&params, "usage", "off_session");
	answer_begin(&metadata);
	answer_text(&metadata, "user_id", user_id);
	answer_raw(&params, "metadata", answer_end(&metadata));
	request.params = answer_end(&params);
	return enqueue_stripe_request(&request, now);
}

PG_FUNCTION_INFO_V1(dvnt_setup_payment_method);

/* setup_payment_method(user_id, mobile_api_version, request_id) → jsonb */
Datum
dvnt_setup_payment_method(PG_FUNCTION_ARGS)
{
	char	   *user_id = text_argument(fcinfo, 0, "user_id");
	char	   *mobile_api_version = mobile_api_version_argument(fcinfo, 1);
	RememberedCall remembered;
	Answer		arguments;
	Datum		result;

	begin_command();
	answer_begin(&arguments);
	answer_text(&arguments, "mobile_api_version", mobile_api_version);
	remembered_call(&remembered, "setup_payment_method", user_id, optional_text(fcinfo, 2), answer_end(&arguments));
	lock_user(user_id, NO_EVENT);
	if (!recall_answer(&remembered, &result))
	{
		result = request_answer(enqueue_setup(user_id, mobile_api_version, engine_now()));
		remember_answer(&remembered, result);
	}
	result = SPI_datumTransfer(result, false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
