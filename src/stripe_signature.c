/*
 * stripe_signature.c
 *		Owns the check of a Stripe webhook's signature.
 *
 * Header: t=<Unix seconds>,v1=<hex>[,v1=<hex>][,<other scheme>=...], in any
 * order.  A v1 is hex(HMAC-SHA-256(whole secret, t "." body)), over the bytes
 * as they were received.  Time is looked at only when a signature has matched,
 * so that a stranger learns nothing from the answer.
 *
 * Tables: none.  Locks: none.
 */
#include "stripe_signature.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#define MAC_BYTES 32
#define MAX_TIMESTAMP_DIGITS 19

/* A part of the header; not NUL-terminated. */
typedef struct Span
{
	const char *start;
	size_t      length;
} Span;

/* May this character separate two secrets? */
static inline bool
is_separator(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* The stable name of a result. */
const char *
stripe_signature_result_name(StripeSignatureResult result)
{
	switch (result)
	{
		case STRIPE_SIGNATURE_OK:
			return "ok";
		case STRIPE_SIGNATURE_NOT_CONFIGURED:
			return "not_configured";
		case STRIPE_SIGNATURE_MALFORMED:
			return "malformed";
		case STRIPE_SIGNATURE_NO_MATCH:
			return "no_match";
		case STRIPE_SIGNATURE_OUTSIDE_TOLERANCE:
			return "outside_tolerance";
		case STRIPE_SIGNATURE_FAILED:
			return "failed";
	}
	return "failed";
}

/* Takes the next secret off the list; false when there is none. */
static bool
next_secret(const char **rest, Span *secret)
{
	while (is_separator(**rest))
		(*rest)++;
	secret->start = *rest;
	while (**rest != '\0' && !is_separator(**rest))
		(*rest)++;
	secret->length = (size_t) (*rest - secret->start);
	return secret->length > 0;
}

/* Takes the next `scheme=value` off the header; false when it is not one. */
static bool
next_element(Span *rest, Span *scheme, Span *value)
{
	const char *comma = memchr(rest->start, ',', rest->length);
	size_t      length = comma == NULL ? rest->length : (size_t) (comma - rest->start);
	const char *equals = memchr(rest->start, '=', length);

	if (equals == NULL || equals == rest->start)
		return false;
	scheme->start = rest->start;
	scheme->length = (size_t) (equals - rest->start);
	value->start = equals + 1;
	value->length = length - scheme->length - 1;
	rest->start += length;
	rest->length -= length;
	if (comma != NULL)
	{
		rest->start++;
		rest->length--;
		return rest->length > 0; /* nothing after the comma */
	}
	return true;
}

/* Is a part of the header this text? */
static bool
span_is(const Span *span, const char *text)
{
	return span->length == strlen(text) && memcmp(span->start, text, span->length) == 0;
}

/* Reads 1 to 19 decimal digits: always fits. */
static bool
read_timestamp(const Span *digits, uint64_t *timestamp)
{
	*timestamp = 0;
	if (digits->length == 0 || digits->length > MAX_TIMESTAMP_DIGITS)
		return false;
	for (size_t i = 0; i < digits->length; i++)
	{
		if (digits->start[i] < '0' || digits->start[i] > '9')
			return false;
		*timestamp = *timestamp * 10 + (uint64_t) (digits->start[i] - '0');
	}
	return true;
}

/* Checks the header's form and finds its one timestamp; at least one v1 must be there. */
static bool
read_header(Span header, Span *timestamp_digits, uint64_t *timestamp)
{
	bool timestamp_seen = false;
	bool v1_seen = false;
	Span scheme;
	Span value;

	if (header.length == 0)
		return false;
	while (header.length > 0)
	{
		if (!next_element(&header, &scheme, &value))
			return false;
		if (span_is(&scheme, "v1"))
			v1_seen = true;
		else if (span_is(&scheme, "t"))
		{
			if (timestamp_seen || !read_timestamp(&value, timestamp))
				return false;
			*timestamp_digits = value;
			timestamp_seen = true;
		}
	}
	return timestamp_seen && v1_seen;
}

/* Computes hex(HMAC-SHA-256(secret, timestamp "." body)). */
static bool
compute_v1(EVP_MAC *mac, const Span *secret, const Span *timestamp, const void *body,
		   size_t body_length, char hex[STRIPE_SIGNATURE_HEX_CHARS + 1])
{
	static const char digits[] = "0123456789abcdef";
	EVP_MAC_CTX      *context = EVP_MAC_CTX_new(mac);
	uint8_t           bytes[MAC_BYTES] = {0};
	size_t            length = 0;
	OSSL_PARAM        parameters[2];
	bool              computed;

	if (context == NULL)
		return false;
	parameters[0] = OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *) "SHA256", 0);
	parameters[1] = OSSL_PARAM_construct_end();
	computed =
		EVP_MAC_init(context, (const uint8_t *) secret->start, secret->length, parameters) == 1 &&
		EVP_MAC_update(context, (const uint8_t *) timestamp->start, timestamp->length) == 1 &&
		EVP_MAC_update(context, (const uint8_t *) ".", 1) == 1 &&
		EVP_MAC_update(context, body, body_length) == 1 &&
		EVP_MAC_final(context, bytes, &length, sizeof(bytes)) == 1 && length == MAC_BYTES;
	EVP_MAC_CTX_free(context);
	for (int i = 0; i < MAC_BYTES; i++)
	{
		hex[2 * i] = digits[bytes[i] >> 4];
		hex[2 * i + 1] = digits[bytes[i] & 0x0F];
	}
	hex[STRIPE_SIGNATURE_HEX_CHARS] = '\0';
	explicit_bzero(bytes, sizeof(bytes));
	return computed;
}

/* Is any v1 of the header this one?  Looks at all of them, each in constant time. */
static bool
header_has_v1(Span header, const char hex[STRIPE_SIGNATURE_HEX_CHARS + 1])
{
	bool found = false;
	Span scheme;
	Span value;

	while (header.length > 0 && next_element(&header, &scheme, &value))
		if (span_is(&scheme, "v1") && value.length == STRIPE_SIGNATURE_HEX_CHARS)
			found |= CRYPTO_memcmp(value.start, hex, STRIPE_SIGNATURE_HEX_CHARS) == 0;
	return found;
}

/* Is a time within the tolerance, either way? */
static bool
within_tolerance(uint64_t timestamp, int64_t now)
{
	uint64_t distance;

	if (now < 0)
		return false;
	distance = timestamp > (uint64_t) now ? timestamp - (uint64_t) now : (uint64_t) now - timestamp;
	return distance <= STRIPE_SIGNATURE_TOLERANCE_SECONDS;
}

/* Checks a webhook: is it of one of the secrets, and is it of now? */
StripeSignatureResult
stripe_signature_verify(const char *secrets, const char *header, size_t header_length,
						const void *body, size_t body_length, int64_t now)
{
	const char *rest = secrets == NULL ? "" : secrets;
	Span        whole = {header, header_length};
	Span        secret;
	Span        timestamp_digits;
	uint64_t    timestamp = 0;
	EVP_MAC    *mac;
	char        hex[STRIPE_SIGNATURE_HEX_CHARS + 1];
	bool        matched = false;
	bool        computed = true;

	if (!next_secret(&rest, &secret))
		return STRIPE_SIGNATURE_NOT_CONFIGURED;
	if (!read_header(whole, &timestamp_digits, &timestamp))
		return STRIPE_SIGNATURE_MALFORMED;
	mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	if (mac == NULL)
		return STRIPE_SIGNATURE_FAILED;
	do
	{
		computed = compute_v1(mac, &secret, &timestamp_digits, body, body_length, hex);
		if (computed)
			matched |= header_has_v1(whole, hex);
	} while (computed && next_secret(&rest, &secret));
	EVP_MAC_free(mac);
	explicit_bzero(hex, sizeof(hex));

	if (!computed)
		return STRIPE_SIGNATURE_FAILED;
	if (!matched)
		return STRIPE_SIGNATURE_NO_MATCH;
	if (!within_tolerance(timestamp, now))
		return STRIPE_SIGNATURE_OUTSIDE_TOLERANCE;
	return STRIPE_SIGNATURE_OK;
}

/* For tests and local senders: the v1 of a body under one secret. */
bool
stripe_signature_sign(const char *secret, int64_t timestamp, const void *body, size_t body_length,
					  char hex[STRIPE_SIGNATURE_HEX_CHARS + 1])
{
	char     digits[MAX_TIMESTAMP_DIGITS + 2];
	Span     secret_span = {secret, strlen(secret)};
	Span     timestamp_span = {digits, 0};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	bool     computed;

	if (mac == NULL)
		return false;
	timestamp_span.length = (size_t) snprintf(digits, sizeof(digits), "%" PRId64, timestamp);
	computed = compute_v1(mac, &secret_span, &timestamp_span, body, body_length, hex);
	EVP_MAC_free(mac);
	return computed;
}
