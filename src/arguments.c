/*
 * arguments.c
 *		Reading a function's arguments, and small conversions of them.
 *
 * Reads and writes no table, takes no lock.
 */
#include "postgres.h"

#include <openssl/sha.h>

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "dvnt_ticketing.h"

/* Refuses a NULL argument. */
void
require_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	if (PG_ARGISNULL(number))
		refuse(BAD_REQUEST, psprintf("\"argument\": \"%s\"", name), "Give the argument a value.",
			   "argument %s is NULL", name);
}

/* A needed text argument as a C string; empty is as bad as NULL. */
char *
text_argument(FunctionCallInfo fcinfo, int number, const char *name)
{
	char	   *value;

	require_argument(fcinfo, number, name);
	value = text_to_cstring(PG_GETARG_TEXT_PP(number));
	if (value[0] == '\0')
		refuse(BAD_REQUEST, psprintf("\"argument\": \"%s\"", name), "Give the argument a value.",
			   "argument %s is empty", name);
	return value;
}

/* A text argument, NULL for NULL. */
char *
optional_text(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(number));
}

/* A uuid as its 36 characters. */
char *
uuid_text(const pg_uuid_t *id)
{
	static const char digits[] = "0123456789abcdef";
	char	   *text = palloc(37);
	char	   *next = text;

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*next++ = '-';
		*next++ = digits[id->data[i] >> 4];
		*next++ = digits[id->data[i] & 15];
	}
	*next = '\0';
	return text;
}

/* Reads a uuid in its usual form, 8-4-4-4-12 hex digits; false for anything else. */
bool
uuid_from_text(const char *text, size_t length, pg_uuid_t *id)
{
	int			byte = 0;

	if (length != 36)
		return false;
	for (size_t i = 0; i < length;)
	{
		unsigned char value;

		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (text[i++] != '-')
				return false;
			continue;
		}
		value = 0;
		for (int digit = 0; digit < 2; digit++, i++)
		{
			char		c = text[i];

			value <<= 4;
			if (c >= '0' && c <= '9')
				value |= c - '0';
			else if (c >= 'a' && c <= 'f')
				value |= c - 'a' + 10;
			else if (c >= 'A' && c <= 'F')
				value |= c - 'A' + 10;
			else
				return false;
		}
		id->data[byte++] = value;
	}
	return true;
}

/*
 * A new uuid of version 7 (RFC 9562, with a finer time in rand_a): rows made
 * one after another lie side by side in their indexes, however large these are.
 * 62 bits are random; they are fetched for many at once, for ids are no secrets.
 */
pg_uuid_t *
new_uuid(void)
{
	static uint8 random_bytes[64 * 8];
	static int	unused = 0;
	pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));
	uint64		microseconds = (uint64) (GetCurrentTimestamp() + (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY);
	uint64		milliseconds = microseconds / 1000;
	uint32		fraction = (uint32) (microseconds % 1000) * 4096 / 1000;

	if (unused == 0)
	{
		if (!pg_strong_random(random_bytes, sizeof(random_bytes)))
			ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
		unused = 64;
	}
	unused--;
	for (int i = 0; i < 6; i++)
		id->data[i] = (uint8) (milliseconds >> (40 - 8 * i));
	id->data[6] = 0x70 | (uint8) (fraction >> 8);
	id->data[7] = (uint8) fraction;
	memcpy(id->data + 8, random_bytes + unused * 8, 8);
	id->data[8] = (id->data[8] & 0x3f) | 0x80;
	return id;
}

/* A uuid that outlives the row it was read from. */
Datum
uuid_copy(Datum value)
{
	pg_uuid_t  *copy = palloc(sizeof(pg_uuid_t));

	memcpy(copy, DatumGetUUIDP(value), sizeof(pg_uuid_t));
	return UUIDPGetDatum(copy);
}

/* One-dimensional arrays for statements. */
Datum
text_array(Datum *elements, int count)
{
	return PointerGetDatum(construct_array(elements, count, TEXTOID, -1, false, TYPALIGN_INT));
}

Datum
uuid_array(Datum *elements, int count)
{
	return PointerGetDatum(construct_array(elements, count, UUIDOID, UUID_LEN, false, TYPALIGN_CHAR));
}

/* The same of any type, with NULLs. */
Datum
array_with_nulls(Datum *elements, bool *nulls, int count, Oid type)
{
	int16		length;
	bool		by_value;
	char		align;
	int			bounds[1] = {1};

	get_typlenbyvalalign(type, &length, &by_value, &align);
	return PointerGetDatum(construct_md_array(elements, nulls, 1, &count, bounds, type, length, by_value, align));
}

/* For qsort and bsearch: of uuids, and of what begins with one. */
int
compare_uuids(const void *a, const void *b)
{
	return memcmp(a, b, UUID_LEN);
}

/* SHA-256 in lower-case hex. */
char *
sha256_hex(const void *bytes, size_t length)
{
	unsigned char digest[SHA256_DIGEST_LENGTH];
	char	   *hex = palloc(2 * SHA256_DIGEST_LENGTH + 1);

	SHA256(bytes, length, digest);
	for (int i = 0; i < SHA256_DIGEST_LENGTH; i++)
		sprintf(hex + 2 * i, "%02x", digest[i]);
	return hex;
}

/* A text value for a statement, where NULL may be; sets its place in the nulls. */
Datum
text_or_null(const char *value, char *null)
{
	*null = value ? ' ' : 'n';
	return value ? CStringGetTextDatum(value) : (Datum) 0;
}
