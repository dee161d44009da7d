/*
 * bit_flips_test.c
 *		A million codes with one bit flipped, under qr_payload.c and keyring.c.
 *
 * Broken if it fails: somewhere in a code there is a bit that the signature,
 * the key or the form does not cover, so that one ticket can be turned into
 * another, or that a wrong reason is told.
 *
 * Which reason is right follows from the place of the bit alone: all bits of
 * the suite and those beyond the last byte make a code malformed, those of the
 * key id name another key, which we have or do not have, and any other one
 * spoils the signature.
 */
#include "qr_payload.h"

#include <string.h>

#include "tap.h"

#define HMAC_PAYLOADS 1150  /* 864 flips each */
#define ED25519_PAYLOADS 30 /* 1,760 each, most of which cost a verification of about 0.1 ms */
#define REASONS 4

/* Some key ids are one bit apart: flipping it gives a code of a key that we have. */
static const char key_file[] = "1:Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSAzMisgYnl0ZXM=\n"
							   "3:YW5vdGhlciBzZWNyZXQgb2YgMzIgYnl0ZXMgb3Igc28hIQ==\n"
							   "129:YSB0aGlyZCBzZWNyZXQgdGhhdCBoYXMgMzIgYnl0ZXMgb3IgbW9yZQ==\n"
							   "200:YSBmb3VydGggc2VjcmV0LCB0aGF0IGhhcyAzMiBieXRlcyBvciBtb3Jl\n";
static const int  key_ids[] = {1, 3, 129, 200};
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static Keyring *ring;       /* all keys; the first one signs */
static Keyring *signers[4]; /* a key each */
static uint64_t random_state = 88172645463325252u;

/* What was flipped, by suite, and what came of it. */
static long long flips[3];
static long long reasons[3][REASONS]; /* by verdict: malformed, unknown key, bad signature */
static long long valid;
static long long wrong;

/* Always the same numbers (xorshift), so that a failure comes again. */
static uint64_t
next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* A payload of this suite: key, ticket, event and nonce differ from one to the next. */
static void
make_payload(int suite, int number, char text[QR_PAYLOAD_MAX_CHARS + 1])
{
	static const int32_t extremes[] = {0, -1, INT32_MAX, INT32_MIN, 1, 7, 256, 65536};
	uint8_t              ticket_id[QR_TICKET_ID_BYTES];
	uint8_t              nonce[QR_NONCE_BYTES];
	int32_t     event_id = number % 3 == 0 ? extremes[number / 3 % 8] : (int32_t) next_random();
	const char *error;

	for (int i = 0; i < QR_TICKET_ID_BYTES; i++)
		ticket_id[i] = (uint8_t) (next_random() >> 32);
	for (int i = 0; i < QR_NONCE_BYTES; i++)
		nonce[i] = (uint8_t) (next_random() >> 32);
	if (qr_payload_sign(signers[number % 4], suite, ticket_id, event_id, nonce, text, &error) !=
		QR_VALID)
		text[0] = '\0';
}

/* The value of a digit, or -1. */
static int
digit_of(char c)
{
	const char *digit = c == '\0' ? NULL : strchr(alphabet, c);

	return digit == NULL ? -1 : (int) (digit - alphabet);
}

/* Is there a key of this id? */
static bool
has_key(int key_id)
{
	for (int i = 0; i < 4; i++)
		if (key_ids[i] == key_id)
			return true;
	return false;
}

/* The key id that a text names, in its 9th to 16th bit. */
static int
key_id_of(const char *text)
{
	return (digit_of(text[1]) & 0x0F) << 4 | digit_of(text[2]) >> 2;
}

/* The verdict on a text whose digit at this place was changed in these bits (of 6). */
static QrVerdict
expected_verdict(const char *altered, size_t length, size_t place, int changed)
{
	size_t bytes = length == QR_HMAC_PAYLOAD_CHARS ? 46 : 94;
	bool   of_suite = false;
	bool   of_key_id = false;
	bool   beyond = false;

	for (size_t bit = 0; bit < 6; bit++)
	{
		size_t position = 6 * place + bit;

		if ((changed >> (5 - bit) & 1) == 0)
			continue;
		of_suite |= position < 8;
		of_key_id |= position >= 8 && position < 16;
		beyond |= position >= 8 * bytes;
	}
	if (of_suite || beyond)
		return QR_MALFORMED;
	if (of_key_id && !has_key(key_id_of(altered)))
		return QR_UNKNOWN_KEY;
	return QR_BAD_SIGNATURE;
}

/* Judges an altered text and keeps count. */
static void
check_altered(int suite, const char *altered, size_t length, QrVerdict expected)
{
	QrPayload payload;
	QrVerdict verdict = qr_payload_verify(ring, altered, length, &payload);

	flips[suite]++;
	reasons[suite][expected]++;
	if (verdict == QR_VALID)
		valid++;
	if (verdict == expected)
		return;
	if (wrong++ < 10)
		printf("# %.*s: %s, expected %s\n", (int) length, altered, qr_verdict_name(verdict),
			   qr_verdict_name(expected));
}

/* Flips each bit of the bytes: it is one bit of one digit. */
static void
flip_bytes(int suite, const char *text, size_t length)
{
	size_t bits = 8 * (suite == QR_SUITE_HMAC ? 46 : 94);
	char   altered[QR_PAYLOAD_MAX_CHARS + 1];

	memcpy(altered, text, length + 1);
	for (size_t position = 0; position < bits; position++)
	{
		size_t place = position / 6;
		int    changed = 0x20 >> position % 6;

		altered[place] = alphabet[digit_of(text[place]) ^ changed];
		check_altered(suite, altered, length, expected_verdict(altered, length, place, changed));
		altered[place] = text[place];
	}
}

/* Flips each bit of the text: a character becomes another digit, or none. */
static void
flip_text(int suite, const char *text, size_t length)
{
	char altered[QR_PAYLOAD_MAX_CHARS + 1];

	memcpy(altered, text, length + 1);
	for (size_t place = 0; place < length; place++)
		for (int bit = 0; bit < 8; bit++)
		{
			QrVerdict expected = QR_MALFORMED;

			altered[place] = (char) (text[place] ^ 1 << bit);
			if (digit_of(altered[place]) >= 0)
				expected = expected_verdict(altered, length, place,
											digit_of(text[place]) ^ digit_of(altered[place]));
			check_altered(suite, altered, length, expected);
			altered[place] = text[place];
		}
}

/* Makes payloads of a suite, all of them valid, and flips every bit of each. */
static void
flip_payloads(int suite, int count)
{
	int intact = 0;

	for (int number = 0; number < count; number++)
	{
		char      text[QR_PAYLOAD_MAX_CHARS + 1];
		size_t    length;
		QrPayload payload;

		make_payload(suite, number, text);
		length = strlen(text);
		if (qr_payload_verify(ring, text, length, &payload) != QR_VALID)
			continue;
		intact++;
		flip_bytes(suite, text, length);
		flip_text(suite, text, length);
	}
	ok(intact == count, "%d payloads of suite %d are valid as they are", count, suite);
}

int
main(void)
{
	char        error_text[200];
	const char *line = key_file;

	ring = keyring_from_file_text(key_file, sizeof(key_file) - 1, error_text, sizeof(error_text));
	for (int i = 0; i < 4; i++)
	{
		const char *next = strchr(line, '\n') + 1;

		signers[i] =
			keyring_from_file_text(line, (size_t) (next - line), error_text, sizeof(error_text));
		line = next;
	}
	flip_payloads(QR_SUITE_HMAC, HMAC_PAYLOADS);
	flip_payloads(QR_SUITE_ED25519, ED25519_PAYLOADS);

	ok(flips[1] + flips[2] >= 1000000 && flips[2] >= 50000,
	   "%lld bits were flipped, %lld of suite 1 and %lld of suite 2", flips[1] + flips[2], flips[1],
	   flips[2]);
	for (int suite = 1; suite <= 2; suite++)
		ok(reasons[suite][QR_MALFORMED] > 0 && reasons[suite][QR_UNKNOWN_KEY] > 0 &&
			   reasons[suite][QR_BAD_SIGNATURE] > 0,
		   "of suite %d %lld are malformed, %lld of an unknown key, %lld signed badly", suite,
		   reasons[suite][QR_MALFORMED], reasons[suite][QR_UNKNOWN_KEY],
		   reasons[suite][QR_BAD_SIGNATURE]);
	is_number(valid, 0, "none of them is valid");
	is_number(wrong, 0, "each is refused for the right reason");
	keyring_free(ring);
	for (int i = 0; i < 4; i++)
		keyring_free(signers[i]);
	return done_testing();
}
