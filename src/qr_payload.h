/*
 * qr_payload.h
 *		The signed text in a ticket's QR code.
 *
 * base64url without padding of: suite (1 byte), key id (1), ticket id (16),
 * event id (4, big-endian), nonce (8), signature over all before it.
 *
 * This file is pure C: no backend symbol, no catalog, no SPI.
 */
#ifndef DVNT_QR_PAYLOAD_H
#define DVNT_QR_PAYLOAD_H

#include "keyring.h"

#define QR_SUITE_HMAC 1    /* HMAC-SHA-256, cut to 16 bytes */
#define QR_SUITE_ED25519 2 /* Ed25519, for events whose devices verify offline */

#define QR_TICKET_ID_BYTES 16
#define QR_NONCE_BYTES 8
#define QR_SIGNED_BYTES 30 /* all before the signature */
#define QR_HMAC_SIGNATURE_BYTES 16
#define QR_HMAC_PAYLOAD_CHARS 62     /* 46 bytes */
#define QR_ED25519_PAYLOAD_CHARS 126 /* 94 bytes */
#define QR_PAYLOAD_MAX_CHARS QR_ED25519_PAYLOAD_CHARS

typedef enum QrVerdict
{
	QR_VALID = 0,
	QR_MALFORMED,      /* not a payload at all */
	QR_UNKNOWN_KEY,    /* well formed, but no secret has its key id */
	QR_BAD_SIGNATURE,  /* not signed by us */
	QR_NOT_CONFIGURED, /* the ring holds no secret: nothing can be said */
	QR_FAILED          /* out of memory or a fault of OpenSSL: nothing can be said */
} QrVerdict;

typedef struct QrPayload
{
	uint8_t suite;
	uint8_t key_id;
	uint8_t ticket_id[QR_TICKET_ID_BYTES];
	int32_t event_id;
	uint8_t nonce[QR_NONCE_BYTES];
	uint8_t signed_bytes[QR_SIGNED_BYTES]; /* as they were received */
	uint8_t signature[KEYRING_ED25519_SIGNATURE_BYTES];
	size_t  signature_length;
} QrPayload;

/* "valid", "malformed", "unknown_key", "bad_signature", "not_configured", "failed" */
extern const char *qr_verdict_name(QrVerdict verdict);

/* QR_VALID or QR_MALFORMED; says nothing about the signature. */
extern QrVerdict qr_payload_decode(const char *text, size_t length, QrPayload *payload);

/* Decodes, then checks the key id, then the signature.  *payload is all zero when malformed. */
extern QrVerdict qr_payload_verify(Keyring *ring, const char *text, size_t length,
								   QrPayload *payload);

/* Signs with the ring's signing key; QR_VALID, or another verdict and *error set. */
extern QrVerdict qr_payload_sign(Keyring *ring, int suite,
								 const uint8_t ticket_id[QR_TICKET_ID_BYTES], int32_t event_id,
								 const uint8_t nonce[QR_NONCE_BYTES],
								 char out[QR_PAYLOAD_MAX_CHARS + 1], const char **error);

#endif /* DVNT_QR_PAYLOAD_H */
