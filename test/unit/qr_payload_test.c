/*
 * qr_payload_test.c
 *		Tests of qr_payload.c.
 *
 * Broken if they fail: a forged or altered ticket opens the door, a genuine one
 * does not, or one ticket has several spellings (and so escapes a list of
 * hashes).
 */
#include "qr_payload.h"
#include "tap.h"

#define SECRET "correct horse battery staple 32+ bytes"
#define SECRET_BASE64 "Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSAzMisgYnl0ZXM="
#define OTHER_BASE64 "YW5vdGhlciBzZWNyZXQgb2YgMzIgYnl0ZXMgb3Igc28hIQ=="

/* All made by another implementation, of the same ticket and nonce. */
#define HMAC_PAYLOAD "AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg"
#define HMAC_MINUS_2 "AQFvlhn_i4ZNAbQtAMBPyWT______gECAwQFBgcIVuSCux4De4CwhQbX7QJFxA"
#define HMAC_KEY_200 "Achvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIZNyxYCs8XM0TFxLeE7WG-Q"
#define ED25519_PAYLOAD                                                                            \
	"AgFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcI7AsqDLHy9-r346tX00lov06PcWk1aF1X63LYx60iuGhg"         \
	"z_Y1qHM9bQXSauRSZQCnzZm8q6I7rdPunpunCdmuDQ"
#define ED25519_KEY_200                                                                            \
	"Ashvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcI0CMfvMwKxZ2EZnJv7DI5Lrl1DpUyOJ4syo7kwvfqkHtr"         \
	"X5g9aS7R3BykAwREF9dyrno3t-A7KuNQr5hh-8ojCA"

static const uint8_t ticket_id[QR_TICKET_ID_BYTES] = {
	0x6f, 0x96, 0x19, 0xff, 0x8b, 0x86, 0x4d, 0x01, 0xb4, 0x2d, 0x00, 0xc0, 0x4f, 0xc9, 0x64, 0xff};
static const uint8_t nonce[QR_NONCE_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};
static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static Keyring *ring;     /* the environment's: key id 1 */
static Keyring *rotation; /* key ids 200, which signs, and 1 */

/* The verdict of a text's bytes under a ring. */
static QrVerdict
verdict_of(Keyring *keys, const char *text, size_t length)
{
	QrPayload payload;

	return qr_payload_verify(keys, text, length, &payload);
}

/* The name of the verdict of a text under a ring. */
static const char *
verdict_name(Keyring *keys, const char *text)
{
	return qr_verdict_name(verdict_of(keys, text, strlen(text)));
}

/* The signed text of the one ticket of these tests. */
static const char *
signed_text(Keyring *keys, int suite, int32_t event_id)
{
	static char out[QR_PAYLOAD_MAX_CHARS + 1];
	const char *error;

	if (qr_payload_sign(keys, suite, ticket_id, event_id, nonce, out, &error) != QR_VALID)
		return error;
	return out;
}

/* Issued tickets must go on verifying: the format is fixed by these texts. */
static void
test_vectors(void)
{
	QrPayload payload;

	is_text(signed_text(ring, 1, 7), HMAC_PAYLOAD, "suite 1 signs the known payload");
	is_text(signed_text(ring, 2, 7), ED25519_PAYLOAD, "suite 2 signs the known payload");
	is_text(signed_text(ring, 1, -2), HMAC_MINUS_2, "a negative event id is its 4 bytes");
	is_text(verdict_name(ring, HMAC_PAYLOAD), "valid", "suite 1 verifies");
	is_text(verdict_name(ring, ED25519_PAYLOAD), "valid", "suite 2 verifies");
	is_text(verdict_name(ring, HMAC_MINUS_2), "valid", "a negative event id verifies");

	is_number(qr_payload_decode(HMAC_PAYLOAD, 62, &payload), QR_VALID, "suite 1 is decoded");
	is_number(payload.suite, 1, "suite");
	is_number(payload.key_id, 1, "key id");
	is_number(payload.event_id, 7, "event id");
	ok(memcmp(payload.ticket_id, ticket_id, sizeof(ticket_id)) == 0, "ticket id");
	ok(memcmp(payload.nonce, nonce, sizeof(nonce)) == 0, "nonce");
	is_number((long long) payload.signature_length, 16, "signature of 16 bytes");
	is_number(qr_payload_decode(HMAC_MINUS_2, 62, &payload), QR_VALID, "negative id is decoded");
	is_number(payload.event_id, -2, "as it was");
	is_number(qr_payload_decode(ED25519_KEY_200, 126, &payload), QR_VALID, "suite 2 is decoded");
	is_number(payload.suite, 2, "suite");
	is_number(payload.key_id, 200, "key id");
	is_number((long long) payload.signature_length, 64, "signature of 64 bytes");
	is_number(qr_payload_decode("short", 5, &payload), QR_MALFORMED, "malformed is told");
	is_number(payload.suite + payload.key_id + payload.event_id, 0, "and leaves nothing behind");
}

/* Flips every bit of a payload's bytes; counts what is still valid, or oddly judged. */
static void
check_bit_flips(const char *text)
{
	size_t length = strlen(text);
	int    wrong = 0;

	for (size_t i = 0; i < length; i++)
		for (int bit = 0; bit < 6; bit++)
		{
			char      altered[QR_PAYLOAD_MAX_CHARS + 1];
			size_t    digit = (size_t) (strchr(alphabet, text[i]) - alphabet);
			QrVerdict verdict;
			QrVerdict expected = QR_BAD_SIGNATURE;

			if (i < 2 && 6 * i + (size_t) (5 - bit) < 8)
				expected = QR_MALFORMED; /* the suite */
			else if (6 * i + (size_t) (5 - bit) < 16)
				expected = QR_UNKNOWN_KEY; /* the key id */
			else if (i == length - 1 && bit < 4)
				expected = QR_MALFORMED; /* the bits beyond the last byte */
			memcpy(altered, text, length + 1);
			altered[i] = alphabet[digit ^ (1u << bit)];
			verdict = verdict_of(ring, altered, length);
			if (verdict != expected)
			{
				printf("# bit %d of character %zu: %s\n", bit, i, qr_verdict_name(verdict));
				wrong++;
			}
		}
	is_number(wrong, 0, "no payload with one bit flipped is valid, and each is judged rightly");
}

/* A ticket must have one spelling only. */
static void
test_canonical(void)
{
	static const char *const payloads[] = {HMAC_PAYLOAD, ED25519_PAYLOAD};
	char                     text[300];
	int                      wrong = 0;

	for (int p = 0; p < 2; p++)
	{
		size_t valid_length = strlen(payloads[p]);

		/* the payload cut short, and with A (zero bits), = or NUL after it */
		for (size_t length = 0; length <= 200; length++)
			for (int fill = 0; fill < 3; fill++)
			{
				memset(text, "A=\0"[fill], sizeof(text));
				memcpy(text, payloads[p], valid_length);
				if (verdict_of(ring, text, length) !=
					(length == valid_length ? QR_VALID : QR_MALFORMED))
					wrong++;
			}
		/* any byte that is no digit, at any place */
		for (size_t i = 0; i < valid_length; i++)
			for (int c = 0; c < 256; c++)
			{
				memcpy(text, payloads[p], valid_length + 1);
				text[i] = (char) c;
				if ((c == 0 || strchr(alphabet, c) == NULL) &&
					verdict_of(ring, text, valid_length) != QR_MALFORMED)
					wrong++;
			}
		check_bit_flips(payloads[p]);
	}
	is_number(wrong, 0, "every other length and every foreign character is malformed");

	is_text(verdict_name(ring, ""), "malformed", "empty");
	is_text(verdict_name(ring, HMAC_PAYLOAD "=="), "malformed", "with padding");
	is_text(verdict_name(ring, " " HMAC_PAYLOAD), "malformed", "with a blank before");
	is_text(verdict_name(ring, HMAC_PAYLOAD "\n"), "malformed", "with a newline after");
	is_text(verdict_name(ring, "AQFvlhn/i4ZNAbQtAMBPyWT/AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg"),
			"malformed", "the standard alphabet's slash");
	is_text(verdict_name(ring, "Achvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIZNyxYCs8XM0TFxLeE7WG+Q"),
			"malformed", "the standard alphabet's plus");
	is_text(verdict_name(ring, "AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrh"),
			"malformed", "bits beyond the last byte");
	is_text(verdict_name(ring, "AAFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg"),
			"malformed", "suite 0");
	is_text(verdict_name(ring, "AgFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg"),
			"malformed", "suite 2 in the length of suite 1");
	is_text(verdict_name(ring, "AwFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg"),
			"malformed", "suite 3, which is reserved");
	is_text(verdict_name(ring, "AQBvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg"),
			"unknown_key", "key id 0 is well formed, and unknown");
}

/* After a rotation old tickets must verify and new ones be signed by the new key. */
static void
test_rotation(void)
{
	static const char last_first[] = "1:" SECRET_BASE64 "\n200:" OTHER_BASE64 "\n";
	char              error[200];
	Keyring          *before =
		keyring_from_file_text(last_first, sizeof(last_first) - 1, error, sizeof(error));

	is_text(verdict_name(ring, HMAC_KEY_200), "unknown_key", "suite 1: a key we do not have");
	is_text(verdict_name(ring, ED25519_KEY_200), "unknown_key", "suite 2: a key we do not have");
	is_text(signed_text(before, 1, 7), HMAC_PAYLOAD, "added last: the old key signs");
	is_text(verdict_name(before, HMAC_KEY_200), "valid", "added last: the new key verifies");
	is_text(signed_text(rotation, 1, 7), HMAC_KEY_200, "moved first: the new key signs");
	is_text(signed_text(rotation, 2, 7), ED25519_KEY_200, "moved first: suite 2 too");
	is_text(verdict_name(rotation, HMAC_PAYLOAD), "valid", "moved first: the old key verifies");
	is_text(verdict_name(rotation, ED25519_PAYLOAD), "valid", "moved first: suite 2 too");
	keyring_free(before);
}

/* Without a secret nothing may be signed, nor called genuine. */
static void
test_not_configured(void)
{
	char        out[QR_PAYLOAD_MAX_CHARS + 1] = "untouched";
	const char *error = NULL;
	Keyring    *empty = keyring_create();

	is_number(qr_payload_sign(NULL, 1, ticket_id, 7, nonce, out, &error), QR_NOT_CONFIGURED,
			  "no ring signs nothing");
	is_text(out, "", "and writes nothing");
	is_text(error, "no ticket secret is configured", "and says so");
	is_number(qr_payload_sign(ring, 3, ticket_id, 7, nonce, out, &error), QR_MALFORMED,
			  "an unknown suite signs nothing");
	is_text(error, "unknown signature suite", "and says so");
	is_text(verdict_name(NULL, HMAC_PAYLOAD), "not_configured",
			"no ring says nothing of a payload");
	is_text(verdict_name(empty, ED25519_PAYLOAD), "not_configured", "nor does an empty one");
	is_text(verdict_name(NULL, "x"), "malformed", "except that it is none");
	keyring_free(empty);
}

/* The stable names, which clients and the audit know. */
static void
test_names(void)
{
	is_text(qr_verdict_name(QR_VALID), "valid", "valid");
	is_text(qr_verdict_name(QR_MALFORMED), "malformed", "malformed");
	is_text(qr_verdict_name(QR_UNKNOWN_KEY), "unknown_key", "unknown_key");
	is_text(qr_verdict_name(QR_BAD_SIGNATURE), "bad_signature", "bad_signature");
	is_text(qr_verdict_name(QR_NOT_CONFIGURED), "not_configured", "not_configured");
	is_text(qr_verdict_name(QR_FAILED), "failed", "failed");
}

int
main(void)
{
	static const char new_first[] = "200:" OTHER_BASE64 "\n1:" SECRET_BASE64 "\n";
	char              file_error[200];
	const char       *error;

	ring = keyring_from_environment(SECRET, &error);
	rotation =
		keyring_from_file_text(new_first, sizeof(new_first) - 1, file_error, sizeof(file_error));
	test_vectors();
	test_canonical();
	test_rotation();
	test_not_configured();
	test_names();
	keyring_free(ring);
	keyring_free(rotation);
	return done_testing();
}
