/*
 * stripe_signature.h
 *		The signature of a Stripe webhook (header Stripe-Signature).
 *
 * This file is pure C: no backend symbol, no catalog, no SPI.
 */
#ifndef DVNT_STRIPE_SIGNATURE_H
#define DVNT_STRIPE_SIGNATURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STRIPE_SIGNATURE_TOLERANCE_SECONDS 300 /* 300 passes, 301 fails */
#define STRIPE_SIGNATURE_HEX_CHARS 64

typedef enum StripeSignatureResult
{
	STRIPE_SIGNATURE_OK = 0,
	STRIPE_SIGNATURE_NOT_CONFIGURED,    /* no secret */
	STRIPE_SIGNATURE_MALFORMED,         /* not a header of this form */
	STRIPE_SIGNATURE_NO_MATCH,          /* no v1 is of any of the secrets */
	STRIPE_SIGNATURE_OUTSIDE_TOLERANCE, /* genuine, but too old or from the future */
	STRIPE_SIGNATURE_FAILED             /* out of memory or a fault of OpenSSL */
} StripeSignatureResult;

/* "ok", "not_configured", "malformed", "no_match", "outside_tolerance", "failed" */
extern const char *stripe_signature_result_name(StripeSignatureResult result);

/* secrets: one or several separated by white space, NULL or blank for none; now: Unix seconds */
extern StripeSignatureResult stripe_signature_verify(const char *secrets, const char *header,
													 size_t header_length, const void *body,
													 size_t body_length, int64_t now);

/* For tests and local senders: the v1 of one secret, 64 lower-case hex digits and a NUL. */
extern bool stripe_signature_sign(const char *secret, int64_t timestamp, const void *body,
								  size_t body_length, char hex[STRIPE_SIGNATURE_HEX_CHARS + 1]);

#endif /* DVNT_STRIPE_SIGNATURE_H */
