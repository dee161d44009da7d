/*
 * keyring.h
 *		The ring of ticket secrets, in memory only, and the event keys derived
 *		from them.
 *
 * A Keyring holds up to 255 secrets, each with an id from 1 to 255.  One of
 * them signs, all of them verify.  A key of an event is derived by HKDF-SHA256
 * and kept ready for use in a bounded cache.  A Keyring is used by one thread
 * only.
 *
 * This file is pure C: no backend symbol, no catalog, no SPI.
 */
#ifndef DVNT_KEYRING_H
#define DVNT_KEYRING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEYRING_SECRET_MIN_BYTES 32 /* a shorter secret is refused */
#define KEYRING_MAX_ID 255
#define KEYRING_MAC_BYTES 32
#define KEYRING_ED25519_PUBLIC_KEY_BYTES 32
#define KEYRING_ED25519_SIGNATURE_BYTES 64

typedef struct Keyring Keyring;

typedef enum KeyringResult
{
	KEYRING_OK = 0,
	KEYRING_UNKNOWN_KEY,   /* no secret has this id */
	KEYRING_BAD_SIGNATURE, /* the signature is not of this key and these bytes */
	KEYRING_FAILED         /* out of memory, or OpenSSL refused */
} KeyringResult;

/* Making a ring.  All return NULL on failure. */
extern Keyring *keyring_create(void);
extern Keyring *keyring_from_environment(const char *secret, const char **error);
extern Keyring *keyring_from_file_text(const char *text, size_t length, char *error,
									   size_t error_size);
extern bool     keyring_add(Keyring *ring, int key_id, const void *secret, size_t length,
							const char **error);
extern void     keyring_free(Keyring *ring);

/* Asking a ring.  A NULL ring is an empty one. */
extern int  keyring_count(const Keyring *ring);
extern int  keyring_signing_id(const Keyring *ring);
extern bool keyring_has(const Keyring *ring, int key_id);

/* Forgets every derived key; the secrets stay. */
extern void keyring_reset_cache(Keyring *ring);

/* Suite 1: HMAC-SHA-256 of a message under the event's key. */
extern KeyringResult keyring_mac(Keyring *ring, int key_id, int32_t event_id, const void *message,
								 size_t length, uint8_t mac[KEYRING_MAC_BYTES]);

/* Suite 2: Ed25519 under the event's key pair. */
extern KeyringResult keyring_ed25519_sign(Keyring *ring, int key_id, int32_t event_id,
										  const void *message, size_t length,
										  uint8_t signature[KEYRING_ED25519_SIGNATURE_BYTES]);
extern KeyringResult
keyring_ed25519_verify(Keyring *ring, int key_id, int32_t event_id, const void *message,
					   size_t length, const uint8_t signature[KEYRING_ED25519_SIGNATURE_BYTES]);
extern KeyringResult
keyring_ed25519_public_key(Keyring *ring, int key_id, int32_t event_id,
						   uint8_t public_key[KEYRING_ED25519_PUBLIC_KEY_BYTES]);

#endif /* DVNT_KEYRING_H */
