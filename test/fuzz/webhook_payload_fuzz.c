/*
 * webhook_payload_fuzz.c
 *		Fuzzes strike_client_secrets: the whole input is a webhook's bytes.
 *
 * A finding: JSON in which a client secret is left, or something else is
 * changed, by the reading of a JSON parser; bytes that are no JSON and are
 * changed other than to asterisks, or once more by a second call; a byte
 * beyond the payload is touched.
 */
#include "webhook_payload.h"

#include "fuzz.h"

static const char *const outcomes[] = {"not JSON", "JSON without a secret", "JSON with one secret",
									   "JSON with several"};

/* A parser's way through JSON: what it meets of secrets it strikes out in a copy. */
typedef struct Walk
{
	const char *json;
	size_t      length;
	size_t      place;
	char       *struck;
	size_t      secrets;
} Walk;

static bool walk_value(Walk *walk);

FUZZ_EXPECTS(outcomes)

/* The next byte, or -1 at the end. */
static int
peek(const Walk *walk)
{
	return walk->place < walk->length ? (unsigned char) walk->json[walk->place] : -1;
}

static bool
take(Walk *walk, int c)
{
	if (peek(walk) != c)
		return false;
	walk->place++;
	return true;
}

static void
skip_blanks(Walk *walk)
{
	while (take(walk, ' ') || take(walk, '\t') || take(walk, '\n') || take(walk, '\r'))
		;
}

/* Takes a string; its characters (those above ASCII as '?') go to text, as many as there is room for. */
static bool
walk_string(Walk *walk, char *text, size_t room)
{
	static const char escapes[] = "\"\\/bfnrt";
	static const char meanings[] = "\"\\/\b\f\n\r\t";
	size_t            filled = 0;

	if (!take(walk, '"'))
		return false;
	while (!take(walk, '"'))
	{
		int c = peek(walk);

		if (c < 0x20)
			return false;
		walk->place++;
		if (c == '\\')
		{
			c = peek(walk);
			walk->place++;
			if (c == 'u')
			{
				char          digits[5] = "";
				unsigned long value;

				for (int i = 0; i < 4; i++, walk->place++)
				{
					if (peek(walk) <= 0 || strchr("0123456789abcdefABCDEF", peek(walk)) == NULL)
						return false;
					digits[i] = (char) peek(walk);
				}
				value = strtoul(digits, NULL, 16);
				c = value < 0x80 ? (int) value : '?';
			}
			else
			{
				const char *escape = c <= 0 ? NULL : strchr(escapes, c);

				if (escape == NULL)
					return false;
				c = meanings[escape - escapes];
			}
		}
		if (filled + 1 < room)
			text[filled++] = (char) (c == 0 || c >= 0x80 ? '?' : c);
	}
	text[filled] = '\0';
	return true;
}

static bool
walk_object(Walk *walk)
{
	take(walk, '{');
	skip_blanks(walk);
	if (take(walk, '}'))
		return true;
	for (;;)
	{
		char   key[20];
		size_t start;

		skip_blanks(walk);
		if (!walk_string(walk, key, sizeof(key)))
			return false;
		skip_blanks(walk);
		if (!take(walk, ':'))
			return false;
		skip_blanks(walk);
		start = walk->place + 1;
		if (!walk_value(walk))
			return false;
		if (strcmp(key, "client_secret") == 0 && walk->json[start - 1] == '"')
		{
			memset(walk->struck + start, '*', walk->place - 1 - start);
			walk->secrets++;
		}
		skip_blanks(walk);
		if (take(walk, '}'))
			return true;
		if (!take(walk, ','))
			return false;
	}
}

static bool
walk_array(Walk *walk)
{
	take(walk, '[');
	skip_blanks(walk);
	if (take(walk, ']'))
		return true;
	for (;;)
	{
		skip_blanks(walk);
		if (!walk_value(walk))
			return false;
		skip_blanks(walk);
		if (take(walk, ']'))
			return true;
		if (!take(walk, ','))
			return false;
	}
}

/* Takes a number or a name, not looked at closely: no quote is in it. */
static bool
walk_word(Walk *walk)
{
	size_t start = walk->place;

	while (peek(walk) > 0 && strchr("+-.0123456789abcdefghijklmnopqrstuvwxyzE", peek(walk)) != NULL)
		walk->place++;
	return walk->place > start;
}

static bool
walk_value(Walk *walk)
{
	char text[2];

	switch (peek(walk))
	{
		case '{':
			return walk_object(walk);
		case '[':
			return walk_array(walk);
		case '"':
			return walk_string(walk, text, sizeof(text));
		default:
			return walk_word(walk);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char  *json = exact_copy(data, size);
	char  *again;
	Walk   walk = {(const char *) data, size, 0, exact_copy(data, size), 0};
	size_t struck = strike_client_secrets(json, size);
	bool   is_json;

	for (size_t i = 0; i < size; i++)
		require(json[i] == (char) data[i] || json[i] == '*', "a byte stays or is struck out");
	again = exact_copy(json, size);
	require(strike_client_secrets(again, size) == struck &&
				(size == 0 || memcmp(again, json, size) == 0),
			"nothing is left for a second time");

	skip_blanks(&walk);
	is_json = walk_value(&walk);
	skip_blanks(&walk);
	is_json = is_json && walk.place == size;
	if (is_json)
	{
		require(struck == walk.secrets, "every secret, and nothing else");
		require(memcmp(json, walk.struck, size) == 0, "struck out where a parser finds them");
	}
	outcome_counts[!is_json ? 0 : struck < 2 ? 1 + struck : 3]++;
	free(walk.struck);
	free(again);
	free(json);
	return 0;
}
