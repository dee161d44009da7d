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
#define LIST_LIMIT 100			/* Stripe's own */

/* No more than what a client shows; each item's customer is expanded, because it knows the default. */
KEPT_PLAN(shown_methods,
		  "SELECT coalesce(jsonb_agg(jsonb_build_object('id', m ->> 'id', 'type', m ->> 'type', 'brand', m #>> '{card,brand}', 'last4', m #>> '{card,last4}', "
		  "         'exp_month', m #> '{card,exp_month}', 'exp_year', m #> '{card,exp_year}', "
		  "         'is_default', coalesce(m ->> 'id' = m #>> '{customer,invoice_settings,default_payment_method}', false)) ORDER BY n), '[]')::text "
		  "FROM jsonb_array_elements($1) WITH ORDINALITY AS d (m, n)",
		  JSONBOID);
/* Whether the answer is about the very method that was asked for, and that is attached to the user's customer. */
KEPT_PLAN(is_users_method,
		  "SELECT r.path = '/v1/customers/' || c.stripe_customer_id || '/payment_methods/' || $2 AND c.stripe_customer_id = $3 "
		  "FROM ticketing.stripe_requests r JOIN public.stripe_customers c ON c.user_id = r.user_id WHERE r.id = $1",
		  UUIDOID, TEXTOID, TEXTOID);

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

/* Effect of list_payment_methods. An answer that is applied late has no list any more: the client asks again. */
void
payment_methods_listed(const StripeAnswer *call)
{
	JsonbValue *data = json_array_at(call->answer, "data");
	Datum		list;
	Handoff		handoff = {0};

	if (data == NULL)
		return;
	list = JsonbPGetDatum(JsonbValueToJsonb(data));
	run_latest(&shown_methods, &list, NULL);
	handoff.payment_methods = row_text(0, 1);
	keep_for_client(call, &handoff);
}

PG_FUNCTION_INFO_V1(dvnt_payment_methods);

/* payment_methods(user_id) → jsonb */
Datum
dvnt_payment_methods(PG_FUNCTION_ARGS)
{
	char	   *user_id = text_argument(fcinfo, 0, "user_id");
	NewStripeRequest request = {
		.kind = "list_payment_methods", .lane = STRIPE_LANE_BUYER, .method = "GET", .user_id = user_id,
		.params = psprintf("{\"limit\": %d, \"expand\": [\"data.customer\"]}", LIST_LIMIT)
	};
	const pg_uuid_t *request_id = NULL;
	char	   *customer;
	Answer		answer;
	Datum		result;

	begin_command();
	lock_user(user_id, NO_EVENT);
	customer = customer_of_user(user_id);
	answer_begin(&answer);
	if (customer != NULL)
	{
		request.path = psprintf("/v1/customers/%s/payment_methods", customer);
		request_id = unsent_stripe_request(request.kind, user_id);
		if (request_id == NULL)
			request_id = enqueue_stripe_request(&request, engine_now());
	}
	answer_uuid(&answer, "stripe_request_id", request_id);
	answer_raw(&answer, "payment_methods", customer == NULL ? "[]" : "null");
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/*
 * Effect of check_payment_method, which reads a payment method as one of the
 * user's customer. Stripe answers 404 for anybody else's, and then what waits
 * fails unsent; that it is his is checked here once more before anything is
 * sent.
 */
void
payment_method_checked(const StripeAnswer *call)
{
	Datum		values[3] = {UUIDPGetDatum(call->request_id), CStringGetTextDatum(answer_field(call, "id"))};
	char		nulls[4] = "   ";

	values[2] = text_or_null(json_string_at(call->answer, JSON_PATH("customer")), &nulls[2]);
	if (run_latest(&is_users_method, values, nulls) == 0 || row_is_null(0, 1) || !DatumGetBool(row_datum(0, 1)))
		fail_those_waiting(call->request_id,
						   DatumGetJsonbP(jsonb_from_text("{\"message\": \"the payment method is not one of the user's\"}")),
						   call->now);
}

/* What is to be done with a saved payment method. */
typedef struct MethodChange
{
	const char *function_name;
	const char *kind;
	bool		of_customer;	/* the call is to the customer, and names the method; or to the method */
} MethodChange;

/* An id that can stand in a path. */
static void
check_payment_method_id(const char *id)
{
	if (!is_stripe_id(id))
		refuse(BAD_REQUEST, "\"argument\": \"payment_method_id\"", NULL, "payment_method_id is no id of Stripe's");
}

/* Enqueues the change behind a check that the payment method is the user's. */
static pg_uuid_t *
enqueue_change(const MethodChange *change, const char *user_id, const char *payment_method_id, TimestampTz now)
{
	NewStripeRequest request = {.lane = STRIPE_LANE_BUYER, .user_id = user_id};
	char	   *customer = customer_of_user(user_id);
	Answer		params;
	Answer		settings;

	if (customer == NULL)
		refuse(NOT_FOUND, psprintf("\"payment_method_id\": \"%s\"", payment_method_id), NULL,
			   "payment method %s does not exist", payment_method_id);
	request.kind = "check_payment_method";
	request.method = "GET";
	request.path = psprintf("/v1/customers/%s/payment_methods/%s", customer, payment_method_id);
	request.params = "{}";
	request.waits_for = enqueue_stripe_request(&request, now);

	request.kind = change->kind;
	request.method = "POST";
	if (change->of_customer)
	{
		request.path = psprintf("/v1/customers/%s", customer);
		answer_begin(&params);
		answer_begin(&settings);
		answer_text(&settings, "default_payment_method", payment_method_id);
		answer_raw(&params, "invoice_settings", answer_end(&settings));
		request.params = answer_end(&params);
	}
	else
		request.path = psprintf("/v1/payment_methods/%s/detach", payment_method_id);
	return enqueue_stripe_request(&request, now);
}

/* (user_id, payment_method_id, request_id) → jsonb */
static Datum
change_payment_method(FunctionCallInfo fcinfo, const MethodChange *change)
{
	char	   *user_id = text_argument(fcinfo, 0, "user_id");
	char	   *payment_method_id = text_argument(fcinfo, 1, "payment_method_id");
	RememberedCall remembered;
	Answer		arguments;
	Datum		result;

	check_payment_method_id(payment_method_id);
	begin_command();
	answer_begin(&arguments);
	answer_text(&arguments, "payment_method_id", payment_method_id);
	remembered_call(&remembered, change->function_name, user_id, optional_text(fcinfo, 2), answer_end(&arguments));
	lock_user(user_id, NO_EVENT);
	if (!recall_answer(&remembered, &result))
	{
		result = request_answer(enqueue_change(change, user_id, payment_method_id, engine_now()));
		remember_answer(&remembered, result);
	}
	result = SPI_datumTransfer(result, false, -1);
	SPI_finish();
	return result;
}

PG_FUNCTION_INFO_V1(dvnt_set_default_payment_method);

/* set_default_payment_method(user_id, payment_method_id, request_id) → jsonb */
Datum
dvnt_set_default_payment_method(PG_FUNCTION_ARGS)
{
	static const MethodChange change = {"set_default_payment_method", "set_default_payment_method", true};

	return change_payment_method(fcinfo, &change);
}

PG_FUNCTION_INFO_V1(dvnt_remove_payment_method);

/* remove_payment_method(user_id, payment_method_id, request_id) → jsonb */
Datum
dvnt_remove_payment_method(PG_FUNCTION_ARGS)
{
	static const MethodChange change = {"remove_payment_method", "detach_payment_method", false};

	return change_payment_method(fcinfo, &change);
}
