/*
 * webhook_payload_test.c
 *		Tests of webhook_payload.c.
 *
 * Broken if they fail: a client secret, by which anybody can confirm a
 * payment, is kept in the database, or a stored payload is damaged.
 */
#include "webhook_payload.h"

#include <stdint.h>
#include <stdlib.h>

#include "tap.h"

/* One test: striking turns this text into that one. */
static void
check_strike(const char *before, const char *after, size_t expected, const char *description)
{
	char   text[400];
	size_t struck;

	snprintf(text, sizeof(text), "%s", before);
	struck = strike_client_secrets(text, strlen(text));
	is_text(text, after, description);
	if (struck != expected)
		ok(false, "%s: struck %zu, expected %zu", description, struck, expected);
}

/* Every secret must go, wherever it stands and however its key is written. */
static void
test_struck(void)
{
	check_strike("{\"client_secret\":\"pi_1_secret_2\"}", "{\"client_secret\":\"*************\"}",
				 1, "a secret");
	check_strike("{\"client_secret\" \t\r\n:\n \"x\"}", "{\"client_secret\" \t\r\n:\n \"*\"}", 1,
				 "white space around the colon");
	check_strike("{\"data\":{\"object\":{\"id\":\"pi_1\",\"client_secret\":\"ab\",\"n\":1}}}",
				 "{\"data\":{\"object\":{\"id\":\"pi_1\",\"client_secret\":\"**\",\"n\":1}}}", 1,
				 "at any depth");
	check_strike("[{\"client_secret\":\"a\"},{\"client_secret\":\"b\"}]",
				 "[{\"client_secret\":\"*\"},{\"client_secret\":\"*\"}]", 2, "each of several");
	check_strike("{\"client_secret\":\"a\\\"b\\\\\",\"c\":\"d\"}",
				 "{\"client_secret\":\"******\",\"c\":\"d\"}", 1, "a value with escapes");
	check_strike("{\"client_secret\":\"\",\"c\":\"d\"}", "{\"client_secret\":\"\",\"c\":\"d\"}", 1,
				 "an empty value");
	check_strike("{\"client\\u005fsecret\":\"a\"}", "{\"client\\u005fsecret\":\"*\"}", 1,
				 "an escape in the key");
	check_strike("{\"\\u0063lient\\u005Fsecre\\u0074\":\"a\"}",
				 "{\"\\u0063lient\\u005Fsecre\\u0074\":\"*\"}", 1, "several escapes in the key");
	check_strike("{\"a\":\"\\\\\",\"client_secret\":\"b\"}",
				 "{\"a\":\"\\\\\",\"client_secret\":\"*\"}", 1,
				 "after a string that ends in a backslash");
	check_strike("{\"client_secret\":\"client_secret\"}", "{\"client_secret\":\"*************\"}",
				 1, "a value that is the key's name");
	check_strike("{\"client_secret\":\"\303\244\"}", "{\"client_secret\":\"**\"}", 1,
				 "a value of more bytes than characters");
}

/* Everything else must stay as Stripe sent it. */
static void
test_untouched(void)
{
	static const char *const texts[] = {
		"",
		"{}",
		"{\"id\":\"client_secret\",\"b\":\"c\"}",
		"[\"client_secret\",\"c\"]",
		"{\"client_secret\":null,\"c\":\"d\"}",
		"{\"client_secret\":17,\"c\":\"d\"}",
		"{\"client_secret\":{\"a\":\"b\"}}",
		"{\"client_secrets\":\"a\",\"a_client_secret\":\"b\",\"client_secre\":\"c\"}",
		"{\"Client_Secret\":\"a\"}",
		"{\"client\\_secret\":\"a\"}",
		"{\"client\\u015fsecret\":\"a\"}",
		"{\"client\\u005gsecret\":\"a\"}",
		"{\"description\":\"say \\\"client_secret\\\":\\\"x\\\" aloud\"}",
		"{\"description\":\"{\\\"client_secret\\\": \\\"x\\\"}\",\"a\":\"b\"}",
		"client_secret:x",
		"\"client_secret\"",
		"\"client_secret\":",
		"\"client_secret\"x\"y\"",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		check_strike(texts[i], texts[i], 0, texts[i]);
}

/* No bytes, however cut, may lead outside of the buffer; a cut secret must go, too. */
static void
test_any_bytes(void)
{
	static const char whole[] =
		"{\"a\":\"\\\\\",\"client\\u005fsecret\" : \"pi_\\\"s\\u0065cret\"}";
	static const char alphabet[] = "\"\\:u005f \n{client_secret}\0\377";
	size_t            value = (size_t) (strstr(whole, "pi_") - whole);
	uint64_t          random = 88172645463325252u;
	bool              safe = true;

	for (size_t length = 0; length < sizeof(whole); length++)
	{
		char  *cut = malloc(length + 1); /* of this size, so that a sanitizer sees the end */
		size_t struck;

		memcpy(cut, whole, length);
		struck = strike_client_secrets(cut, length);
		safe &= struck == (length >= value);
		for (size_t i = 0; i < length; i++)
			safe &= i < value || i >= sizeof(whole) - 3 ? cut[i] == whole[i] : cut[i] == '*';
		free(cut);
	}
	ok(safe, "a payload cut anywhere keeps nothing of its secret, and the rest as it was");

	for (int round = 0; round < 200000; round++)
	{
		size_t length;
		char  *bytes;

#define NEXT (random ^= random << 13, random ^= random >> 7, random ^= random << 17)
		length = NEXT % 40;
		bytes = malloc(length + 1);
		for (size_t i = 0; i < length; i++)
			bytes[i] = alphabet[NEXT % (sizeof(alphabet) - 1)];
		strike_client_secrets(bytes, length);
		free(bytes);
	}
	ok(true, "200,000 random texts are survived");
}

int
main(void)
{
	test_struck();
	test_untouched();
	test_any_bytes();
	return done_testing();
}
