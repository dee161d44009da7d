/*
 * qr_payload_fuzz.c
 *		Fuzzes qr_payload.c: the whole input is the text of a code.
 *
 * A finding: a code is called valid that is not, to the letter, what signing
 * its fields gives, or the other way round; a reason is wrong; a field is not
 * the one that was signed; a byte beyond the text is read.
 */
#include "qr_payload.h"

#include "fuzz.h"

#define HMAC_BYTES (QR_SIGNED_BYTES + QR_HMAC_SIGNATURE_BYTES)
#define ED25519_BYTES (QR_SIGNED_BYTES + KEYRING_ED25519_SIGNATURE_BYTES)

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
static const char *const verdicts[] = {
	"malformed",        "unknown key",     "bad signature of suite 1", "bad signature of suite 2",
	"valid of suite 1", "valid of suite 2"};

static Keyring *rings[2]; /* of the same keys; in the first one 1 signs, in the second one 200 */

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const files[] = {OLD_KEY NEW_KEY, NEW_KEY OLD_KEY};
	char                     error[200];

	(void) argc;
	(void) argv;
	for (int i = 0; i < 2; i++)
	{
		rings[i] = keyring_from_file_text(files[i], strlen(files[i]), error, sizeof(error));
		require(rings[i] != NULL, "the keys are read");
	}
	expect_outcomes(verdicts, sizeof(verdicts) / sizeof(verdicts[0]));
	return 0;
}

/* The ring that signs with a key, or NULL. */
static Keyring *
signer(int key_id)
{
	return key_id == 1 ? rings[0] : key_id == 200 ? rings[1] : NULL;
}

/* Reads base64url bit by bit; the number of bytes, 0 unless it is a payload. */
static size_t
read_plainly(const char *text, size_t length, uint8_t bytes[ED25519_BYTES])
{
	size_t size = length == 62 ? HMAC_BYTES : ED25519_BYTES;

	memset(bytes, 0, ED25519_BYTES);
	if (length != 62 && length != 126)
		return 0;
	for (size_t i = 0; i < length; i++)
	{
		const char *digit = memchr(alphabet, text[i], 64);

		if (digit == NULL)
			return 0;
		for (size_t bit = 0; bit < 6; bit++)
		{
			size_t place = 6 * i + bit;

			if (((digit - alphabet) >> (5 - bit) & 1) == 0)
				continue;
			if (place >= 8 * size)
				return 0;
			bytes[place / 8] |= (uint8_t) (0x80 >> place % 8);
		}
	}
	return bytes[0] == (length == 62 ? 1 : 2) ? size : 0;
}

/* Writes base64url bit by bit; the number of digits. */
static size_t
write_plainly(const uint8_t *bytes, size_t size, char *text)
{
	size_t length = (8 * size + 5) / 6;

	for (size_t i = 0; i < length; i++)
	{
		int digit = 0;

		for (size_t place = 6 * i; place < 6 * i + 6; place++)
			digit = digit << 1 | (place < 8 * size ? bytes[place / 8] >> (7 - place % 8) & 1 : 0);
		text[i] = alphabet[digit];
	}
	return length;
}

/* What was decoded must be these bytes, field by field. */
static void
check_fields(const QrPayload *payload, const uint8_t *bytes, size_t size)
{
	uint32_t event_id = 0;

	for (int i = 18; i < 22; i++)
		event_id = event_id << 8 | bytes[i];
	require(payload->suite == bytes[0], "the suite is the first byte");
	require(payload->key_id == bytes[1], "the key id is the second byte");
	require(memcmp(payload->ticket_id, bytes + 2, 16) == 0, "the ticket id comes then");
	require((uint32_t) payload->event_id == event_id, "the event id is big-endian");
	require(memcmp(payload->nonce, bytes + 22, 8) == 0, "the nonce comes then");
	require(memcmp(payload->signed_bytes, bytes, 30) == 0, "all that was signed");
	require(payload->signature_length == size - 30 &&
				memcmp(payload->signature, bytes + 30, size - 30) == 0,
			"the signature is the rest");
}

/* The verdict by signing the fields: with a key of ours the text must be what we would write. */
static QrVerdict
verdict_by_signing(const QrPayload *payload, const char *text, size_t length)
{
	char        again[QR_PAYLOAD_MAX_CHARS + 1];
	const char *error;

	if (signer(payload->key_id) == NULL)
		return QR_UNKNOWN_KEY;
	require(qr_payload_sign(signer(payload->key_id), payload->suite, payload->ticket_id,
							payload->event_id, payload->nonce, again, &error) == QR_VALID,
			"what was decoded can be signed");
	return strlen(again) == length && memcmp(again, text, length) == 0 ? QR_VALID
																	   : QR_BAD_SIGNATURE;
}

static void
check_code(const char *text, size_t length)
{
	static const QrPayload nothing;
	uint8_t                bytes[ED25519_BYTES];
	char                   again[QR_PAYLOAD_MAX_CHARS + 1];
	size_t                 size = read_plainly(text, length, bytes);
	QrVerdict              expected;
	QrPayload              payload;

	require(qr_payload_decode(text, length, &payload) == (size > 0 ? QR_VALID : QR_MALFORMED),
			"decoded if it is a payload, else malformed");
	if (size == 0)
	{
		require(memcmp(&payload, &nothing, sizeof(payload)) == 0, "malformed leaves nothing");
		require(qr_payload_verify(rings[0], text, length, &payload) == QR_MALFORMED,
				"malformed does not verify");
		outcome_counts[0]++;
		return;
	}
	check_fields(&payload, bytes, size);
	require(write_plainly(bytes, size, again) == length && memcmp(again, text, length) == 0,
			"a payload has one spelling");
	require(qr_payload_verify(NULL, text, length, &payload) == QR_NOT_CONFIGURED,
			"without a key nothing is said of a payload");

	expected = verdict_by_signing(&payload, text, length);
	require(qr_payload_verify(rings[0], text, length, &payload) == expected,
			"valid is what signing gives again, and nothing else");
	check_fields(&payload, bytes, size);
	outcome_counts[expected == QR_UNKNOWN_KEY ? 1
											  : (expected == QR_VALID ? 3 : 1) + payload.suite]++;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = exact_copy(data, size);

	check_code(text, size);
	free(text);
	return 0;
}

/*
 * Beside libFuzzer's changes to the text: changes to the bytes behind it,
 * and payloads signed by us, so that the run gets beyond the alphabet.
 */
size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	uint8_t     bytes[ED25519_BYTES];
	char        text[QR_PAYLOAD_MAX_CHARS + 1];
	size_t      known;
	size_t      filled;
	uint32_t    event_id;
	const char *error;

	if (seed % 4 < 2 || max_size < QR_PAYLOAD_MAX_CHARS)
		return LLVMFuzzerMutate(data, size, max_size);
	known = read_plainly((const char *) data, size, bytes);
	filled = LLVMFuzzerMutate(bytes, known > 0 ? known : HMAC_BYTES, sizeof(bytes));
	if (filled < sizeof(bytes))
		memset(bytes + filled, 0, sizeof(bytes) - filled);
	if (seed % 4 == 2)
	{
		size = write_plainly(bytes, bytes[0] % 2 == 1 ? HMAC_BYTES : ED25519_BYTES, text);
		memcpy(data, text, size);
		return size;
	}
	event_id = (uint32_t) bytes[18] << 24 | (uint32_t) bytes[19] << 16 | (uint32_t) bytes[20] << 8 |
			   bytes[21];
	require(qr_payload_sign(rings[seed / 4 % 2], seed / 8 % 2 == 0 ? 1 : 2, bytes + 2,
							(int32_t) event_id, bytes + 22, text, &error) == QR_VALID,
			"anything can be signed");
	size = strlen(text);
	memcpy(data, text, size);
	return size;
}
