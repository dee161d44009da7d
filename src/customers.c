/*
 * customers.c
 *		A user's customer at Stripe: found, or asked for once; and ephemeral
 *		keys, with which a mobile SDK reads it.
 *
 * Reads and writes public.stripe_customers; enqueues Stripe requests. Takes no
 * lock; the caller holds the user's.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define MOBILE_API_VERSION_MAX_BYTES 64

KEPT_PLAN(find_customer,
		  "SELECT stripe_customer_id FROM public.stripe_customers WHERE user_id = $1", TEXTOID);
KEPT_PLAN(open_customer_request,
		  "SELECT id FROM ticketing.stripe_requests WHERE kind = 'create_customer' AND state IN ('ready', 'leased') AND user_id = $1",
		  TEXTOID);
KEPT_PLAN(keep_customer,
		  "INSERT INTO public.stripe_customers (user_id, stripe_customer_id, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
		  TEXTOID, TEXTOID, TIMESTAMPTZOID);

/* The user's customer, NULL when none is known. */
char *
customer_of_user(const char *user_id)
{
	Datum		user = CStringGetTextDatum(user_id);

	return run_latest(&find_customer, &user, NULL) > 0 ? row_text(0, 1) : NULL;
}

/* The request that makes the user's customer, or NULL when it is known already. */
static const pg_uuid_t *
need_customer(const NewStripeRequest *of, const char *email, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "create_customer", .lane = STRIPE_LANE_BUYER, .method = "POST", .path = "/v1/customers",
		.event_id = of->event_id, .user_id = of->user_id
	};
	Datum		user = CStringGetTextDatum(of->user_id);
	Answer		params;
	Answer		metadata;
	pg_uuid_t  *made;

	if (customer_of_user(of->user_id) != NULL)
		return NULL;
	for (int attempt = 0; attempt < 3; attempt++)
	{
		if (run_latest(&open_customer_request, &user, NULL) > 0)
			return DatumGetUUIDP(uuid_copy(row_datum(0, 1)));
		answer_begin(&params);
		if (email != NULL)
			answer_text(&params, "email", email);
		answer_begin(&metadata);
		answer_text(&metadata, "user_id", of->user_id);
		answer_raw(&params, "metadata", answer_end(&metadata));
		request.params = answer_end(&params);
		made = enqueue_stripe_request(&request, now);
		if (made != NULL)
			return made;
		/* another call of this user was faster and has committed: look again */
		if (customer_of_user(of->user_id) != NULL)
			return NULL;
	}
	elog(ERROR, "could not find or enqueue the customer of user %s", of->user_id);
}

/* Reads an optional argument with the mobile SDK's Stripe-Version: a date, and what may follow it. */
char *
mobile_api_version_argument(FunctionCallInfo fcinfo, int number)
{
	static const char form[] = "dddd-dd-dd";
	char	   *version = optional_text(fcinfo, number);
	size_t		length;

	if (version == NULL)
		return NULL;
	length = strlen(version);
	for (size_t i = 0; i < Max(length, strlen(form)); i++)
	{
		unsigned char c = i < length ? (unsigned char) version[i] : '\0';
		bool		good = i >= strlen(form) ? c > ' ' && c < 0x7f : form[i] == 'd' ? c >= '0' && c <= '9' : c == (unsigned char) form[i];

		if (!good || i >= MOBILE_API_VERSION_MAX_BYTES)
			refuse(BAD_REQUEST, "\"argument\": \"mobile_api_version\"",
				   "Pass the Stripe-Version that the mobile SDK names, for example 2026-10-28.endive.",
				   "mobile_api_version is no API version");
	}
	return version;
}

/*
 * What a request about the user's customer has to wait for: the customer, if it
 * must be made first, and an ephemeral key, if the client is a mobile SDK.
 * Else what it waits for already; NULL: nothing.
 */
const pg_uuid_t *
need_customer_and_key(const NewStripeRequest *of, const char *email, const char *mobile_api_version, TimestampTz now)
{
	const pg_uuid_t *customer = need_customer(of, email, now);
	NewStripeRequest key = {
		.kind = "create_ephemeral_key", .lane = STRIPE_LANE_BUYER, .method = "POST", .path = "/v1/ephemeral_keys",
		.customer_of = of->user_id, .api_version = mobile_api_version, .waits_for = customer ? customer : of->waits_for,
		.order_id = of->order_id, .event_id = of->event_id, .user_id = of->user_id
	};

	return mobile_api_version == NULL ? key.waits_for : enqueue_stripe_request(&key, now);
}

/* Effect of create_customer. */
void
customer_created(const StripeAnswer *call)
{
	Datum		values[3] = {CStringGetTextDatum(call->user_id), CStringGetTextDatum(answer_field(call, "id")), TimestampTzGetDatum(call->now)};

	run_latest(&keep_customer, values, NULL);
}

/* Effect of create_ephemeral_key. An answer that is applied late has no secret any more: the client asks again. */
void
ephemeral_key_created(const StripeAnswer *call)
{
	Handoff		handoff = {.ephemeral_key = json_string_at(call->answer, JSON_PATH("secret"))};

	keep_for_client(call, &handoff);
}
