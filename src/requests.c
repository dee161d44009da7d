/*
 * requests.c
 *		Request ids: the same id, function and user gets the first answer again
 *		and does nothing.
 *
 * Reads and writes ticketing.requests. The caller holds the user's lock, so
 * that two calls with one id run one after the other.
 */
#include "postgres.h"

#include <openssl/sha.h>

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

KEPT_PLAN(find_answer,
		  "SELECT arguments = $4, answer FROM ticketing.requests "
		  "WHERE user_id = $1 AND function_name = $2 AND request_id = $3",
		  TEXTOID, TEXTOID, TEXTOID, BYTEAOID);
KEPT_PLAN(keep_answer,
		  "INSERT INTO ticketing.requests (user_id, function_name, request_id, arguments, answer, created_at) "
		  "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
		  TEXTOID, TEXTOID, TEXTOID, BYTEAOID, JSONBOID, TIMESTAMPTZOID);

/* Describes a call; arguments is text that differs when the arguments differ. */
void
remembered_call(RememberedCall *call, const char *function_name, const char *user_id,
				const char *request_id, const char *arguments)
{
	call->function_name = function_name;
	call->user_id = user_id;
	call->request_id = request_id;
	call->arguments = NULL;
	if (request_id == NULL)
		return;
	if (request_id[0] == '\0' || strlen(request_id) > 255)
		refuse(BAD_REQUEST, "\"argument\": \"request_id\"", "Use 1 to 255 bytes, a uuid for example.",
			   "request_id is empty or too long");
	call->arguments = palloc(VARHDRSZ + SHA256_DIGEST_LENGTH);
	SET_VARSIZE(call->arguments, VARHDRSZ + SHA256_DIGEST_LENGTH);
	SHA256((const unsigned char *) arguments, strlen(arguments),
		   (unsigned char *) VARDATA(call->arguments));
}

static void
refuse_reuse(const RememberedCall *call)
{
	refuse(REQUEST_ID_REUSED, NULL, "Use a new request id for a new request.",
		   "request id was used for another call of %s", call->function_name);
}

/* The first answer, if this request was answered before. */
bool
recall_answer(RememberedCall *call, Datum *answer)
{
	Datum		values[4];

	if (call->request_id == NULL)
		return false;
	values[0] = CStringGetTextDatum(call->user_id);
	values[1] = CStringGetTextDatum(call->function_name);
	values[2] = CStringGetTextDatum(call->request_id);
	values[3] = PointerGetDatum(call->arguments);
	if (run_latest(&find_answer, values, NULL) == 0)
		return false;
	if (!DatumGetBool(row_datum(0, 1)))
		refuse_reuse(call);
	*answer = row_datum(0, 2);
	return true;
}

/* Keeps the answer, in the transaction that did the work. */
void
remember_answer(RememberedCall *call, Datum answer)
{
	Datum		values[6];

	if (call->request_id == NULL)
		return;
	values[0] = CStringGetTextDatum(call->user_id);
	values[1] = CStringGetTextDatum(call->function_name);
	values[2] = CStringGetTextDatum(call->request_id);
	values[3] = PointerGetDatum(call->arguments);
	values[4] = answer;
	values[5] = TimestampTzGetDatum(engine_now());
	/* the user's lock is per event: the same id at another event meets us here */
	if (run_latest(&keep_answer, values, NULL) == 0)
		refuse_reuse(call);
}
