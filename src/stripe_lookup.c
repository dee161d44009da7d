/*
 * stripe_lookup.c
 *		Requests of which nobody knows whether they happened, and whose key is
 *		too old to ask with: what they would have made is looked for at Stripe
 *		before they are sent under a new key.
 *
 * Reads and writes ticketing.stripe_requests. Locks: the row of the request,
 * then what the effect of its answer takes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define LOOKED_UP_AT_ONCE 50
#define CLOCKS_DIFFER_SECONDS 300	/* Stripe's and ours, at most */
#define PAGE_SIZE 100

KEPT_PLAN(unknown_requests,
		  "SELECT r.id, r.kind, r.method, r.lane, r.params, c.stripe_customer_id, "
		  "       (extract(epoch FROM coalesce(r.first_sent_at, r.created_at)))::bigint, r.order_id, r.event_id, r.user_id, r.path "
		  "FROM ticketing.stripe_requests r LEFT JOIN public.stripe_customers c ON c.user_id = r.customer_of "
		  "WHERE r.state = 'unknown' AND r.lookup_id IS NULL ORDER BY r.seq LIMIT $1 FOR UPDATE OF r SKIP LOCKED",
		  INT4OID);
KEPT_PLAN(note_lookup,
		  "UPDATE ticketing.stripe_requests SET lookup_id = $2 WHERE id = $1", UUIDOID, UUIDOID);
KEPT_PLAN(send_anew,
		  "UPDATE ticketing.stripe_requests SET state = 'ready', runnable = true, run_at = $2, lookup_id = NULL, first_sent_at = NULL, idempotency_key = gen_random_uuid() WHERE id = $1",
		  UUIDOID, TIMESTAMPTZOID);
KEPT_PLAN(looked_for,
		  "SELECT r.id, r.kind, r.order_id, r.user_id, l.path, l.params, r.lane, r.event_id FROM ticketing.stripe_requests r, ticketing.stripe_requests l "
		  "WHERE l.id = $1 AND r.lookup_id = l.id AND r.state = 'unknown' FOR UPDATE OF r",
		  UUIDOID);

KEPT_PLAN(params_after, "SELECT ($1 || jsonb_build_object('starting_after', $2))::text", JSONBOID, TEXTOID);

/* What lists the objects that a request may have made. */
typedef struct Listing
{
	const char *kind;
	const char *path;			/* NULL: the request's own */
	bool		by_customer;
	const char *parameters[3];	/* of the request, that list by the same */
	bool		since;			/* only what was made since it was first sent */
	const char *metadata;		/* the object's key that tells it from others: of its order, its user or host, or the request itself */
} Listing;

static const Listing listings[] = {
	{"create_customer", "/v1/customers", false, {"email"}, true, "user_id"},
	{"create_payment_intent", "/v1/payment_intents", true, {NULL}, true, "order_id"},
	{"create_checkout_session", "/v1/checkout/sessions", true, {NULL}, true, "order_id"},
	{"create_account", "/v1/accounts", false, {NULL}, true, "host_id"},
	{"create_refund", "/v1/refunds", false, {"payment_intent", "charge"}, false, "request_id"},
	{"create_reversal", NULL, false, {NULL}, false, "request_id"},
	{"create_transfer", "/v1/transfers", false, {"destination"}, true, "request_id"},
};

/* What is made again without harm, and expires by itself. */
static const char *const harmless[] = {"create_ephemeral_key", "create_setup_intent", "create_account_link", "create_login_link"};

static const Listing *
listing_of(const char *kind)
{
	for (size_t i = 0; i < lengthof(listings); i++)
		if (strcmp(listings[i].kind, kind) == 0)
			return &listings[i];
	return NULL;
}

/* Whether a request may simply be sent again: it makes nothing, or nothing that matters. */
static bool
may_be_repeated(const char *kind, const char *method)
{
	for (size_t i = 0; i < lengthof(harmless); i++)
		if (strcmp(harmless[i], kind) == 0)
			return true;
	return strcmp(method, "POST") != 0 || strncmp(kind, "create_", 7) != 0;
}

/* A request that nobody knows the end of. */
typedef struct UnknownRequest
{
	pg_uuid_t  *id;
	char	   *kind;
	char	   *method;
	int16		lane;
	Jsonb	   *params;
	char	   *customer;
	int64		first_sent;		/* seconds since 1970 */
	pg_uuid_t  *order_id;
	int32		event_id;
	char	   *user_id;
	char	   *path;
} UnknownRequest;

static void
enqueue_listing(const pg_uuid_t *request_id, NewStripeRequest *listing, TimestampTz now)
{
	Datum		values[2] = {UUIDPGetDatum(request_id)};

	listing->kind = "list_created";
	listing->method = "GET";
	values[1] = UUIDPGetDatum(enqueue_stripe_request(listing, now));
	run_latest(&note_lookup, values, NULL);
}

static void
look_up(const UnknownRequest *request, const Listing *listing, TimestampTz now)
{
	NewStripeRequest asked = {.lane = request->lane, .path = listing->path ? listing->path : request->path, .order_id = request->order_id, .event_id = request->event_id, .user_id = request->user_id};
	Answer		params;

	answer_begin(&params);
	answer_int(&params, "limit", PAGE_SIZE);
	if (listing->by_customer && request->customer != NULL)
		answer_text(&params, "customer", request->customer);
	for (int i = 0; i < lengthof(listing->parameters) && listing->parameters[i] != NULL; i++)
	{
		char	   *value = json_string_at(request->params, JSON_PATH(listing->parameters[i]));

		if (value != NULL)
			answer_text(&params, listing->parameters[i], value);
	}
	if (listing->since)
		answer_raw(&params, "created", psprintf("{\"gte\": " INT64_FORMAT "}", request->first_sent - CLOCKS_DIFFER_SECONDS));
	asked.params = answer_end(&params);
	enqueue_listing(request->id, &asked, now);
}

static void
give_new_key(const pg_uuid_t *id, TimestampTz now)
{
	Datum		values[2] = {UUIDPGetDatum(id), TimestampTzGetDatum(now)};

	run_latest(&send_anew, values, NULL);
}

/* A person has to look: said once. */
static void
leave_to_a_person(const pg_uuid_t *id, const char *kind, TimestampTz now)
{
	Datum		values[2] = {UUIDPGetDatum(id), UUIDPGetDatum(id)};
	Answer		detail;

	answer_begin(&detail);
	answer_text(&detail, "kind", kind);
	record_finding("request_unknown", psprintf("stripe_requests/%s", uuid_text(id)), answer_end(&detail), now);
	run_latest(&note_lookup, values, NULL);
}

/* Begins to find out what became of the requests that are unknown. */
void
resolve_unknown_requests(TimestampTz now)
{
	Datum		limit = Int32GetDatum(LOOKED_UP_AT_ONCE);
	uint64		rows = run_latest(&unknown_requests, &limit, NULL);
	UnknownRequest *requests = palloc0(sizeof(UnknownRequest) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
	{
		UnknownRequest *request = &requests[row];

		request->id = DatumGetUUIDP(uuid_copy(row_datum(row, 1)));
		request->kind = row_text(row, 2);
		request->method = row_text(row, 3);
		request->lane = DatumGetInt16(row_datum(row, 4));
		request->params = DatumGetJsonbPCopy(row_datum(row, 5));
		request->customer = row_text(row, 6);
		request->first_sent = DatumGetInt64(row_datum(row, 7));
		if (!row_is_null(row, 8))
			request->order_id = DatumGetUUIDP(uuid_copy(row_datum(row, 8)));
		request->event_id = row_is_null(row, 9) ? 0 : DatumGetInt32(row_datum(row, 9));
		request->user_id = row_text(row, 10);
		request->path = row_text(row, 11);
	}
	for (uint64 i = 0; i < rows; i++)
	{
		const Listing *listing = listing_of(requests[i].kind);

		if (listing != NULL)
			look_up(&requests[i], listing, now);
		else if (may_be_repeated(requests[i].kind, requests[i].method))
			give_new_key(requests[i].id, now);
		else
			leave_to_a_person(requests[i].id, requests[i].kind, now);
	}
}

/* What the object that is looked for has in its metadata. */
static const char *
expected_value(const Listing *listing, const StripeAnswer *request)
{
	if (strcmp(listing->metadata, "user_id") == 0 || strcmp(listing->metadata, "host_id") == 0)
		return request->user_id;
	if (strcmp(listing->metadata, "order_id") == 0)
		return request->order_id ? uuid_text(request->order_id) : NULL;
	return uuid_text(request->request_id);
}

/* The object among those of a page, or NULL; and the last one's id. */
static Jsonb *
find_object(JsonbValue *page, const char *key, const char *expected, char **last_id)
{
	uint32		count = JsonContainerSize(page->val.binary.data);
	Jsonb	   *found = NULL;

	*last_id = NULL;
	for (uint32 i = 0; i < count && found == NULL; i++)
	{
		Jsonb	   *object = JsonbValueToJsonb(getIthJsonbValueFromContainer(page->val.binary.data, i));
		char	   *value;

		if (!JB_ROOT_IS_OBJECT(object))
			continue;
		value = json_string_at(object, JSON_PATH("metadata", key));
		*last_id = json_string_at(object, JSON_PATH("id"));
		if (value != NULL && expected != NULL && strcmp(value, expected) == 0)
			found = object;
	}
	return found;
}

/* Asks for the next page. */
static void
look_further(const StripeAnswer *request, const char *path, Jsonb *params, int16 lane, int32 event_id, const char *last_id, TimestampTz now)
{
	NewStripeRequest asked = {.lane = lane, .path = path, .order_id = request->order_id, .event_id = event_id, .user_id = request->user_id};
	Datum		values[2] = {JsonbPGetDatum(params), CStringGetTextDatum(last_id)};

	run_latest(&params_after, values, NULL);
	asked.params = row_text(0, 1);
	enqueue_listing(request->request_id, &asked, now);
}

/*
 * A page of what a request may have made: its object is there, and its answer
 * is the request's own; or it may be on the next page; or it was never made.
 */
void
listing_answered(const StripeAnswer *call)
{
	Datum		id = UUIDPGetDatum(call->request_id);
	StripeAnswer request;
	const Listing *listing;
	JsonbValue	page_space;
	JsonbValue *page;
	Jsonb	   *found;
	char	   *path;
	Jsonb	   *params;
	int16		lane;
	int32		event_id;
	char	   *last_id;
	bool		has_more;

	declare_lock(RANK_REQUEST);
	if (run_latest(&looked_for, &id, NULL) == 0)
		return;
	request = row_call(0, 1);
	path = row_text(0, 5);
	params = DatumGetJsonbPCopy(row_datum(0, 6));
	lane = DatumGetInt16(row_datum(0, 7));
	event_id = row_is_null(0, 8) ? 0 : DatumGetInt32(row_datum(0, 8));
	listing = listing_of(request.kind);
	page = getKeyJsonValueFromContainer(&call->answer->root, "data", strlen("data"), &page_space);
	if (listing == NULL || page == NULL || page->type != jbvBinary || !JsonContainerIsArray(page->val.binary.data))
	{
		/* applied late, the page is gone: ask for it again */
		Datum		values[2] = {UUIDPGetDatum(request.request_id), (Datum) 0};

		run_latest(&note_lookup, values, " n");
		return;
	}
	found = find_object(page, listing->metadata, expected_value(listing, &request), &last_id);
	if (found != NULL)
	{
		request.answer = found;
		finish_request(&request, 200, NULL, call->now);
	}
	else if (last_id != NULL && json_bool_at(call->answer, JSON_PATH("has_more"), &has_more) && has_more)
		look_further(&request, path, params, lane, event_id, last_id, call->now);
	else
		give_new_key(request.request_id, call->now);
}

/* Stripe will not list them. */
void
listing_failed(const StripeAnswer *call)
{
	Datum		id = UUIDPGetDatum(call->request_id);
	StripeAnswer request;

	if (run_latest(&looked_for, &id, NULL) == 0)
		return;
	request = row_call(0, 1);
	leave_to_a_person(request.request_id, request.kind, call->now);
}
