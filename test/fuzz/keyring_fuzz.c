/*
 * keyring_fuzz.c
 *		Fuzzes keyring_from_file_text: the whole input is a key file.
 *
 * A finding: a file is taken or refused that the rules say otherwise of, a
 * secret is not the one of its line, a message is not one of the known texts
 * (it might show a secret), a byte beyond the text or the message is touched.
 */
#include "keyring.h"

#include <openssl/evp.h>

#include "fuzz.h"

#define EXPECTED_ID "expected id:base64 with an id from 1 to 255"
#define EXPECTED_BASE64 "the secret is not standard base64 with padding"

static const char *const outcomes[] = {"taken",     "no key",   "no id",
									   "no base64", "id twice", "too short"};

FUZZ_EXPECTS(outcomes)

/* The keys of a file by a plain reading of it, in their order. */
static struct
{
	int count;
	struct
	{
		int      id;
		uint8_t *secret;
		size_t   size;
	} keys[KEYRING_MAX_ID];
} reading;

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Decodes by OpenSSL, which is lenient; strict, because encoding must give the text again. */
static uint8_t *
decode(const char *text, size_t length, size_t *size)
{
	uint8_t *bytes = malloc(length + 4);
	char    *again = malloc(length + 8);
	int      decoded = EVP_DecodeBlock(bytes, (const uint8_t *) text, (int) length);
	bool     same = false;

	if (length > 0 && decoded >= 3)
	{
		*size = (size_t) decoded;
		for (size_t i = length; i > length - 2 && text[i - 1] == '='; i--)
			(*size)--;
		EVP_EncodeBlock((uint8_t *) again, bytes, (int) *size);
		same = strlen(again) == length && memcmp(again, text, length) == 0;
	}
	free(again);
	if (!same)
	{
		free(bytes);
		return NULL;
	}
	return bytes;
}

/* Reads one line by the rules; what is wrong with it, as a place in outcomes, or 0. */
static int
read_line(const char *line, size_t length)
{
	size_t   start = 0;
	size_t   end = 0;
	int      key_id = 0;
	size_t   digits = 0;
	size_t   size;
	uint8_t *secret;
	int      mistake = 0;

	while (end < length && !(line[end] == '#' && (end == 0 || is_blank(line[end - 1]))))
		end++;
	while (start < end && is_blank(line[start]))
		start++;
	while (end > start && is_blank(line[end - 1]))
		end--;
	if (start == end)
		return 0;
	while (start + digits < end && line[start + digits] >= '0' && line[start + digits] <= '9')
		digits++;
	for (size_t i = 0; i < digits && i < 4; i++)
		key_id = key_id * 10 + (line[start + i] - '0');
	if (digits < 1 || digits > 3 || line[start] == '0' || key_id > 255 || start + digits == end ||
		line[start + digits] != ':')
		return 2;
	start += digits + 1;
	secret = decode(line + start, end - start, &size);
	if (secret == NULL)
		return 3;
	for (int i = 0; i < reading.count; i++)
		if (reading.keys[i].id == key_id)
			mistake = 4;
	if (mistake == 0 && size < 32)
		mistake = 5;
	if (mistake != 0)
	{
		free(secret);
		return mistake;
	}
	reading.keys[reading.count].id = key_id;
	reading.keys[reading.count].secret = secret;
	reading.keys[reading.count++].size = size;
	return 0;
}

/* Reads a key file by the rules; what is wrong with it, and the message that must say so. */
static int
read_plainly(const char *text, size_t length, char message[200])
{
	static const char *const mistakes[] = {NULL,
										   NULL,
										   EXPECTED_ID,
										   EXPECTED_BASE64,
										   "this key id occurs twice",
										   "the secret is shorter than 32 bytes"};
	int                      number = 0;

	reading.count = 0;
	for (size_t next, start = 0; start < length; start = next + 1)
	{
		int mistake;

		for (next = start; next < length && text[next] != '\n';)
			next++;
		number++;
		mistake = read_line(text + start, next - start);
		if (mistake > 0)
		{
			snprintf(message, 200, "line %d: %s", number, mistakes[mistake]);
			return mistake;
		}
	}
	if (reading.count > 0)
		return 0;
	snprintf(message, 200, "the file has no key");
	return 1;
}

/* A ring must have the keys that were read, and sign with the first. */
static void
check_keys(Keyring *ring)
{
	Keyring    *expected = keyring_create();
	int         found = 0;
	const char *error;

	for (int i = 0; i < reading.count; i++)
		require(keyring_add(expected, reading.keys[i].id, reading.keys[i].secret,
							reading.keys[i].size, &error),
				"a good secret is added");
	require(keyring_count(ring) == reading.count, "as many keys");
	require(keyring_signing_id(ring) == reading.keys[0].id, "the first one signs");
	for (int key_id = -1; key_id <= KEYRING_MAX_ID + 1; key_id++)
		found += keyring_has(ring, key_id);
	require(found == reading.count, "no other id is known");
	for (int i = 0; i < reading.count; i++)
	{
		uint8_t mac[KEYRING_MAC_BYTES];
		uint8_t expected_mac[KEYRING_MAC_BYTES];

		require(keyring_mac(ring, reading.keys[i].id, 7, "x", 1, mac) == KEYRING_OK &&
					keyring_mac(expected, reading.keys[i].id, 7, "x", 1, expected_mac) ==
						KEYRING_OK &&
					memcmp(mac, expected_mac, sizeof(mac)) == 0,
				"each id with the secret of its line");
	}
	keyring_free(expected);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	/* the room for the message differs, so that it is cut off as well */
	size_t   room = size % 5 == 0 ? 1 + size % 60 : 200;
	char    *text = exact_copy(data, size);
	char    *message = malloc(room);
	char     expected_message[200];
	int      outcome = read_plainly(text, size, expected_message);
	Keyring *ring;

	require(message != NULL, "there is memory");
	ring = keyring_from_file_text(text, size, message, room);
	require((ring != NULL) == (outcome == 0), "taken if every line is good");
	if (ring != NULL)
		check_keys(ring);
	else
	{
		expected_message[room - 1] = '\0';
		require(strcmp(message, expected_message) == 0, "the message is one of ours");
	}
	outcome_counts[outcome]++;
	keyring_free(ring);
	while (reading.count > 0)
		free(reading.keys[--reading.count].secret);
	free(message);
	free(text);
	return 0;
}
