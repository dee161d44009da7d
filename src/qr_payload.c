/*
 * qr_payload.c
 *		Owns the form of a ticket's QR payload: writing, reading, signing and
 *		verifying it.  The keys are keyring.c's.
 *
 * Tables: none.  Locks: none.
 */
#include "qr_payload.h"

#include <string.h>

#include <openssl/crypto.h>

/* Where the fields are among the signed bytes. */
#define SUITE_OFFSET 0
#define KEY_ID_OFFSET 1
#define TICKET_ID_OFFSET 2
#define EVENT_ID_OFFSET 18
#define NONCE_OFFSET 22

#define MAX_BYTES (QR_SIGNED_BYTES + KEYRING_ED25519_SIGNATURE_BYTES)
#define NOT_A_DIGIT 0x80

static const char base64url_digits[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* The value of each character, plus one; zero for what is no digit. */
static const uint8_t base64url_values[256] = {
	['A'] = 1,  ['B'] = 2,  ['C'] = 3,  ['D'] = 4,  ['E'] = 5,  ['F'] = 6,  ['G'] = 7,  ['H'] = 8,
	['I'] = 9,  ['J'] = 10, ['K'] = 11, ['L'] = 12, ['M'] = 13, ['N'] = 14, ['O'] = 15, ['P'] = 16,
	['Q'] = 17, ['R'] = 18, ['S'] = 19, ['T'] = 20, ['U'] = 21, ['V'] = 22, ['W'] = 23, ['X'] = 24,
	['Y'] = 25, ['Z'] = 26, ['a'] = 27, ['b'] = 28, ['c'] = 29, ['d'] = 30, ['e'] = 31, ['f'] = 32,
	['g'] = 33, ['h'] = 34, ['i'] = 35, ['j'] = 36, ['k'] = 37, ['l'] = 38, ['m'] = 39, ['n'] = 40,
	['o'] = 41, ['p'] = 42, ['q'] = 43, ['r'] = 44, ['s'] = 45, ['t'] = 46, ['u'] = 47, ['v'] = 48,
	['w'] = 49, ['x'] = 50, ['y'] = 51, ['z'] = 52, ['0'] = 53, ['1'] = 54, ['2'] = 55, ['3'] = 56,
	['4'] = 57, ['5'] = 58, ['6'] = 59, ['7'] = 60, ['8'] = 61, ['9'] = 62, ['-'] = 63, ['_'] = 64,
};

/* The value of a digit, or 255: its high bit says that it is none. */
static inline uint8_t
digit_value(char c)
{
	return (uint8_t) (base64url_values[(uint8_t) c] - 1);
}

/* Decodes 4n + 2 digits of base64url into 3n + 1 bytes; false unless canonical. */
static bool
decode_base64url(const char *text, size_t length, uint8_t *bytes)
{
	uint8_t seen = 0; /* all values or'ed: its high bit tells of any that is no digit */
	uint8_t first;
	uint8_t second;

	for (; length > 2; length -= 4, text += 4, bytes += 3)
	{
		uint8_t  a = digit_value(text[0]);
		uint8_t  b = digit_value(text[1]);
		uint8_t  c = digit_value(text[2]);
		uint8_t  d = digit_value(text[3]);
		uint32_t bits = (uint32_t) a << 18 | (uint32_t) b << 12 | (uint32_t) c << 6 | d;

		seen |= a | b | c | d;
		bytes[0] = bits >> 16 & 0xFF;
		bytes[1] = bits >> 8 & 0xFF;
		bytes[2] = bits & 0xFF;
	}
	first = digit_value(text[0]);
	second = digit_value(text[1]);
	seen |= first | second;
	bytes[0] = (uint8_t) (first << 2 | second >> 4);
	return (seen & NOT_A_DIGIT) == 0 && (second & 0x0F) == 0;
}

/* Encodes 3n + 1 bytes as 4n + 2 digits of base64url and a NUL. */
static void
encode_base64url(const uint8_t *bytes, size_t length, char *text)
{
	for (; length > 1; length -= 3, bytes += 3, text += 4)
	{
		uint32_t bits = (uint32_t) bytes[0] << 16 | (uint32_t) bytes[1] << 8 | bytes[2];

		text[0] = base64url_digits[bits >> 18];
		text[1] = base64url_digits[bits >> 12 & 0x3F];
		text[2] = base64url_digits[bits >> 6 & 0x3F];
		text[3] = base64url_digits[bits & 0x3F];
	}
	text[0] = base64url_digits[bytes[0] >> 2];
	text[1] = base64url_digits[bytes[0] << 4 & 0x3F];
	text[2] = '\0';
}

/* The stable name of a verdict. */
const char *
qr_verdict_name(QrVerdict verdict)
{
	switch (verdict)
	{
		case QR_VALID:
			return "valid";
		case QR_MALFORMED:
			return "malformed";
		case QR_UNKNOWN_KEY:
			return "unknown_key";
		case QR_BAD_SIGNATURE:
			return "bad_signature";
		case QR_NOT_CONFIGURED:
			return "not_configured";
		case QR_FAILED:
			return "failed";
	}
	return "failed";
}

/* Reads a payload, strictly: QR_VALID or QR_MALFORMED; says nothing about the signature. */
QrVerdict
qr_payload_decode(const char *text, size_t length, QrPayload *payload)
{
	uint8_t bytes[MAX_BYTES];
	uint8_t suite;

	memset(payload, 0, sizeof(*payload));
	if (length == QR_HMAC_PAYLOAD_CHARS)
		suite = QR_SUITE_HMAC;
	else if (length == QR_ED25519_PAYLOAD_CHARS)
		suite = QR_SUITE_ED25519;
	else
		return QR_MALFORMED;
	if (!decode_base64url(text, length, bytes) || bytes[SUITE_OFFSET] != suite)
		return QR_MALFORMED;

	payload->suite = suite;
	payload->key_id = bytes[KEY_ID_OFFSET];
	memcpy(payload->ticket_id, bytes + TICKET_ID_OFFSET, QR_TICKET_ID_BYTES);
	payload->event_id =
		(int32_t) ((uint32_t) bytes[EVENT_ID_OFFSET] << 24 |
				   (uint32_t) bytes[EVENT_ID_OFFSET + 1] << 16 |
				   (uint32_t) bytes[EVENT_ID_OFFSET + 2] << 8 | bytes[EVENT_ID_OFFSET + 3]);
	memcpy(payload->nonce, bytes + NONCE_OFFSET, QR_NONCE_BYTES);
	memcpy(payload->signed_bytes, bytes, QR_SIGNED_BYTES);
	payload->signature_length =
		suite == QR_SUITE_HMAC ? QR_HMAC_SIGNATURE_BYTES : KEYRING_ED25519_SIGNATURE_BYTES;
	memcpy(payload->signature, bytes + QR_SIGNED_BYTES, payload->signature_length);
	return QR_VALID;
}

/* What a result of the keyring means for a payload. */
static QrVerdict
verdict_of(KeyringResult result)
{
	switch (result)
	{
		case KEYRING_OK:
			return QR_VALID;
		case KEYRING_UNKNOWN_KEY:
			return QR_UNKNOWN_KEY;
		case KEYRING_BAD_SIGNATURE:
			return QR_BAD_SIGNATURE;
		case KEYRING_FAILED:
			return QR_FAILED;
	}
	return QR_FAILED;
}

/* Checks a signature of suite 1, in constant time. */
static QrVerdict
verify_hmac(Keyring *ring, const QrPayload *payload)
{
	uint8_t   mac[KEYRING_MAC_BYTES];
	QrVerdict verdict = verdict_of(keyring_mac(ring, payload->key_id, payload->event_id,
											   payload->signed_bytes, QR_SIGNED_BYTES, mac));

	if (verdict == QR_VALID && CRYPTO_memcmp(mac, payload->signature, QR_HMAC_SIGNATURE_BYTES) != 0)
		verdict = QR_BAD_SIGNATURE;
	explicit_bzero(mac, sizeof(mac));
	return verdict;
}

/* Reads a payload, then checks that its key is known, then its signature. */
QrVerdict
qr_payload_verify(Keyring *ring, const char *text, size_t length, QrPayload *payload)
{
	QrVerdict verdict = qr_payload_decode(text, length, payload);

	if (verdict != QR_VALID)
		return verdict;
	if (keyring_count(ring) == 0)
		return QR_NOT_CONFIGURED;
	if (payload->suite == QR_SUITE_HMAC)
		return verify_hmac(ring, payload);
	return verdict_of(keyring_ed25519_verify(ring, payload->key_id, payload->event_id,
											 payload->signed_bytes, QR_SIGNED_BYTES,
											 payload->signature));
}

/* Writes a payload, signed with the ring's signing key; on failure *out is empty. */
QrVerdict
qr_payload_sign(Keyring *ring, int suite, const uint8_t ticket_id[QR_TICKET_ID_BYTES],
				int32_t event_id, const uint8_t nonce[QR_NONCE_BYTES],
				char out[QR_PAYLOAD_MAX_CHARS + 1], const char **error)
{
	int       key_id = keyring_signing_id(ring);
	uint32_t  event = (uint32_t) event_id;
	uint8_t   bytes[MAX_BYTES];
	size_t    length;
	QrVerdict verdict;

	out[0] = '\0';
	*error = NULL;
	if (suite != QR_SUITE_HMAC && suite != QR_SUITE_ED25519)
	{
		*error = "unknown signature suite";
		return QR_MALFORMED;
	}
	if (key_id == 0)
	{
		*error = "no ticket secret is configured";
		return QR_NOT_CONFIGURED;
	}

	bytes[SUITE_OFFSET] = (uint8_t) suite;
	bytes[KEY_ID_OFFSET] = (uint8_t) key_id;
	memcpy(bytes + TICKET_ID_OFFSET, ticket_id, QR_TICKET_ID_BYTES);
	bytes[EVENT_ID_OFFSET] = event >> 24;
	bytes[EVENT_ID_OFFSET + 1] = event >> 16 & 0xFF;
	bytes[EVENT_ID_OFFSET + 2] = event >> 8 & 0xFF;
	bytes[EVENT_ID_OFFSET + 3] = event & 0xFF;
	memcpy(bytes + NONCE_OFFSET, nonce, QR_NONCE_BYTES);
	if (suite == QR_SUITE_HMAC)
	{
		/* The MAC is cut: its second half is beyond the length and never written out. */
		verdict = verdict_of(
			keyring_mac(ring, key_id, event_id, bytes, QR_SIGNED_BYTES, bytes + QR_SIGNED_BYTES));
		length = QR_SIGNED_BYTES + QR_HMAC_SIGNATURE_BYTES;
	}
	else
	{
		verdict = verdict_of(keyring_ed25519_sign(ring, key_id, event_id, bytes, QR_SIGNED_BYTES,
												  bytes + QR_SIGNED_BYTES));
		length = MAX_BYTES;
	}
	if (verdict == QR_VALID)
		encode_base64url(bytes, length, out);
	else
		*error = "the payload could not be signed";
	explicit_bzero(bytes, sizeof(bytes));
	return verdict;
}
