/*
 * keyring_test.c
 *		Tests of keyring.c.
 *
 * Broken if they fail: which secrets are accepted, which one signs, and
 * whether a faulty key file is refused as a whole without showing a secret.
 */
#include "keyring.h"
#include "tap.h"

#define SECRET "correct horse battery staple 32+ bytes"
#define SECRET_BASE64 "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSAzMisgYnl0ZXM="
#define OTHER_BASE64 "YW5vdGhlciBzZWNyZXQgb2YgMzIgYnl0ZXMgb3Igc28hIQ=="

/* The error of a key file's text, or NULL. */
static const char *
file_error(const char *text, size_t length)
{
	static char error[200];
	Keyring    *ring;

	error[0] = '\0';
	ring = keyring_from_file_text(text, length, error, sizeof(error));
	if (ring == NULL)
		return error;
	keyring_free(ring);
	return NULL;
}

/* The first bytes of a MAC in hexadecimal. */
static const char *
mac_of(Keyring *ring, int key_id, int32_t event_id, const char *message)
{
	static char hex[17];
	uint8_t     mac[KEYRING_MAC_BYTES];

	if (keyring_mac(ring, key_id, event_id, message, strlen(message), mac) != KEYRING_OK)
		return NULL;
	for (int i = 0; i < 8; i++)
		snprintf(hex + 2 * i, 3, "%02x", mac[i]);
	return hex;
}

/* Unset must not become a key, and a short secret must not sign anything. */
static void
test_environment(void)
{
	const char *error = "untouched";
	Keyring    *ring;

	ok(keyring_from_environment(NULL, &error) == NULL && error == NULL, "NULL is unset, no error");
	ok(keyring_from_environment("", &error) == NULL && error == NULL, "empty is unset, no error");
	ok(keyring_from_environment("0123456789012345678901234567890", &error) == NULL,
	   "31 bytes are refused");
	is_text(error, "the secret is shorter than 32 bytes", "and the error says so");

	ring = keyring_from_environment("01234567890123456789012345678901", &error);
	ok(ring != NULL && error == NULL, "32 bytes are a ring");
	is_number(keyring_count(ring), 1, "of one secret");
	is_number(keyring_signing_id(ring), 1, "which signs as key id 1");
	ok(keyring_has(ring, 1) && !keyring_has(ring, 0) && !keyring_has(ring, 2) &&
		   !keyring_has(ring, 255) && !keyring_has(ring, 256) && !keyring_has(ring, -1),
	   "and there is no other");
	keyring_free(ring);
	keyring_free(NULL);
	keyring_reset_cache(NULL);
	is_number(keyring_count(NULL) + keyring_signing_id(NULL) + keyring_has(NULL, 1), 0,
			  "no ring is an empty ring");
}

/* Rotation: a second key must verify, and only the first one may sign. */
static void
test_file(void)
{
	static const char text[] = "# ticket secrets\n"
							   "\n"
							   "  200:" OTHER_BASE64 "\t# since spring\r\n"
							   "\t# the old one\n"
							   "1:" SECRET_BASE64;
	char              error[200];
	Keyring          *ring = keyring_from_file_text(text, sizeof(text) - 1, error, sizeof(error));

	ok(ring != NULL, "comments, blanks, blank lines, CRLF and a missing last newline are read");
	is_number(keyring_count(ring), 2, "both keys are there");
	is_number(keyring_signing_id(ring), 200, "the first line signs");
	ok(keyring_has(ring, 1) && keyring_has(ring, 200), "both verify");
	keyring_free(ring);
	is_text(file_error("255:" SECRET_BASE64 "\n", strlen("255:" SECRET_BASE64 "\n")), NULL,
			"255 is an id");
}

/* A file may be as large as it likes, and is read no further than its length. */
static void
test_file_bounds(void)
{
	static char text[300 * 80];
	char        error[200];
	size_t      length = 0;
	Keyring    *ring;

	for (int key_id = 255; key_id >= 1; key_id--)
		length += (size_t) snprintf(text + length, sizeof(text) - length,
									"%d:" SECRET_BASE64 "\n# %d\n", key_id, key_id);
	ring = keyring_from_file_text(text, length, error, sizeof(error));
	is_number(keyring_count(ring), 255, "all 255 ids in one file");
	is_number(keyring_signing_id(ring), 255, "of which the first line signs, not the lowest id");
	keyring_free(ring);
	length += (size_t) snprintf(text + length, sizeof(text) - length, "7:" OTHER_BASE64 "\n");
	is_text(file_error(text, length), "line 511: this key id occurs twice",
			"a mistake in the last line breaks it all");

	is_text(file_error("1:" SECRET_BASE64 "2:", strlen("1:" SECRET_BASE64)), NULL,
			"what stands behind the end is not read");
	is_text(file_error("1:" SECRET_BASE64, strlen("1:" SECRET_BASE64) - 2),
			"line 1: the secret is not standard base64 with padding", "a line that was cut");
	is_text(file_error("1:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=",
					   strlen("1:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")),
			NULL, "32 bytes are enough");
	is_text(file_error("1:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==",
					   strlen("1:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQQ==")),
			"line 1: the secret is shorter than 32 bytes", "31 are not");

	memset(error, '!', sizeof(error));
	ok(keyring_from_file_text("x", 1, error, 8) == NULL && strcmp(error, "line 1:") == 0 &&
		   error[8] == '!',
	   "a message is cut to the room that it has");
}

/* A faulty file must break as a whole, name its line, and show nothing of its content. */
static void
test_file_errors(void)
{
#define EXPECTED_ID "expected id:base64 with an id from 1 to 255"
#define EXPECTED_BASE64 "the secret is not standard base64 with padding"
	static const struct
	{
		const char *text;
		const char *error;
		const char *description;
	} cases[] = {
		{"", "the file has no key", "an empty file"},
		{"# nothing\n\n", "the file has no key", "a file of comments"},
		{"0:" SECRET_BASE64, "line 1: " EXPECTED_ID, "key id 0"},
		{"256:" SECRET_BASE64, "line 1: " EXPECTED_ID, "key id 256"},
		{"1000:" SECRET_BASE64, "line 1: " EXPECTED_ID, "key id 1000"},
		{"01:" SECRET_BASE64, "line 1: " EXPECTED_ID, "a leading zero"},
		{"-1:" SECRET_BASE64, "line 1: " EXPECTED_ID, "a sign"},
		{"1 :" SECRET_BASE64, "line 1: " EXPECTED_ID, "a blank before the colon"},
		{":" SECRET_BASE64, "line 1: " EXPECTED_ID, "no id"},
		{"1", "line 1: " EXPECTED_ID, "no colon"},
		{SECRET_BASE64, "line 1: " EXPECTED_ID, "no id and no colon"},
		{"\n#\n1:" SECRET_BASE64 "\n\n1:" OTHER_BASE64 "\n", "line 5: this key id occurs twice",
		 "a duplicate id"},
		{"1:" SECRET_BASE64 "\n2:\n", "line 2: " EXPECTED_BASE64, "an empty secret"},
		{"1: " SECRET_BASE64, "line 1: " EXPECTED_BASE64, "a blank after the colon"},
		{"1:c2hvcnQ=", "line 1: the secret is shorter than 32 bytes", "a short secret"},
		{"1:Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSAzMisgYnl0ZXM", "line 1: " EXPECTED_BASE64,
		 "missing padding"},
		{"1:Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSAzMisgYnl0ZXN=", "line 1: " EXPECTED_BASE64,
		 "trailing bits that are not zero"},
		{"1:____cmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSAzMisgYnl0ZXM=", "line 1: " EXPECTED_BASE64,
		 "the URL alphabet"},
		{"1:Y29y=mVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSAzMisgYnl0ZXM=", "line 1: " EXPECTED_BASE64,
		 "padding in the middle"},
		{"1:====", "line 1: " EXPECTED_BASE64, "nothing but padding"},
		{"1:" SECRET_BASE64 "#comment", "line 1: " EXPECTED_BASE64, "a comment without a blank"},
		{"\xEF\xBB\xBF" "1:" SECRET_BASE64, "line 1: " EXPECTED_ID, "a byte order mark"},
		{"1:" SECRET_BASE64 "\n2:" OTHER_BASE64 "\n3", "line 3: " EXPECTED_ID,
		 "a last line without its end"},
		{"1:" SECRET_BASE64 " 2:" OTHER_BASE64, "line 1: " EXPECTED_BASE64, "two keys on a line"},
	};
	static const char with_nul[] = "1:" SECRET_BASE64 "\0\n";

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		is_text(file_error(cases[i].text, strlen(cases[i].text)), cases[i].error,
				cases[i].description);
	is_text(file_error(with_nul, sizeof(with_nul) - 1), "line 1: " EXPECTED_BASE64, "a NUL byte");
}

/* What is found in the cache must be of this key and event, not of one that lies beside it. */
static void
test_cache(void)
{
	Keyring    *rings[2] = {keyring_create(), keyring_create()}; /* with the cache, and without */
	int         wrong = 0;
	const char *error;

	for (int key_id = 1; key_id <= KEYRING_MAX_ID; key_id++)
	{
		uint8_t secret[KEYRING_SECRET_MIN_BYTES];

		memset(secret, key_id, sizeof(secret));
		for (int i = 0; i < 2; i++)
			keyring_add(rings[i], key_id, secret, sizeof(secret), &error);
	}
	for (int32_t event = 0; event < 20; event++)
		for (int key_id = 1; key_id <= KEYRING_MAX_ID; key_id++)
		{
			char cached[17];

			snprintf(cached, sizeof(cached), "%s", mac_of(rings[0], key_id, event, "message"));
			keyring_reset_cache(rings[1]);
			if (strcmp(cached, mac_of(rings[1], key_id, event, "message")) != 0)
				wrong++;
		}
	is_number(wrong, 0, "255 keys and 20 events give the same MACs with the cache and without");
	keyring_free(rings[0]);
	keyring_free(rings[1]);
}

/* Derived keys must differ by key, event and suite, and survive a full cache. */
static void
test_derivation(void)
{
	static const char    text[] = "1:" SECRET_BASE64 "\n200:" OTHER_BASE64 "\n";
	char                 error[200];
	char                 first[17];
	uint8_t              mac[KEYRING_MAC_BYTES];
	uint8_t              public_key[KEYRING_ED25519_PUBLIC_KEY_BYTES];
	uint8_t              other_public_key[KEYRING_ED25519_PUBLIC_KEY_BYTES];
	uint8_t              signature[KEYRING_ED25519_SIGNATURE_BYTES];
	static const uint8_t expected_public_key[] = {0xfc, 0xc4, 0x4c, 0x60, 0x77, 0xee, 0x4b, 0xd9,
												  0x5b, 0x02, 0x4f, 0xc8, 0xf4, 0x02, 0x70, 0x74,
												  0xde, 0x20, 0xac, 0x3b, 0x18, 0x9a, 0xb2, 0x5f,
												  0x55, 0x83, 0x6c, 0xe5, 0x38, 0xc4, 0xe1, 0x32};
	Keyring *ring = keyring_from_file_text(text, sizeof(text) - 1, error, sizeof(error));
	bool     stable = true;

	snprintf(first, sizeof(first), "%s", mac_of(ring, 1, 7, "message"));
	ok(strcmp(first, mac_of(ring, 200, 7, "message")) != 0, "another key, another MAC");
	ok(strcmp(first, mac_of(ring, 1, 8, "message")) != 0, "another event, another MAC");
	ok(strcmp(first, mac_of(ring, 1, -7, "message")) != 0, "an event id may be negative");
	is_text(mac_of(ring, 1, 7, "message"), first, "the same twice");
	ok(mac_of(ring, 2, 7, "message") == NULL, "an unknown key has none");
	is_number(keyring_mac(ring, 0, 7, "", 0, mac), KEYRING_UNKNOWN_KEY, "nor has key id 0");

	for (int32_t event = -3000; event < 3000; event++)
	{
		char before[17];

		snprintf(before, sizeof(before), "%s", mac_of(ring, 1, event, "message"));
		stable &= strcmp(mac_of(ring, 1, 7, "message"), first) == 0;
		stable &= strcmp(mac_of(ring, 1, event, "message"), before) == 0;
	}
	ok(stable, "6,000 events through a cache of 1,024 places give the same MACs");
	keyring_reset_cache(ring);
	is_text(mac_of(ring, 1, 7, "message"), first, "the same after the cache is forgotten");

	is_number(keyring_ed25519_public_key(ring, 1, 7, public_key), KEYRING_OK, "a public key");
	ok(memcmp(public_key, expected_public_key, sizeof(public_key)) == 0,
	   "is what another implementation derives");
	is_number(keyring_ed25519_public_key(ring, 1, 8, other_public_key), KEYRING_OK,
			  "a public key of another event");
	ok(memcmp(public_key, other_public_key, sizeof(public_key)) != 0, "is another one");
	is_number(keyring_ed25519_public_key(ring, 3, 7, public_key), KEYRING_UNKNOWN_KEY,
			  "an unknown key has no public key");

	is_number(keyring_ed25519_sign(ring, 1, 7, "message", 7, signature), KEYRING_OK, "signed");
	is_number(keyring_ed25519_verify(ring, 1, 7, "message", 7, signature), KEYRING_OK, "verified");
	is_number(keyring_ed25519_verify(ring, 1, 7, "Message", 7, signature), KEYRING_BAD_SIGNATURE,
			  "not of another message");
	is_number(keyring_ed25519_verify(ring, 1, 8, "message", 7, signature), KEYRING_BAD_SIGNATURE,
			  "not of another event");
	is_number(keyring_ed25519_verify(ring, 200, 7, "message", 7, signature), KEYRING_BAD_SIGNATURE,
			  "not of another key");
	is_number(keyring_ed25519_verify(ring, 9, 7, "message", 7, signature), KEYRING_UNKNOWN_KEY,
			  "not of an unknown key");
	keyring_free(ring);
}

int
main(void)
{
	test_environment();
	test_file();
	test_file_bounds();
	test_file_errors();
	test_cache();
	test_derivation();
	return done_testing();
}
