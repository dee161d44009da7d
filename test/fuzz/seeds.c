/*
 * seeds.c
 *		Writes what the fuzz targets start from: seeds FOLDER makes the files
 *		FOLDER/TARGET/NUMBER.
 *
 * The signed ones are made here, so that none has to be kept in git.
 */
#include <inttypes.h>

#include "fuzz.h"
#include "qr_payload.h"
#include "stripe_signature.h"

/* A key that the targets do not have. */
#define FOREIGN_KEY "3:c2VjcmV0IG9mIGFub3RoZXIgc2VydmVyLCAzMiBieXRlcw==\n"

static const char *folder;

/* Writes one seed. */
static void
write_seed(const char *target, const void *bytes, size_t length)
{
	static int number = 0;
	char       path[1000];
	FILE      *file;

	snprintf(path, sizeof(path), "%s/%s/%d", folder, target, number++);
	file = fopen(path, "wb");
	if (file == NULL || fwrite(bytes, 1, length, file) != length || fclose(file) != 0)
	{
		perror(path);
		exit(1);
	}
}

static void
write_text(const char *target, const char *text)
{
	write_seed(target, text, strlen(text));
}

/* Codes of both suites and keys, and what is nearly one. */
static void
write_qr_payloads(void)
{
	static const char *const files[] = {OLD_KEY, NEW_KEY, FOREIGN_KEY};
	static const int32_t     events[] = {7, -2, INT32_MAX, INT32_MIN};
	static const uint8_t     ticket_id[QR_TICKET_ID_BYTES] = {0x6f, 0x96, 0x19, 0xff, 0x8b, 0x86,
															  0x4d, 0x01, 0xb4, 0x2d, 0x00, 0xc0,
															  0x4f, 0xc9, 0x64, 0xff};
	static const uint8_t     nonce[QR_NONCE_BYTES] = {1, 2, 3, 4, 5, 6, 7, 8};
	char                     text[QR_PAYLOAD_MAX_CHARS + 10];
	char                     error_text[200];
	const char              *error;

	for (int key = 0; key < 3; key++)
	{
		Keyring *ring =
			keyring_from_file_text(files[key], strlen(files[key]), error_text, sizeof(error_text));

		for (int suite = 1; suite <= 2; suite++)
			for (int event = 0; event < 4; event++)
			{
				require(qr_payload_sign(ring, suite, ticket_id, events[event], nonce, text,
										&error) == QR_VALID,
						"signed");
				write_text("qr_payload", text);
				text[40 + event]++; /* a bad signature, most likely */
				write_text("qr_payload", text);
			}
		strcat(text, "==");
		write_text("qr_payload", text);
		keyring_free(ring);
	}
	write_text("qr_payload", "");
}

static void
write_key_files(void)
{
	write_text("keyring", OLD_KEY NEW_KEY);
	write_text("keyring",
			   "# ticket secrets\n\n  200:YW5vdGhlciBzZWNyZXQgb2YgMzIgYnl0ZXMgb3Igc28hIQ==\t# "
			   "since spring\r\n" OLD_KEY);
	write_text("keyring", OLD_KEY OLD_KEY);
	write_text("keyring", "1:c2hvcnQ=\n");
	write_text("keyring", "256:c2hvcnQ=\n");
	write_text("keyring", "1:____c2hvcnQ=\n");
	write_text("keyring", "1:====\n");
	write_text("keyring", "1:A===\n");
	write_text("keyring", "\n# nothing\n");
}

/* One webhook as stripe_signature_fuzz reads it. */
static void
write_webhook(uint8_t secrets, int64_t now, const char *header, const char *body)
{
	uint8_t bytes[1000] = {secrets};
	int     length;

	for (int i = 0; i < 8; i++)
		bytes[1 + i] = (uint8_t) ((uint64_t) now >> (56 - 8 * i));
	length = snprintf((char *) bytes + 9, sizeof(bytes) - 9, "%s\n%s", header, body);
	write_seed("stripe_signature", bytes, 9 + (size_t) length);
}

static void
write_webhooks(void)
{
	static const char body[] = "{\"id\":\"evt_1\",\"object\":\"event\"}";
	char              hex[STRIPE_SIGNATURE_HEX_CHARS + 1];
	char              header[300];

	require(stripe_signature_sign("whsec_one", 1700000000, body, strlen(body), hex), "signed");
	snprintf(header, sizeof(header), "t=1700000000,v1=%s", hex);
	for (uint8_t secrets = 0; secrets < 7; secrets++)
		write_webhook(secrets, 1700000300, header, body);
	write_webhook(0, 1700000301, header, body);
	write_webhook(0, -1, header, body);
	write_webhook(0, 1700000000, header, "{}");
	snprintf(header, sizeof(header), "v0=x,v1=0,t=1700000000,v1=%s", hex);
	write_webhook(0, 1700000000, header, body);
	write_webhook(0, 1700000000, "t=1700000000,t=1,v1=,", body);
	write_webhook(0, 1700000000, "v1=", "");
}

/* Steps as stripe_form_fuzz reads them: a name is 0, its length, its text; a value 4, and so on. */
static void
write_forms(void)
{
	static const char body[] =
		"\0\5items\1\0\0\0\0\0\5price\4\003p_1\2\2\1\0\0\0\1\3\2\2\0\4a b&\4\7\303\251=%[]\n\2";
	static const char deep[] =
		"\0\1a\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1"
		"\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1"
		"\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1\1";

	write_seed("stripe_form", body, sizeof(body) - 1);
	write_seed("stripe_form", deep, sizeof(deep) - 1);
	write_seed("stripe_form", "\2", 1);
	write_seed("stripe_form", "\4\1x", 3);
	write_seed("stripe_form", "\1\0\0\0\0", 5);
	write_seed("stripe_form", "\0\1a", 3);
}

static void
write_payloads(void)
{
	write_text("webhook_payload",
			   "{\"id\":\"evt_1\",\"data\":{\"object\":{\"id\":\"pi_1\",\"client_secret\":\"pi_1_"
			   "secret_2\",\"amount\":1125,\"n\":null}}}");
	write_text("webhook_payload", "[{\"client_secret\" : \"a\\\"b\\\\\"}, "
								  "{\"client\\u005fsecret\":\"c\", \"d\":\"client_secret\"}]");
	write_text("webhook_payload",
			   "{\"description\":\"{\\\"client_secret\\\": \\\"x\\\"}\",\"a\":[true,-1.5e3,\"\"]}");
	write_text("webhook_payload", "{\"client_secret\":{\"client_secret\":\"\\u00e9\"}}");
	write_text("webhook_payload", "{\"\\u0063lient\\u005Fsecre\\u0074\":\"a\"}");
	write_text("webhook_payload", "{\"client_secret\":\"x");
}

int
main(int argc, char **argv)
{
	if (argc != 2)
	{
		fprintf(stderr, "usage: seeds FOLDER\n");
		return 2;
	}
	folder = argv[1];
	write_qr_payloads();
	write_key_files();
	write_webhooks();
	write_forms();
	write_payloads();
	return 0;
}
