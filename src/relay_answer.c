/*
 * relay_answer.c
 *		What an answer of Stripe's says, before it is known whose it is: good or
 *		not, to be tried again or never, and what of it is kept.
 *
 * Reads and writes no table, takes no lock.
 */
#include "postgres.h"

#include "dvnt_ticketing.h"
#include "relay_answer.h"

static bool
header_is(const Completion *completion, const char *name, const char *value)
{
	char	   *found = json_string_at(completion->headers, JSON_PATH(name));

	return found != NULL && pg_strcasecmp(found, value) == 0;
}

/* What Stripe said went wrong, as we keep it. */
const char *
error_json(const Completion *completion)
{
	static const char *const fields[] = {"type", "code", "decline_code", "param", "message"};
	Answer		error;

	answer_begin(&error);
	answer_int(&error, "http_status", completion->status);
	if (completion->answer != NULL)
		for (size_t i = 0; i < lengthof(fields); i++)
		{
			char	   *value = json_string_at(completion->answer, JSON_PATH("error", fields[i]));

			if (value != NULL)
				answer_text(&error, fields[i], value);
		}
	else if (completion->status == 0)
		answer_text(&error, "message", json_string_at(completion->headers, JSON_PATH("error")));
	return answer_end(&error);
}

/* Copies a member of one object into another that is being made, if it is of the type. */
static void
keep_member(JsonbParseState **kept, Jsonb *from, const char *name, enum jbvType type)
{
	JsonbValue	space;
	JsonbValue *value = getKeyJsonValueFromContainer(&from->root, name, strlen(name), &space);
	JsonbValue	key;

	if (value == NULL || value->type != type)
		return;
	key.type = jbvString;
	key.val.string.val = (char *) name;
	key.val.string.len = strlen(name);
	pushJsonbValue(kept, WJB_KEY, &key);
	pushJsonbValue(kept, WJB_VALUE, value);
}

/* The same for an object of one string. */
static void
keep_inner(JsonbParseState **kept, Jsonb *from, const char *name, const char *inner)
{
	Jsonb	   *object = json_object_at(from, &name, 1);
	JsonbValue	key;

	if (object == NULL || json_string_at(object, JSON_PATH(inner)) == NULL)
		return;
	key.type = jbvString;
	key.val.string.val = (char *) name;
	key.val.string.len = strlen(name);
	pushJsonbValue(kept, WJB_KEY, &key);
	pushJsonbValue(kept, WJB_BEGIN_OBJECT, NULL);
	keep_member(kept, object, inner, jbvString);
	pushJsonbValue(kept, WJB_END_OBJECT, NULL);
}

/* The fields of a good answer that are kept; secrets are not among them. */
Datum
kept_answer(Jsonb *body)
{
	static const char *const texts[] = {"id", "object", "status", "payment_status", "currency", "customer", "latest_charge", "payment_intent", "failure_reason", "transfer_reversal"};
	static const char *const numbers[] = {"amount", "amount_received", "created"};
	JsonbParseState *kept = NULL;

	pushJsonbValue(&kept, WJB_BEGIN_OBJECT, NULL);
	if (JB_ROOT_IS_OBJECT(body))
	{
		for (size_t i = 0; i < lengthof(texts); i++)
			keep_member(&kept, body, texts[i], jbvString);
		for (size_t i = 0; i < lengthof(numbers); i++)
			keep_member(&kept, body, numbers[i], jbvNumeric);
		keep_member(&kept, body, "livemode", jbvBool);
		keep_inner(&kept, body, "transfer_data", "destination");
		keep_inner(&kept, body, "metadata", "order_id");
	}
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&kept, WJB_END_OBJECT, NULL)));
}

/* What becomes of a request, by its answer. */
Verdict
judge_answer(const Completion *completion)
{
	int			status = completion->status;
	char	   *code;
	bool		tls;
	bool		refused;

	if (status == 0 && json_bool_at(completion->headers, JSON_PATH("refused"), &refused) && refused)
		return ANSWER_FAILED;	/* the relay cannot send what is in the row */
	if (status == 0)
		return json_bool_at(completion->headers, JSON_PATH("tls"), &tls) && tls ? ANSWER_STOP : ANSWER_RETRY;
	if (status >= 200 && status < 300)
		return completion->answer != NULL ? ANSWER_GOOD : ANSWER_RETRY;
	code = completion->answer ? json_string_at(completion->answer, JSON_PATH("error", "code")) : NULL;
	if (status == 403 && code != NULL && strcmp(code, "account_invalid") == 0)
		return ANSWER_FAILED;	/* the key is good, but not for this connected account */
	if (status == 401 || status == 403)
		return ANSWER_STOP;
	if (status == 429)
		return code != NULL && strcmp(code, "lock_timeout") == 0 ? ANSWER_RETRY : ANSWER_PAUSE;
	if (status >= 500 && header_is(completion, "idempotent-replayed", "true"))
		return ANSWER_RETRY_NEW_KEY;
	if (header_is(completion, "stripe-should-retry", "true"))
		return ANSWER_RETRY;
	if (header_is(completion, "stripe-should-retry", "false"))
		return ANSWER_FAILED;
	return status == 409 || status >= 500 ? ANSWER_RETRY : ANSWER_FAILED;
}

/* Seconds that Stripe asked to wait, or 0. */
double
retry_after(const Completion *completion)
{
	char	   *value = json_string_at(completion->headers, JSON_PATH("retry-after"));
	char	   *end;
	double		seconds;

	if (value == NULL)
		return 0;
	seconds = strtod(value, &end);
	return end == value || *end != '\0' || !(seconds > 0) ? 0 : seconds;
}
