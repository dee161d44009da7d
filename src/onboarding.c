/*
 * onboarding.c
 *		A host's account at Stripe: made once, finished by the host at Stripe's
 *		own pages, and what Stripe says of it kept where sales look.
 *
 * Reads and writes ticketing.payees, which is trusted; writes
 * public.organizer_accounts, which shows it; enqueues Stripe requests, writes
 * ticketing.stripe_handoff and findings. Locks: the user, or none; then rows of
 * public.organizer_accounts before those of payees, as its trigger takes them.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

/* What a host does here is about no event. */
#define NO_EVENT 0

KEPT_PLAN(find_payee,
		  "SELECT p.stripe_account_id, p.charges_enabled, p.payouts_enabled, p.details_submitted, "
		  "       EXISTS (SELECT FROM ticketing.payees o WHERE o.stripe_account_id = p.stripe_account_id AND o.host_id <> p.host_id) "
		  "FROM ticketing.payees p WHERE p.host_id = $1",
		  TEXTOID);
KEPT_PLAN(open_account_request,
		  "SELECT id FROM ticketing.stripe_requests WHERE kind = 'create_account' AND state IN ('ready', 'leased', 'unknown') AND user_id = $1",
		  TEXTOID);
/* What a client has written there in the meantime is drift, and stays. */
KEPT_PLAN(project_new_payee,
		  "INSERT INTO public.organizer_accounts AS a (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted, created_at, updated_at) "
		  "SELECT $1, $2, $3, $4, $5, $6, $6 WHERE NOT EXISTS (SELECT FROM ticketing.payees p WHERE p.host_id = $1 AND p.stripe_account_id <> $2) "
		  "ON CONFLICT (host_id) DO UPDATE SET stripe_account_id = excluded.stripe_account_id, charges_enabled = excluded.charges_enabled, "
		  "  payouts_enabled = excluded.payouts_enabled, details_submitted = excluded.details_submitted, updated_at = excluded.updated_at "
		  "WHERE a.stripe_account_id IS NULL",
		  TEXTOID, TEXTOID, BOOLOID, BOOLOID, BOOLOID, TIMESTAMPTZOID);
KEPT_PLAN(keep_payee,
		  "INSERT INTO ticketing.payees AS p (host_id, stripe_account_id, charges_enabled, payouts_enabled, details_submitted, recorded_at) "
		  "VALUES ($1, $2, $3, $4, $5, $6) "
		  "ON CONFLICT (host_id) DO UPDATE SET stripe_account_id = excluded.stripe_account_id, charges_enabled = excluded.charges_enabled, "
		  "  payouts_enabled = excluded.payouts_enabled, details_submitted = excluded.details_submitted, recorded_at = excluded.recorded_at "
		  "WHERE p.stripe_account_id IS NULL",
		  TEXTOID, TEXTOID, BOOLOID, BOOLOID, BOOLOID, TIMESTAMPTZOID);
KEPT_PLAN(project_flags,
		  "UPDATE public.organizer_accounts a SET charges_enabled = $2, payouts_enabled = $3, details_submitted = $4, updated_at = $5 "
		  "FROM ticketing.payees p WHERE p.stripe_account_id = $1 AND a.host_id = p.host_id AND a.stripe_account_id = $1 "
		  "AND (a.charges_enabled, a.payouts_enabled, a.details_submitted) IS DISTINCT FROM ($2, $3, $4)",
		  TEXTOID, BOOLOID, BOOLOID, BOOLOID, TIMESTAMPTZOID);
KEPT_PLAN(keep_flags,
		  "UPDATE ticketing.payees SET charges_enabled = $2, payouts_enabled = $3, details_submitted = $4, recorded_at = $5 WHERE stripe_account_id = $1",
		  TEXTOID, BOOLOID, BOOLOID, BOOLOID, TIMESTAMPTZOID);

/* Of hosts who share an account the one who has sold something for it. */
KEPT_PLAN(find_host,
		  "SELECT p.host_id FROM ticketing.payees p WHERE p.stripe_account_id = $1 "
		  "ORDER BY EXISTS (SELECT FROM ticketing.event_settings s JOIN ticketing.ledger l ON l.event_id = s.event_id WHERE s.host_id = p.host_id AND l.payee_account = $1) DESC, p.host_id LIMIT 1",
		  TEXTOID);
KEPT_PLAN(project_departure,
		  "UPDATE public.organizer_accounts a SET charges_enabled = false, updated_at = $2 "
		  "FROM ticketing.payees p WHERE p.stripe_account_id = $1 AND a.host_id = p.host_id AND a.stripe_account_id = $1 AND a.charges_enabled",
		  TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(keep_departure,
		  "UPDATE ticketing.payees SET charges_enabled = false, recorded_at = $2 WHERE stripe_account_id = $1",
		  TEXTOID, TIMESTAMPTZOID);

/* The account's flags as Stripe has them, for a statement. */
static void
account_flags(Jsonb *account, Datum flags[3])
{
	static const char *const names[] = {"charges_enabled", "payouts_enabled", "details_submitted"};

	for (int i = 0; i < 3; i++)
	{
		bool		flag = false;

		(void) json_bool_at(account, &names[i], 1, &flag);
		flags[i] = BoolGetDatum(flag);
	}
}

/*
 * What Stripe says of an account becomes what we know of its payee; account is
 * the whole object, as Stripe has it now. False: nobody here is paid to it.
 */
bool
payee_says(Jsonb *account, TimestampTz now)
{
	char	   *account_id = json_string_at(account, JSON_PATH("id"));
	Datum		values[5];

	if (account_id == NULL)
		return false;
	values[0] = CStringGetTextDatum(account_id);
	account_flags(account, &values[1]);
	values[4] = TimestampTzGetDatum(now);
	declare_lock(RANK_PUBLIC);
	run_latest(&project_flags, values, NULL);
	return run_latest(&keep_flags, values, NULL) > 0;
}

/* Effect of create_account: the host has an account from now on. */
void
account_created(const StripeAnswer *call)
{
	char	   *account_id = answer_field(call, "id");
	Datum		values[6] = {CStringGetTextDatum(call->user_id), CStringGetTextDatum(account_id)};
	Answer		detail;
	char	   *kept;

	account_flags(call->answer, &values[2]);
	values[5] = TimestampTzGetDatum(call->now);
	declare_lock(RANK_PUBLIC);
	run_latest(&project_new_payee, values, NULL);
	run_latest(&keep_payee, values, NULL);
	run_latest(&find_payee, values, NULL);
	kept = row_text(0, 1);
	if (strcmp(kept, account_id) == 0)
		return;
	answer_begin(&detail);
	answer_text(&detail, "stripe_account_id", account_id);
	answer_text(&detail, "kept", kept);
	record_finding("second_account", psprintf("payees/%s", call->user_id), answer_end(&detail), call->now);
}

/* The host whose payee has that account; NULL: nobody's has. */
char *
host_of_account(const char *stripe_account_id)
{
	Datum		account = CStringGetTextDatum(stripe_account_id);

	return run_latest(&find_host, &account, NULL) == 0 ? NULL : row_text(0, 1);
}

/* Asks Stripe how an account stands, unless that has been asked and not been sent. */
void
fetch_account(const char *stripe_account_id, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "get_account", .lane = STRIPE_LANE_BUYER, .method = "GET", .path = psprintf("/v1/accounts/%s", stripe_account_id),
		.user_id = host_of_account(stripe_account_id)
	};

	if (request.user_id != NULL && unsent_stripe_request(request.kind, request.user_id) == NULL)
		enqueue_stripe_request(&request, now);
}

/* An organizer has cut the platform off from his account: it cannot be paid any more. What was sold for it is as it was. */
void
payee_left(const char *stripe_account_id, TimestampTz now)
{
	Datum		values[2] = {CStringGetTextDatum(stripe_account_id), TimestampTzGetDatum(now)};
	const char *host_id = host_of_account(stripe_account_id);
	Answer		detail;

	declare_lock(RANK_PUBLIC);
	run_latest(&project_departure, values, NULL);
	run_latest(&keep_departure, values, NULL);
	answer_begin(&detail);
	answer_text(&detail, "stripe_account_id", stripe_account_id);
	record_finding("payee_left", psprintf("payees/%s", host_id), answer_end(&detail), now);
}

/* Effect of get_account. An answer that is applied late has no flags any more: it is asked for again. */
void
account_answered(const StripeAnswer *call)
{
	bool		flag;

	if (json_bool_at(call->answer, JSON_PATH("charges_enabled"), &flag))
		(void) payee_says(call->answer, call->now);
	else
		fetch_account(answer_field(call, "id"), call->now);
}

/* Effect of create_account_link. An answer that is applied late has no url any more: the host asks again. */
void
account_link_created(const StripeAnswer *call)
{
	Handoff		handoff = {.url = json_string_at(call->answer, JSON_PATH("url"))};
	int64		expires_at;

	if (handoff.url == NULL)
		return;
	if (!json_int_at(call->answer, JSON_PATH("expires_at"), &expires_at))
		expires_at = unix_seconds(call->now);
	handoff.url_expires_at = time_t_to_timestamptz((pg_time_t) expires_at);
	keep_for_client(call, &handoff);
}

/* The arguments of connect_onboarding. */
typedef struct OnboardingCall
{
	char	   *host_id;
	char	   *return_url;
	char	   *refresh_url;
	char	   *email;
} OnboardingCall;

/* Stripe sends the host's browser there. */
static char *
url_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	char	   *url = text_argument(fcinfo, number, name);

	if (strncmp(url, "https://", strlen("https://")) != 0 && strncmp(url, "http://", strlen("http://")) != 0)
		refuse(BAD_REQUEST, psprintf("\"argument\": \"%s\"", name), "Pass a whole URL that begins with https://.",
			   "argument %s is no URL of the web", name);
	return url;
}

/*
 * The request that makes the host's account, open or new. The caller holds the
 * user's lock, and two requests that are open at once are refused by an index.
 */
static const pg_uuid_t *
need_account(const OnboardingCall *call, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "create_account", .lane = STRIPE_LANE_BUYER, .method = "POST", .path = "/v1/accounts", .user_id = call->host_id
	};
	Datum		host = CStringGetTextDatum(call->host_id);
	Answer		params;
	Answer		metadata;

	if (run_latest(&open_account_request, &host, NULL) > 0)
		return DatumGetUUIDP(uuid_copy(row_datum(0, 1)));
	answer_begin(&params);
	/* an Express account: the platform pays Stripe's fees and bears losses, Stripe asks for what the law wants */
	answer_raw(&params, "controller",
			   "{\"stripe_dashboard\": {\"type\": \"express\"}, \"fees\": {\"payer\": \"application\"}, "
			   "\"losses\": {\"payments\": \"application\"}, \"requirement_collection\": \"stripe\"}");
	answer_raw(&params, "capabilities", "{\"card_payments\": {\"requested\": true}, \"transfers\": {\"requested\": true}}");
	if (call->email != NULL)
		answer_text(&params, "email", call->email);
	answer_begin(&metadata);
	answer_text(&metadata, "host_id", call->host_id);
	answer_raw(&params, "metadata", answer_end(&metadata));
	request.params = answer_end(&params);
	return enqueue_stripe_request(&request, now);
}

/* A text among a refusal's figures. */
static const char *
figure(const char *name, const char *value)
{
	Answer		figures;

	answer_begin(&figures);
	answer_text(&figures, name, value);
	return figures.text.data + 1;	/* without the brace */
}

/*
 * The host's account, NULL when there is none. It may have been copied from
 * where clients write: refused when it is no id, or another host's, too, to
 * whose account a link would give access.
 */
static char *
account_of_host(const char *host_id)
{
	Datum		host = CStringGetTextDatum(host_id);
	char	   *account;

	if (run_latest(&find_payee, &host, NULL) == 0 || (account = row_text(0, 1)) == NULL)
		return NULL;
	if (!is_stripe_id(account))
		refuse(WRONG_STATE, figure("stripe_account_id", account), "An operator mends it.",
			   "what is recorded as the Stripe account of host %s is no id of Stripe's", host_id);
	if (DatumGetBool(row_datum(0, 5)))
		refuse(WRONG_STATE, figure("stripe_account_id", account), "An operator decides whose it is.",
			   "the Stripe account of host %s is another host's, too", host_id);
	return account;
}

/* Enqueues the account, if there is none, and a link to Stripe's pages for it. */
static Datum
enqueue_onboarding(const OnboardingCall *call, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "create_account_link", .lane = STRIPE_LANE_BUYER, .method = "POST", .path = "/v1/account_links",
		.account_of = call->host_id, .user_id = call->host_id
	};
	char	   *account = account_of_host(call->host_id);
	Answer		answer;
	Answer		params;

	if (account == NULL)
		request.waits_for = need_account(call, now);
	answer_begin(&params);
	answer_text(&params, "type", "account_onboarding");
	answer_text(&params, "return_url", call->return_url);
	answer_text(&params, "refresh_url", call->refresh_url);
	request.params = answer_end(&params);

	answer_begin(&answer);
	answer_uuid(&answer, "stripe_request_id", enqueue_stripe_request(&request, now));
	answer_text(&answer, "stripe_account_id", account);
	return answer_jsonb(&answer);
}

PG_FUNCTION_INFO_V1(dvnt_connect_onboarding);

/* connect_onboarding(host_id, return_url, refresh_url, email, request_id) → jsonb */
Datum
dvnt_connect_onboarding(PG_FUNCTION_ARGS)
{
	OnboardingCall call = {0};
	RememberedCall remembered;
	Answer		arguments;
	Datum		result;

	call.host_id = text_argument(fcinfo, 0, "host_id");
	call.return_url = url_argument(fcinfo, 1, "return_url");
	call.refresh_url = url_argument(fcinfo, 2, "refresh_url");
	call.email = optional_text(fcinfo, 3);

	begin_command();
	answer_begin(&arguments);
	answer_text(&arguments, "return_url", call.return_url);
	answer_text(&arguments, "refresh_url", call.refresh_url);
	answer_text(&arguments, "email", call.email);
	remembered_call(&remembered, "connect_onboarding", call.host_id, optional_text(fcinfo, 4), answer_end(&arguments));
	lock_user(call.host_id, NO_EVENT);
	if (!recall_answer(&remembered, &result))
	{
		result = enqueue_onboarding(&call, engine_now());
		remember_answer(&remembered, result);
	}
	result = SPI_datumTransfer(result, false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

static _Noreturn void
refuse_unknown_host(const char *host_id)
{
	refuse(NOT_FOUND, figure("host_id", host_id), "Call connect_onboarding.", "host %s has no Stripe account", host_id);
}

PG_FUNCTION_INFO_V1(dvnt_organizer_status);

/* organizer_status(host_id) → jsonb */
Datum
dvnt_organizer_status(PG_FUNCTION_ARGS)
{
	char	   *host_id = text_argument(fcinfo, 0, "host_id");
	Datum		host = CStringGetTextDatum(host_id);
	Answer		answer;
	Datum		result;

	begin_command();
	begin_reading();
	if (run_stable(&find_payee, &host, NULL) == 0 || row_is_null(0, 1))
		refuse_unknown_host(host_id);
	answer_begin(&answer);
	answer_text(&answer, "host_id", host_id);
	answer_text(&answer, "stripe_account_id", row_text(0, 1));
	answer_bool(&answer, "charges_enabled", DatumGetBool(row_datum(0, 2)));
	answer_bool(&answer, "payouts_enabled", DatumGetBool(row_datum(0, 3)));
	answer_bool(&answer, "details_submitted", DatumGetBool(row_datum(0, 4)));
	end_reading();
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

PG_FUNCTION_INFO_V1(dvnt_refresh_organizer_status);

/* refresh_organizer_status(host_id) → jsonb */
Datum
dvnt_refresh_organizer_status(PG_FUNCTION_ARGS)
{
	char	   *host_id = text_argument(fcinfo, 0, "host_id");
	NewStripeRequest request = {.kind = "get_account", .lane = STRIPE_LANE_BUYER, .method = "GET", .user_id = host_id};
	const pg_uuid_t *request_id;
	char	   *account;
	Answer		answer;
	Datum		result;

	begin_command();
	lock_user(host_id, NO_EVENT);
	account = account_of_host(host_id);
	if (account == NULL)
		refuse_unknown_host(host_id);
	request.path = psprintf("/v1/accounts/%s", account);
	request_id = unsent_stripe_request(request.kind, host_id);
	if (request_id == NULL)
		request_id = enqueue_stripe_request(&request, engine_now());
	answer_begin(&answer);
	answer_uuid(&answer, "stripe_request_id", request_id);
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
