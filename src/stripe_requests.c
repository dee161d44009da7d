/*
 * stripe_requests.c
 *		The outbox: what is to be asked of Stripe is a row, written in the
 *		transaction that needs it, and a doorbell for the relay.
 *
 * Writes ticketing.stripe_requests. Takes the enqueuer's side of the doorbell
 * lock until the transaction ends.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/async.h"
#include "utils/builtins.h"
#include "utils/numeric.h"

#include "dvnt_ticketing.h"
#include "stripe_form.h"

#define DOORBELL_CHANNEL "dvnt_ticketing_stripe"
#define STRIPE_ID_MAX_BYTES 255

KEPT_PLAN(insert_request,
		  "INSERT INTO ticketing.stripe_requests (kind, lane, method, path, params, customer_of, api_version, waits_for, order_id, event_id, user_id, run_at, created_at, runnable, endpoint, account_of, stripe_account) "
		  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, CASE WHEN $13 THEN $12 ELSE 'infinity' END, $12, $13, $14, $15, $16) ON CONFLICT DO NOTHING RETURNING id",
		  TEXTOID, INT2OID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, TEXTOID, UUIDOID, UUIDOID, INT4OID, TEXTOID, TIMESTAMPTZOID, BOOLOID, TEXTOID, TEXTOID, TEXTOID);
KEPT_PLAN(lock_awaited,
		  "SELECT state FROM ticketing.stripe_requests WHERE id = $1 FOR SHARE", UUIDOID);

/* Served by an index for these two kinds, which are asked again and again. */
KEPT_PLAN(unsent_request,
		  "SELECT id FROM ticketing.stripe_requests "
		  "WHERE kind IN ('list_payment_methods', 'get_account') AND state = 'ready' AND attempts = 0 AND user_id = $1 AND kind = $2 LIMIT 1",
		  TEXTOID, TEXTOID);

/* Wakes a relay, if one sleeps: NOTIFY takes a cluster-wide lock through the commit, so it is kept rare. */
static void
ring_doorbell(void)
{
	if (doorbell_enabled && !no_relay_sleeps())
		Async_Notify(DOORBELL_CHANNEL, NULL);
}

/*
 * Method and path with ids replaced. Ids are every second part of a path after
 * the version; what lies under checkout has one part more before them.
 */
static char *
endpoint_of(const char *method, const char *path)
{
	StringInfoData endpoint;
	int			part = 0;

	initStringInfo(&endpoint);
	appendStringInfo(&endpoint, "%s ", method);
	while (*path == '/')
	{
		size_t		length = 1 + strcspn(path + 1, "/?");

		if (part == 1 && length == strlen("/checkout") && strncmp(path, "/checkout", length) == 0)
			part = 0;
		if (part < 2 || part % 2 == 1 || (length == strlen("/search") && strncmp(path, "/search", length) == 0))
			appendBinaryStringInfo(&endpoint, path, (int) length);
		else
			appendStringInfoString(&endpoint, "/:id");
		path += length;
		part++;
	}
	return endpoint.data;
}

/*
 * Whether a request must wait for another. If so, that one's answer is not
 * stored before this transaction has committed, and then finds who waits: the
 * lock is one that every update of the row waits for. It is taken out of order:
 * what holds such a row for longer than a moment is the storing of its answer,
 * which needs no lock that an enqueuer holds.
 */
static bool
must_wait(const pg_uuid_t *other)
{
	Datum		id = UUIDPGetDatum(other);

	if (other == NULL || run_latest(&lock_awaited, &id, NULL) == 0)
		return false;
	return strcmp(row_text(0, 1), "done") != 0 && strcmp(row_text(0, 1), "failed") != 0;
}

/*
 * Enqueues a call. Returns its id, or NULL when the user's customer or account
 * is being created already.
 */
pg_uuid_t *
enqueue_stripe_request(const NewStripeRequest *request, TimestampTz now)
{
	char		nulls[17] = "                ";
	Datum		values[16];
	pg_uuid_t  *id;

	values[0] = CStringGetTextDatum(request->kind);
	values[1] = Int16GetDatum(request->lane);
	values[2] = CStringGetTextDatum(request->method);
	values[3] = CStringGetTextDatum(request->path);
	values[4] = jsonb_from_text(request->params ? request->params : "{}");
	nulls[5] = request->customer_of ? ' ' : 'n';
	values[5] = request->customer_of ? CStringGetTextDatum(request->customer_of) : (Datum) 0;
	values[6] = CStringGetTextDatum(request->api_version ? request->api_version : stripe_api_version);
	nulls[7] = request->waits_for ? ' ' : 'n';
	values[7] = UUIDPGetDatum(request->waits_for);
	nulls[8] = request->order_id ? ' ' : 'n';
	values[8] = UUIDPGetDatum(request->order_id);
	nulls[9] = request->event_id ? ' ' : 'n';
	values[9] = Int32GetDatum(request->event_id);
	nulls[10] = request->user_id ? ' ' : 'n';
	values[10] = request->user_id ? CStringGetTextDatum(request->user_id) : (Datum) 0;
	values[11] = TimestampTzGetDatum(now);
	values[12] = BoolGetDatum(!must_wait(request->waits_for));
	values[13] = CStringGetTextDatum(endpoint_of(request->method, request->path));
	values[14] = text_or_null(request->account_of, &nulls[14]);
	values[15] = text_or_null(request->stripe_account, &nulls[15]);
	if (run_latest(&insert_request, values, nulls) == 0)
		return NULL;
	id = DatumGetUUIDP(uuid_copy(row_datum(0, 1)));
	ring_doorbell();
	return id;
}

/* May this stand in a path, as the id of one of Stripe's objects? */
bool
is_stripe_id(const char *text)
{
	size_t		length = strlen(text);

	return length > 0 && length <= STRIPE_ID_MAX_BYTES &&
		strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == length;
}

/*
 * The user's request of a kind that only reads, if one waits that was never
 * sent: its answer will be as fresh as that of another. NULL: none does.
 */
const pg_uuid_t *
unsent_stripe_request(const char *kind, const char *user_id)
{
	Datum		values[2] = {CStringGetTextDatum(user_id), CStringGetTextDatum(kind)};

	return run_latest(&unsent_request, values, NULL) > 0 ? DatumGetUUIDP(uuid_copy(row_datum(0, 1))) : NULL;
}

static void
append_to_string(void *context, const char *bytes, size_t length)
{
	appendBinaryStringInfo((StringInfo) context, bytes, (int) length);
}

/* Writes one scalar at the form's present place. */
static void
encode_scalar(StripeForm *form, const JsonbValue *value)
{
	const char *text;

	switch (value->type)
	{
		case jbvNull:
			stripe_form_null(form);
			break;
		case jbvString:
			stripe_form_value(form, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
			stripe_form_value(form, text, strlen(text));
			break;
		case jbvBool:
			text = value->val.boolean ? "true" : "false";
			stripe_form_value(form, text, strlen(text));
			break;
		default:
			elog(ERROR, "unexpected jsonb value type %d", value->type);
	}
}

/* Writes an object or array and all below it. */
static void
encode_container(StripeForm *form, JsonbContainer *container)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbValue	value;
	JsonbIteratorToken token;
	uint32		index = 0;

	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			char	   *name = pnstrdup(value.val.string.val, value.val.string.len);

			stripe_form_enter_key(form, name, value.val.string.len);
			continue;
		}
		if (token == WJB_ELEM)
			stripe_form_enter_index(form, index++);
		if (token != WJB_VALUE && token != WJB_ELEM)
			continue;
		if (value.type == jbvBinary)
			encode_container(form, value.val.binary.data);
		else
			encode_scalar(form, &value);
		stripe_form_leave(form);
	}
}

/* Parameters as Stripe's form encoding. */
char *
encode_stripe_form(Jsonb *params)
{
	StringInfoData body;
	StripeForm	form;
	const char *error;

	if (!JB_ROOT_IS_OBJECT(params))
		refuse(BAD_REQUEST, NULL, "Pass an object.", "parameters of a Stripe request are not a JSON object");
	initStringInfo(&body);
	stripe_form_begin(&form, append_to_string, &body);
	encode_container(&form, &params->root);
	error = stripe_form_end(&form);
	if (error != NULL)
		refuse(BAD_REQUEST, NULL, NULL, "could not encode the parameters of a Stripe request: %s", error);
	return body.data;
}

PG_FUNCTION_INFO_V1(dvnt_stripe_form);

/* stripe_form(params) → text; strict */
Datum
dvnt_stripe_form(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(encode_stripe_form(PG_GETARG_JSONB_P(0))));
}
