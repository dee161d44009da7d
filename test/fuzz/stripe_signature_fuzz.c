/*
 * stripe_signature_fuzz.c
 *		Fuzzes stripe_signature_verify.
 *
 * Input: one byte that chooses the secrets, eight of the present time (Unix
 * seconds, big-endian), the header up to a newline, and the body.
 *
 * A finding: a webhook is called genuine that is not by a plain reading of the
 * rules, or the other way round; a reason is wrong; a byte beyond header or
 * body is read.
 */
#include "stripe_signature.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "fuzz.h"

#define PREFIX_BYTES 9
#define MAX_ELEMENTS 4096

static const char *const outcomes[] = {"genuine", "no secret", "malformed", "no match",
									   "outside the tolerance"};
static const char *const secret_lists[] = {"whsec_one",
										   "whsec_two whsec_one",
										   " \r\n\twhsec_three\nwhsec_one\twhsec_two ",
										   "whsec_two",
										   "",
										   " \t\r\n",
										   NULL};

#define LISTS ((int) (sizeof(secret_lists) / sizeof(secret_lists[0])))

typedef struct Webhook
{
	const char *secrets;
	int64_t     now;
	const char *header;
	size_t      header_length;
	const char *body;
	size_t      body_length;
} Webhook;

FUZZ_EXPECTS(outcomes)

/* Takes the input apart; false if it is too short or too long. */
static bool
read_webhook(const uint8_t *data, size_t size, Webhook *webhook)
{
	uint64_t       now = 0;
	const uint8_t *newline;

	if (size < PREFIX_BYTES || size >= MAX_ELEMENTS)
		return false;
	for (int i = 1; i < PREFIX_BYTES; i++)
		now = now << 8 | data[i];
	newline = memchr(data + PREFIX_BYTES, '\n', size - PREFIX_BYTES);
	if (newline == NULL)
		newline = data + size;
	webhook->secrets = secret_lists[data[0] % LISTS];
	webhook->now = (int64_t) now;
	webhook->header = (const char *) data + PREFIX_BYTES;
	webhook->header_length = (size_t) (newline - data) - PREFIX_BYTES;
	webhook->body = (const char *) (newline == data + size ? newline : newline + 1);
	webhook->body_length = (size_t) ((const char *) data + size - webhook->body);
	return true;
}

/* The signature, all at once. */
static void
sign_plainly(const char *secret, const char *time, const Webhook *webhook, char hex[65])
{
	size_t   time_length = strlen(time);
	uint8_t *message = malloc(time_length + 1 + webhook->body_length);
	uint8_t  mac[EVP_MAX_MD_SIZE];

	require(message != NULL, "there is memory");
	memcpy(message, time, time_length);
	message[time_length] = '.';
	if (webhook->body_length > 0)
		memcpy(message + time_length + 1, webhook->body, webhook->body_length);
	require(HMAC(EVP_sha256(), secret, (int) strlen(secret), message,
				 time_length + 1 + webhook->body_length, mac, NULL) != NULL,
			"an HMAC is computed");
	for (int i = 0; i < 32; i++)
		sprintf(hex + 2 * i, "%02x", mac[i]);
	free(message);
}

/* What is to be said of a webhook, by the rules; header is ours to cut up, no NUL is in it. */
static StripeSignatureResult
judge_plainly(const Webhook *webhook, char *header)
{
	char      *elements[MAX_ELEMENTS];
	int        count = 0;
	char      *time = NULL;
	bool       v1_seen = false;
	bool       matched = false;
	char      *secrets = strdup(webhook->secrets == NULL ? "" : webhook->secrets);
	char      *rest = NULL;
	char      *secret = strtok_r(secrets, " \t\r\n", &rest);
	bool       good = true;
	bool       configured = secret != NULL;
	__int128_t distance;

	for (char *element; (element = strsep(&header, ",")) != NULL;)
		elements[count++] = element;
	for (int i = 0; i < count; i++)
	{
		if (strchr(elements[i], '=') == NULL || elements[i][0] == '=')
			good = false;
		v1_seen |= strncmp(elements[i], "v1=", 3) == 0;
		if (strncmp(elements[i], "t=", 2) != 0)
			continue;
		if (time != NULL)
			good = false;
		time = elements[i] + 2;
		if (strlen(time) < 1 || strlen(time) > 19 || strspn(time, "0123456789") != strlen(time))
			good = false;
	}
	good = good && time != NULL && v1_seen;
	for (; good && secret != NULL; secret = strtok_r(NULL, " \t\r\n", &rest))
	{
		char hex[65];

		sign_plainly(secret, time, webhook, hex);
		for (int i = 0; i < count; i++)
			matched |= strncmp(elements[i], "v1=", 3) == 0 && strcmp(elements[i] + 3, hex) == 0;
	}
	free(secrets);
	if (!configured)
		return STRIPE_SIGNATURE_NOT_CONFIGURED;
	if (!good)
		return STRIPE_SIGNATURE_MALFORMED;
	if (!matched)
		return STRIPE_SIGNATURE_NO_MATCH;
	distance = (__int128_t) strtoull(time, NULL, 10) - webhook->now;
	if (webhook->now < 0 || distance > 300 || distance < -300)
		return STRIPE_SIGNATURE_OUTSIDE_TOLERANCE;
	return STRIPE_SIGNATURE_OK;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Webhook               webhook;
	char                 *header;
	char                 *body;
	StripeSignatureResult result;

	if (!read_webhook(data, size, &webhook))
		return 0;
	header = exact_copy(webhook.header, webhook.header_length);
	body = exact_copy(webhook.body, webhook.body_length);
	result = stripe_signature_verify(webhook.secrets, header, webhook.header_length, body,
									 webhook.body_length, webhook.now);
	free(header);
	free(body);

	/* The plain reading has C strings; SQL's texts have no NUL either. */
	if (memchr(webhook.header, '\0', webhook.header_length) != NULL)
	{
		require(result != STRIPE_SIGNATURE_FAILED, "nothing fails");
		return 0;
	}
	header = strndup(webhook.header, webhook.header_length);
	require(result == judge_plainly(&webhook, header), "judged by the rules");
	free(header);
	outcome_counts[result]++;
	return 0;
}

/* Beside libFuzzer's changes: the body signed anew, at a time near the limits of the tolerance. */
size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	static const int   distances[] = {0, -300, 300, -301, 301, 299, -3600, 17};
	static const char *forms[] = {"t=%s,v1=%s", "v1=%s,t=%s", "t=%s,v1=%s,v0=x", "t=%s,v1=0,v1=%s"};
	const char        *form = forms[seed / 16 % 4];
	Webhook            webhook;
	char               time[24];
	char               hex[65];
	char               header[200];
	size_t             header_length;
	uint8_t           *made;
	size_t             made_size;

	if (seed % 2 == 0 || !read_webhook(data, size, &webhook))
		return LLVMFuzzerMutate(data, size, max_size);
	snprintf(time, sizeof(time), "%llu",
			 (unsigned long long) webhook.now % 10000000000000000000ull +
				 (unsigned long long) distances[seed / 2 % 8]);
	sign_plainly("whsec_one", time, &webhook, hex);
	if (form[0] == 'v')
		header_length = (size_t) snprintf(header, sizeof(header), form, hex, time);
	else
		header_length = (size_t) snprintf(header, sizeof(header), form, time, hex);
	made_size = PREFIX_BYTES + header_length + 1 + webhook.body_length;
	if (made_size > max_size)
		return LLVMFuzzerMutate(data, size, max_size);
	made = malloc(made_size);
	require(made != NULL, "there is memory");
	memcpy(made, data, PREFIX_BYTES);
	memcpy(made + PREFIX_BYTES, header, header_length);
	made[PREFIX_BYTES + header_length] = '\n';
	if (webhook.body_length > 0)
		memcpy(made + PREFIX_BYTES + header_length + 1, webhook.body, webhook.body_length);
	memcpy(data, made, made_size);
	free(made);
	return made_size;
}
