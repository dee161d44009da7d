/*
 * webhook_payload.c
 *		Owns what is done to a webhook's bytes before they are stored: client
 *		secrets are struck out.
 *
 * Works on the bytes as they are, because a payload that does not parse is
 * stored, too.  A key may be written with escapes (client\u005fsecret): it is
 * compared as it would be read.  What merely looks like a key inside another
 * string is left alone.
 *
 * Tables: none.  Locks: none.
 */
#include "webhook_payload.h"

#include <stdbool.h>
#include <string.h>

#define STRUCK_OUT '*'

static const char secret_key[] = "client_secret";

/* The place of the quote that ends a string, or the length when none does. */
static size_t
find_string_end(const char *json, size_t length, size_t place)
{
	while (place < length && json[place] != '"')
		place += json[place] == '\\' ? 2 : 1;
	return place < length ? place : length;
}

/* The first place that is not JSON's white space. */
static size_t
skip_white_space(const char *json, size_t length, size_t place)
{
	while (place < length && (json[place] == ' ' || json[place] == '\t' || json[place] == '\n' ||
							  json[place] == '\r'))
		place++;
	return place;
}

/* The value of a hexadecimal digit, or -1. */
static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Reads one character of a string, an escape \uXXXX included; -1 for what no key of ours has. */
static int
read_character(const char *json, size_t end, size_t *place)
{
	int value = 0;

	if (json[*place] != '\\')
		return (unsigned char) json[(*place)++];
	if (end - *place < 6 || json[*place + 1] != 'u')
		return -1;
	for (size_t i = *place + 2; i < *place + 6; i++)
	{
		int digit = hex_digit(json[i]);

		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	*place += 6;
	return value;
}

/* Is the string between these places, without its quotes, our key? */
static bool
is_secret_key(const char *json, size_t start, size_t end)
{
	const char *expected = secret_key;

	while (start < end && *expected != '\0')
		if (read_character(json, end, &start) != *expected++)
			return false;
	return start == end && *expected == '\0';
}

/* Overwrites every string that is the value of a key client_secret; returns how many. */
size_t
strike_client_secrets(char *json, size_t length)
{
	size_t struck = 0;
	size_t place = 0;

	while (place < length)
	{
		size_t start;
		size_t end;

		if (json[place++] != '"')
			continue;
		start = place;
		end = find_string_end(json, length, start);
		place = end < length ? end + 1 : length;
		if (!is_secret_key(json, start, end))
			continue;

		start = skip_white_space(json, length, place);
		if (start == length || json[start] != ':')
			continue;
		start = skip_white_space(json, length, start + 1);
		if (start == length || json[start] != '"')
			continue;
		end = find_string_end(json, length, ++start);
		memset(json + start, STRUCK_OUT, end - start);
		place = end < length ? end + 1 : length;
		struck++;
	}
	return struck;
}
