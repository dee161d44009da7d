/*
 * stripe_signature_test.c
 *		Tests of stripe_signature.c.
 *
 * Broken if they fail: a stranger can tell us that an order is paid, an old
 * webhook can be replayed, or Stripe's own are refused.
 */
#include "stripe_signature.h"
#include "tap.h"

#define NOW INT64_C(1700000000)
#define SECRET "whsec_test_secret"
#define BODY "{\"id\":\"evt_test_1\",\"object\":\"event\"}"
#define V1 "29ab30b7065c11b28e53ac114fac5d6c492ed811a12d11ed2c2aad5bb4cf9809"
#define V1_OF_OTHER "1e2e0551a8a0c4d75738fd6666928fc659d73d2e5ea3964c41b7c9012a8c1e57"
#define V1_OF_EMPTY_BODY "316b9ab98c15bfa039d243f3196acee619cf29749a91a634e6a8154e2f7b6727"
#define WRONG "0000000000000000000000000000000000000000000000000000000000000000"
#define UPPER "29AB30B7065C11B28E53AC114FAC5D6C492ED811A12D11ED2C2AAD5BB4CF9809"

/* The name of the result for these secrets and this header at this time. */
static const char *
result_at(const char *secrets, const char *header, int64_t now)
{
	return stripe_signature_result_name(
		stripe_signature_verify(secrets, header, strlen(header), BODY, strlen(BODY), now));
}

/* The name of the result of a header that our secret signed for `timestamp`, at NOW. */
static const char *
result_signed_at(int64_t timestamp)
{
	char hex[STRIPE_SIGNATURE_HEX_CHARS + 1];
	char header[200];

	if (!stripe_signature_sign(SECRET, timestamp, BODY, strlen(BODY), hex))
		return "not signed";
	snprintf(header, sizeof(header), "t=%lld,v1=%s", (long long) timestamp, hex);
	return result_at(SECRET, header, NOW);
}

/* Stripe's scheme: which headers count. */
static void
test_headers(void)
{
	static const struct
	{
		const char *header;
		const char *result;
		const char *description;
	} cases[] = {
		{"t=1700000000,v1=" V1, "ok", "a plain header"},
		{"v1=" V1 ",t=1700000000", "ok", "in another order"},
		{"t=1700000000,v1=" V1 ",v0=" WRONG, "ok", "with another scheme"},
		{"t=1700000000,v2=x=y,v1=" V1, "ok", "with a scheme of the future"},
		{"t=1700000000,v0=,v1=" V1, "ok", "with an empty value of another scheme"},
		{"t=1700000000,v1=" WRONG ",v1=" V1, "ok", "the second v1 matches"},
		{"t=1700000000,v1=" V1 ",v1=" WRONG, "ok", "the first v1 matches"},
		{"t=1700000000,v1=" WRONG ",v1=" WRONG, "no_match", "no v1 matches"},
		{"t=1700000000,v1=" V1_OF_OTHER, "no_match", "signed by another secret"},
		{"t=1700000000,v1=" V1_OF_EMPTY_BODY, "no_match", "signed for another body"},
		{"t=1700000001,v1=" V1, "no_match", "signed for another time"},
		{"t=01700000000,v1=" V1, "no_match", "the time is signed as it is written"},
		{"t=1700000000,v1=" UPPER, "no_match", "upper-case hexadecimal is not what Stripe writes"},
		{"t=1700000000,v1=" V1 "0", "no_match", "a longer v1"},
		{"t=1700000000,v1=29ab30b7", "no_match", "a shorter v1"},
		{"t=1700000000,v1=", "no_match", "an empty v1"},
		{"t=1700000000,v1= " V1, "no_match", "a blank before the value"},
		{"t=1700000000,v0=" V1, "malformed", "no v1"},
		{"t=1700000000, v1=" V1, "malformed", "a blank before the scheme"},
		{"t=1700000000,V1=" V1, "malformed", "an upper-case scheme"},
		{"v1=" V1, "malformed", "no t"},
		{"t=,v1=" V1, "malformed", "an empty t"},
		{"t=1700000000,t=1700000000,v1=" V1, "malformed", "two t"},
		{"t=+1700000000,v1=" V1, "malformed", "t with a plus sign"},
		{"t=-1700000000,v1=" V1, "malformed", "t with a minus sign"},
		{"t= 1700000000,v1=" V1, "malformed", "t with a blank"},
		{"t=1700000000.0,v1=" V1, "malformed", "t with a fraction"},
		{"t=0x6553f100,v1=" V1, "malformed", "t in hexadecimal"},
		{"t=10000000000000000000,v1=" V1, "malformed", "t of 20 digits"},
		{"t=9999999999999999999,v1=" V1, "no_match", "t of 19 digits, beyond 63 bits"},
		{"t=1700000000,v1=" V1 ",", "malformed", "a comma at the end"},
		{",t=1700000000,v1=" V1, "malformed", "a comma at the start"},
		{"t=1700000000,,v1=" V1, "malformed", "two commas"},
		{"t=1700000000,v1", "malformed", "no equals sign"},
		{"t=1700000000,=" V1, "malformed", "no scheme"},
		{"", "malformed", "an empty header"},
		{"t", "malformed", "a header of one letter"},
		{"=", "malformed", "a header of an equals sign"},
		{",", "malformed", "a header of a comma"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		is_text(result_at(SECRET, cases[i].header, NOW), cases[i].result, cases[i].description);
}

/* Two endpoints (platform and Connect) and a rotation need several secrets. */
static void
test_secrets(void)
{
	static const char header[] = "t=1700000000,v1=" V1;

	is_text(result_at(NULL, header, NOW), "not_configured", "no secret");
	is_text(result_at("", header, NOW), "not_configured", "an empty secret");
	is_text(result_at(" \t\n ", header, NOW), "not_configured", "a blank secret");
	is_text(result_at("", "", NOW), "not_configured", "no secret comes before no header");
	is_text(result_at("whsec_other " SECRET, header, NOW), "ok", "the second secret matches");
	is_text(result_at(SECRET " whsec_other", header, NOW), "ok", "the first secret matches");
	is_text(result_at("  a  " SECRET "\n", header, NOW), "ok", "blanks around secrets");
	is_text(result_at("whsec_other whsec_third", header, NOW), "no_match", "no secret matches");
	is_text(result_at("whsec_test_secre", header, NOW), "no_match", "the whole secret is the key");
	is_text(result_at("test_secret", header, NOW), "no_match", "its prefix included");
}

/* A replay must fail after five minutes, and say so only to one who could sign. */
static void
test_tolerance(void)
{
	is_text(result_signed_at(NOW), "ok", "of now");
	is_text(result_signed_at(NOW - 300), "ok", "300 s old");
	is_text(result_signed_at(NOW - 301), "outside_tolerance", "301 s old");
	is_text(result_signed_at(NOW + 300), "ok", "300 s ahead");
	is_text(result_signed_at(NOW + 301), "outside_tolerance", "301 s ahead");
	is_text(result_signed_at(0), "outside_tolerance", "of 1970");
	is_text(result_signed_at(INT64_MAX), "outside_tolerance", "of the end of time");
	is_text(result_at(SECRET, "t=1600000000,v1=" V1, NOW), "no_match",
			"an old time without a signature is no match");
	is_text(result_at(SECRET, "t=1700000000,v1=" V1, -1), "outside_tolerance",
			"a clock before 1970 accepts nothing");
}

/* The bytes are signed as they were received. */
static void
test_body(void)
{
	char hex[STRIPE_SIGNATURE_HEX_CHARS + 1];
	char body[] = BODY;
	int  matched = 0;

	ok(stripe_signature_sign(SECRET, NOW, BODY, strlen(BODY), hex), "signed");
	is_text(hex, V1, "the known signature");
	ok(stripe_signature_sign(SECRET, NOW, "", 0, hex), "an empty body is signed");
	is_text(hex, V1_OF_EMPTY_BODY, "the known signature");
	for (size_t i = 0; i < sizeof(body) - 1; i++)
		for (int bit = 0; bit < 8; bit++)
		{
			body[i] ^= (char) (1 << bit);
			matched += stripe_signature_verify(SECRET, "t=1700000000,v1=" V1, 80, body,
											   sizeof(body) - 1, NOW) != STRIPE_SIGNATURE_NO_MATCH;
			body[i] ^= (char) (1 << bit);
		}
	is_number(matched, 0, "no body with one bit flipped matches");
	ok(stripe_signature_sign(SECRET, NOW, "\0\xff\n", 3, hex), "bytes that are no text are signed");
	{
		char header[100];

		snprintf(header, sizeof(header), "t=1700000000,v1=%s", hex);
		is_number(stripe_signature_verify(SECRET, header, strlen(header), "\0\xff\n", 3, NOW),
				  STRIPE_SIGNATURE_OK, "and verified");
		is_number(stripe_signature_verify(SECRET, header, strlen(header), "\0", 1, NOW),
				  STRIPE_SIGNATURE_NO_MATCH, "to their end");
	}
}

int
main(void)
{
	test_headers();
	test_secrets();
	test_tolerance();
	test_body();
	return done_testing();
}
