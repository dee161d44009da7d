/*
 * answer.c
 *		Writing the JSON that our functions answer, and reading the JSON that
 *		we are sent.
 *
 * Reads and writes no table, takes no lock.
 */
#include "postgres.h"

#include <ctype.h>

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/numeric.h"

#include "dvnt_ticketing.h"

void
answer_begin(Answer *answer)
{
	initStringInfo(&answer->text);
	appendStringInfoChar(&answer->text, '{');
	answer->empty = true;
}

/* Writes the comma, if one is due, and "key":. The caller appends the value. */
void
answer_key(Answer *answer, const char *key)
{
	if (!answer->empty)
		appendStringInfoString(&answer->text, ", ");
	answer->empty = false;
	escape_json(&answer->text, key);
	appendStringInfoString(&answer->text, ": ");
}

/* A string; NULL becomes null. */
void
answer_text(Answer *answer, const char *key, const char *value)
{
	answer_key(answer, key);
	if (value == NULL)
		appendStringInfoString(&answer->text, "null");
	else
		escape_json(&answer->text, value);
}

void
answer_int(Answer *answer, const char *key, int64 value)
{
	answer_key(answer, key);
	appendStringInfo(&answer->text, INT64_FORMAT, value);
}

void
answer_bool(Answer *answer, const char *key, bool value)
{
	answer_key(answer, key);
	appendStringInfoString(&answer->text, value ? "true" : "false");
}

void
answer_uuid(Answer *answer, const char *key, const pg_uuid_t *value)
{
	answer_text(answer, key, value ? uuid_text(value) : NULL);
}

/* A timestamp in ISO 8601. */
void
answer_time(Answer *answer, const char *key, TimestampTz value)
{
	char		buffer[MAXDATELEN + 1];

	JsonEncodeDateTime(buffer, TimestampTzGetDatum(value), TIMESTAMPTZOID, NULL);
	answer_text(answer, key, buffer);
}

/* A timestamp of a row of the last statement; NULL becomes null. */
void
answer_row_time(Answer *answer, const char *key, uint64 row, int column)
{
	if (row_is_null(row, column))
		answer_null(answer, key);
	else
		answer_time(answer, key, DatumGetTimestampTz(row_datum(row, column)));
}

void
answer_null(Answer *answer, const char *key)
{
	answer_text(answer, key, NULL);
}

/* A value that is JSON already. */
void
answer_raw(Answer *answer, const char *key, const char *json)
{
	answer_key(answer, key);
	appendStringInfoString(&answer->text, json);
}

/* The finished object as text. */
const char *
answer_end(Answer *answer)
{
	appendStringInfoChar(&answer->text, '}');
	return answer->text.data;
}

/* The finished object as a jsonb datum. */
Datum
answer_jsonb(Answer *answer)
{
	return jsonb_from_text(answer_end(answer));
}

Datum
jsonb_from_text(const char *json)
{
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
}

/* The value at a path of object keys, NULL when it is not there. */
static JsonbValue *
value_at(Jsonb *json, const char *const *path, int depth)
{
	JsonbContainer *container = &json->root;
	JsonbValue *value = NULL;

	for (int i = 0; i < depth; i++)
	{
		if (!JsonContainerIsObject(container))
			return NULL;
		value = getKeyJsonValueFromContainer(container, path[i], strlen(path[i]), NULL);
		if (value == NULL)
			return NULL;
		if (i < depth - 1)
		{
			if (value->type != jbvBinary)
				return NULL;
			container = value->val.binary.data;
		}
	}
	return value;
}

/* An object at a path, NULL when there is none. */
Jsonb *
json_object_at(Jsonb *json, const char *const *path, int depth)
{
	JsonbValue *value = value_at(json, path, depth);

	if (value == NULL || value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		return NULL;
	return JsonbValueToJsonb(value);
}

/* An array that is a member of an object, NULL when there is none. */
JsonbValue *
json_array_at(Jsonb *json, const char *key)
{
	JsonbValue *value = value_at(json, &key, 1);

	return value != NULL && value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data) ? value : NULL;
}

/* A string at a path, NULL when there is none. */
char *
json_string_at(Jsonb *json, const char *const *path, int depth)
{
	JsonbValue *value = value_at(json, path, depth);

	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* An integer at a path; false when there is none. */
bool
json_int_at(Jsonb *json, const char *const *path, int depth, int64 *result)
{
	JsonbValue *value = value_at(json, path, depth);
	char	   *digits;
	char	   *end;

	if (value == NULL || value->type != jbvNumeric)
		return false;
	digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	errno = 0;
	*result = strtoll(digits, &end, 10);
	return errno == 0 && *end == '\0';
}

/* A boolean at a path; false when there is none. */
bool
json_bool_at(Jsonb *json, const char *const *path, int depth, bool *result)
{
	JsonbValue *value = value_at(json, path, depth);

	if (value == NULL || value->type != jbvBool)
		return false;
	*result = value->val.boolean;
	return true;
}

/*
 * Parses bytes from the network, of which what is not UTF-8 and JSON is an
 * error or NULL.
 */
Jsonb *
parse_json(const char *bytes, size_t length)
{
	if (!pg_verify_mbstr(PG_UTF8, bytes, length, true) || memchr(bytes, '\0', length) != NULL)
		return NULL;
	return DatumGetJsonbP(jsonb_from_text(pg_any_to_server(pnstrdup(bytes, length), length, PG_UTF8)));
}

/*
 * Parses bytes from the network: NULL when they are not UTF-8, not JSON, or
 * JSON that jsonb cannot hold (\u0000). The attempt is a subtransaction of its
 * own, so that a failure leaves no trace.
 */
Jsonb *
parse_json_quietly(const char *bytes, size_t length)
{
	Guard		guard;
	Jsonb	   *volatile result = NULL;

	guarded_begin(&guard);
	PG_TRY();
	{
		result = parse_json(bytes, length);
		guarded_commit(&guard);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(guard.context);
		error = CopyErrorData();
		FlushErrorState();
		guarded_rollback(&guard);
		/* data exceptions are what we look for; anything else is not ours to hide */
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_DATA_EXCEPTION &&
			error->sqlerrcode != ERRCODE_PROGRAM_LIMIT_EXCEEDED &&
			error->sqlerrcode != ERRCODE_STATEMENT_TOO_COMPLEX &&
			error->sqlerrcode != ERRCODE_UNTRANSLATABLE_CHARACTER)
			ReThrowError(error);
		FreeErrorData(error);
		result = NULL;
	}
	PG_END_TRY();
	return result;
}

/* The code unit of an escape \uXXXX at bytes, of which so many are left; -1: there is none. */
static int
escaped_unit(const char *bytes, size_t left)
{
	int			unit = 0;

	if (left < 6 || bytes[0] != '\\' || bytes[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++)
	{
		unsigned char c = bytes[i];

		if (!isxdigit(c))
			return -1;
		unit = unit * 16 + (isdigit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return unit;
}

#define IS_HIGH_SURROGATE(unit) ((unit) >= 0xD800 && (unit) <= 0xDBFF)
#define IS_LOW_SURROGATE(unit) ((unit) >= 0xDC00 && (unit) <= 0xDFFF)

/* Makes escapes that no text of ours can hold, a zero or half a pair, the replacement character; false: there was none. */
static bool
replace_unstorable_escapes(char *bytes, size_t length)
{
	bool		changed = false;

	for (size_t i = 0; i < length; i++)
	{
		int			unit = escaped_unit(bytes + i, length - i);

		if (bytes[i] != '\\')
			continue;
		if (unit < 0)
			i++;				/* another escape: two characters */
		else if (IS_HIGH_SURROGATE(unit) && length - i > 6 && IS_LOW_SURROGATE(escaped_unit(bytes + i + 6, length - i - 6)))
			i += 11;
		else
		{
			if (unit == 0 || IS_HIGH_SURROGATE(unit) || IS_LOW_SURROGATE(unit))
			{
				memcpy(bytes + i + 2, "fffd", 4);
				changed = true;
			}
			i += 5;
		}
	}
	return changed;
}

/*
 * The same for what must not be asked for again and again because of a character
 * that a buyer may have typed.
 */
Jsonb *
parse_answer_quietly(const char *bytes, size_t length)
{
	Jsonb	   *json = parse_json_quietly(bytes, length);
	char	   *copy;

	if (json != NULL)
		return json;
	copy = palloc(length + 1);
	memcpy(copy, bytes, length);
	copy[length] = '\0';
	return replace_unstorable_escapes(copy, length) ? parse_json_quietly(copy, length) : NULL;
}
