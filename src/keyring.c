/*
 * keyring.c
 *		Owns the ticket secrets in memory, the derivation of event keys from
 *		them, and the bounded cache of derived keys.
 *
 * A key of an event is HKDF-SHA256(secret, no salt, label and event id), 32
 * bytes.  Under suite 1 it is an HMAC key, kept as the two SHA-256 states that
 * have taken in its padded forms, so that a MAC of a short message costs two
 * compressions and no allocation.  Under suite 2 it is the seed of an Ed25519
 * key pair, kept as an EVP_PKEY.
 *
 * Everything here is malloc'ed and wiped before it is freed.  Tables: none.
 * Locks: none; a Keyring is used by one thread only.
 */

/* The SHA256_* functions: the only ones that let a state be kept and copied without allocation. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "keyring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/sha.h>

#define EVENT_KEY_BYTES 32
#define LABEL_BYTES 14
#define HMAC_BLOCK_BYTES 64

#define CACHE_SET_BITS 8
#define CACHE_SETS (1 << CACHE_SET_BITS)
#define CACHE_WAYS 4

/* What an event key is for; also the last digit of its label. */
typedef enum EventKeySuite
{
	SUITE_NONE = 0, /* an empty place in the cache */
	SUITE_HMAC = 1,
	SUITE_ED25519 = 2
} EventKeySuite;

/* An event's key, ready for use. */
typedef struct EventKey
{
	int32_t       event_id;
	uint8_t       key_id;
	EventKeySuite suite;
	SHA256_CTX    inner;     /* suite 1: has taken in key xor ipad */
	SHA256_CTX    outer;     /* suite 1: has taken in key xor opad */
	EVP_PKEY     *signature; /* suite 2: the key pair */
} EventKey;

typedef struct CacheSet
{
	EventKey ways[CACHE_WAYS];
	unsigned next; /* which one is replaced next */
} CacheSet;

typedef struct Secret
{
	uint8_t *bytes; /* NULL: none of this id */
	size_t   length;
} Secret;

struct Keyring
{
	int         count;
	int         signing_id; /* 0: empty ring */
	EVP_KDF    *kdf;
	EVP_MD_CTX *context; /* for suite 2 */
	Secret      secrets[KEYRING_MAX_ID + 1];
	CacheSet    cache[CACHE_SETS];
};

/* What a base64 text turned out to be. */
typedef enum Base64Result
{
	BASE64_OK,
	BASE64_INVALID,
	BASE64_NO_MEMORY
} Base64Result;

/* Is this an id that a secret may have? */
static inline bool
is_key_id(int key_id)
{
	return key_id >= 1 && key_id <= KEYRING_MAX_ID;
}

/* Is this a space within a line? */
static inline bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Wipes and frees a buffer. */
static void
wipe_and_free(void *bytes, size_t length)
{
	if (bytes != NULL)
	{
		explicit_bzero(bytes, length);
		free(bytes);
	}
}

/* Wipes an event key; its place is then empty. */
static void
forget_event_key(EventKey *key)
{
	EVP_PKEY_free(key->signature); /* wipes the private key */
	explicit_bzero(key, sizeof(*key));
}

/* Makes an empty ring; NULL when out of memory. */
Keyring *
keyring_create(void)
{
	Keyring *ring = calloc(1, sizeof(Keyring));

	if (ring == NULL)
		return NULL;
	ring->kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	ring->context = EVP_MD_CTX_new();
	if (ring->kdf == NULL || ring->context == NULL)
	{
		keyring_free(ring);
		return NULL;
	}
	return ring;
}

/* Wipes and frees a ring; NULL is fine. */
void
keyring_free(Keyring *ring)
{
	if (ring == NULL)
		return;
	keyring_reset_cache(ring);
	for (int key_id = 1; key_id <= KEYRING_MAX_ID; key_id++)
		wipe_and_free(ring->secrets[key_id].bytes, ring->secrets[key_id].length);
	EVP_KDF_free(ring->kdf);
	EVP_MD_CTX_free(ring->context);
	explicit_bzero(ring->secrets, sizeof(ring->secrets));
	free(ring);
}

/* Adds a secret, whose bytes are copied; the first one added signs. */
bool
keyring_add(Keyring *ring, int key_id, const void *secret, size_t length, const char **error)
{
	uint8_t *bytes;

	*error = NULL;
	if (!is_key_id(key_id))
		*error = "a key id is a number from 1 to 255";
	else if (ring->secrets[key_id].bytes != NULL)
		*error = "this key id occurs twice";
	else if (length < KEYRING_SECRET_MIN_BYTES)
		*error = "the secret is shorter than 32 bytes";
	if (*error != NULL)
		return false;

	bytes = malloc(length);
	if (bytes == NULL)
	{
		*error = "out of memory";
		return false;
	}
	memcpy(bytes, secret, length);
	ring->secrets[key_id].bytes = bytes;
	ring->secrets[key_id].length = length;
	if (ring->signing_id == 0)
		ring->signing_id = key_id;
	ring->count++;
	return true;
}

/*
 * Makes a ring of one secret, whose bytes are key id 1.  NULL with *error NULL:
 * there is none (unset or empty); NULL with *error set: it is of no use.
 */
Keyring *
keyring_from_environment(const char *secret, const char **error)
{
	Keyring *ring;

	*error = NULL;
	if (secret == NULL || secret[0] == '\0')
		return NULL;
	ring = keyring_create();
	if (ring == NULL)
	{
		*error = "out of memory";
		return NULL;
	}
	if (!keyring_add(ring, 1, secret, strlen(secret), error))
	{
		keyring_free(ring);
		return NULL;
	}
	return ring;
}

/* The value of a digit of standard base64, or -1. */
static int
base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+')
		return 62;
	if (c == '/')
		return 63;
	return -1;
}

/* Decodes standard padded base64, canonical only; the caller wipes and frees *bytes. */
static Base64Result
decode_base64(const char *text, size_t length, uint8_t **bytes, size_t *bytes_length)
{
	size_t       padding = 0;
	size_t       filled = 0;
	uint32_t     bits = 0;
	Base64Result result = BASE64_OK;

	*bytes = NULL;
	*bytes_length = 0;
	if (length == 0 || length % 4 != 0)
		return BASE64_INVALID;
	while (padding < 2 && text[length - 1 - padding] == '=')
		padding++;

	*bytes_length = length / 4 * 3 - padding;
	*bytes = malloc(*bytes_length);
	if (*bytes == NULL)
		return BASE64_NO_MEMORY;
	for (size_t i = 0; i < length; i++)
	{
		int digit = i < length - padding ? base64_digit(text[i]) : 0;

		if (digit < 0)
		{
			result = BASE64_INVALID;
			break;
		}
		bits = bits << 6 | (uint32_t) digit;
		if (i % 4 != 3)
			continue;
		for (int shift = 16; shift >= 0; shift -= 8)
		{
			uint8_t byte = bits >> shift & 0xFF;

			if (filled < *bytes_length)
				(*bytes)[filled++] = byte;
			else if (byte != 0)
				result = BASE64_INVALID; /* bits that the padding says are not there */
		}
		bits = 0;
	}
	explicit_bzero(&bits, sizeof(bits));
	if (result != BASE64_OK)
	{
		wipe_and_free(*bytes, *bytes_length);
		*bytes = NULL;
	}
	return result;
}

/* Adds the secret of one line, `id:base64`, without blanks or comment around it. */
static bool
add_line(Keyring *ring, const char *line, size_t length, const char **error)
{
	size_t   digits = 0;
	int      key_id = 0;
	uint8_t *secret;
	size_t   secret_length;
	bool     added;

	while (digits < length && digits < 3 && line[digits] >= '0' && line[digits] <= '9')
		key_id = key_id * 10 + (line[digits++] - '0');
	if (digits == length || line[digits] != ':' || line[0] == '0' || !is_key_id(key_id))
	{
		*error = "expected id:base64 with an id from 1 to 255";
		return false;
	}
	switch (decode_base64(line + digits + 1, length - digits - 1, &secret, &secret_length))
	{
		case BASE64_OK:
			break;
		case BASE64_NO_MEMORY:
			*error = "out of memory";
			return false;
		case BASE64_INVALID:
			*error = "the secret is not standard base64 with padding";
			return false;
	}
	added = keyring_add(ring, key_id, secret, secret_length, error);
	wipe_and_free(secret, secret_length);
	return added;
}

/*
 * Makes a ring of a key file's text: lines `id:base64`, blank lines, and
 * comments from a `#` at the start of a line or after a blank.  The first key
 * signs.  NULL with a message, which names the line and never its content,
 * when any line is bad or there is no key at all.
 */
Keyring *
keyring_from_file_text(const char *text, size_t length, char *error, size_t error_size)
{
	Keyring    *ring = keyring_create();
	const char *mistake = NULL;
	const char *end = text + length;
	int         line_number = 0;

	if (ring == NULL)
	{
		snprintf(error, error_size, "out of memory");
		return NULL;
	}
	for (const char *next, *line = text; line < end && mistake == NULL; line = next)
	{
		const char *newline = memchr(line, '\n', (size_t) (end - line));
		const char *stop = newline == NULL ? end : newline;

		next = newline == NULL ? end : newline + 1;
		line_number++;
		while (line < stop && is_blank(*line))
			line++;
		for (const char *c = line; c < stop; c++)
			if (*c == '#' && (c == line || is_blank(c[-1])))
				stop = c;
		while (stop > line && is_blank(stop[-1]))
			stop--;
		if (line < stop)
			add_line(ring, line, (size_t) (stop - line), &mistake);
	}
	if (mistake != NULL)
		snprintf(error, error_size, "line %d: %s", line_number, mistake);
	else if (ring->count == 0)
		snprintf(error, error_size, "the file has no key");
	else
		return ring;
	keyring_free(ring);
	return NULL;
}

/* How many secrets there are. */
int
keyring_count(const Keyring *ring)
{
	return ring == NULL ? 0 : ring->count;
}

/* The id of the secret that signs; 0 when there is none. */
int
keyring_signing_id(const Keyring *ring)
{
	return ring == NULL ? 0 : ring->signing_id;
}

/* Is there a secret of this id? */
bool
keyring_has(const Keyring *ring, int key_id)
{
	return ring != NULL && is_key_id(key_id) && ring->secrets[key_id].bytes != NULL;
}

/* Forgets every derived key; the secrets stay. */
void
keyring_reset_cache(Keyring *ring)
{
	if (ring == NULL)
		return;
	for (int set = 0; set < CACHE_SETS; set++)
		for (int way = 0; way < CACHE_WAYS; way++)
			if (ring->cache[set].ways[way].suite != SUITE_NONE)
				forget_event_key(&ring->cache[set].ways[way]);
}

/* Derives the 32 bytes of an event's key. */
static bool
derive(Keyring *ring, EventKeySuite suite, int key_id, int32_t event_id,
	   uint8_t key[EVENT_KEY_BYTES])
{
	Secret      *secret = &ring->secrets[key_id];
	uint32_t     event = (uint32_t) event_id;
	uint8_t      info[LABEL_BYTES + 4];
	OSSL_PARAM   parameters[4];
	EVP_KDF_CTX *context = EVP_KDF_CTX_new(ring->kdf);
	bool         derived;

	if (context == NULL)
		return false;
	memcpy(info, suite == SUITE_HMAC ? "dvnt-ticket-v1" : "dvnt-ticket-v2", LABEL_BYTES);
	info[LABEL_BYTES] = event >> 24;
	info[LABEL_BYTES + 1] = event >> 16 & 0xFF;
	info[LABEL_BYTES + 2] = event >> 8 & 0xFF;
	info[LABEL_BYTES + 3] = event & 0xFF;

	parameters[0] = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *) "SHA256", 0);
	parameters[1] =
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret->bytes, secret->length);
	parameters[2] = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof(info));
	parameters[3] = OSSL_PARAM_construct_end();
	derived = EVP_KDF_derive(context, key, EVENT_KEY_BYTES, parameters) == 1;
	EVP_KDF_CTX_free(context);
	return derived;
}

/* Takes the padded key into a fresh state. */
static bool
absorb_padded_key(SHA256_CTX *state, const uint8_t key[EVENT_KEY_BYTES], uint8_t pad)
{
	uint8_t block[HMAC_BLOCK_BYTES];
	bool    absorbed;

	memset(block, pad, sizeof(block));
	for (int i = 0; i < EVENT_KEY_BYTES; i++)
		block[i] ^= key[i];
	absorbed = SHA256_Init(state) == 1 && SHA256_Update(state, block, sizeof(block)) == 1;
	explicit_bzero(block, sizeof(block));
	return absorbed;
}

/* Derives an event's key into an empty place of the cache. */
static bool
prepare_event_key(Keyring *ring, EventKey *key, EventKeySuite suite, int key_id, int32_t event_id)
{
	uint8_t bytes[EVENT_KEY_BYTES];
	bool    prepared = derive(ring, suite, key_id, event_id, bytes);

	if (prepared && suite == SUITE_HMAC)
		prepared = absorb_padded_key(&key->inner, bytes, 0x36) &&
				   absorb_padded_key(&key->outer, bytes, 0x5C);
	else if (prepared)
	{
		key->signature = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, bytes, sizeof(bytes));
		prepared = key->signature != NULL;
	}
	explicit_bzero(bytes, sizeof(bytes));
	if (!prepared)
	{
		forget_event_key(key);
		return false;
	}
	key->event_id = event_id;
	key->key_id = (uint8_t) key_id;
	key->suite = suite;
	return true;
}

/* Finds an event's key in the cache, or derives it; the secret is known to exist. */
static EventKey *
find_event_key(Keyring *ring, EventKeySuite suite, int key_id, int32_t event_id)
{
	uint32_t  hash = (uint32_t) event_id * 4u + (uint32_t) suite + (uint32_t) key_id * 0x01000193u;
	CacheSet *set;
	EventKey *key;

	hash *= 0x9E3779B1u; /* multiplicative hashing: the high bits are the good ones */
	set = &ring->cache[hash >> (32 - CACHE_SET_BITS)];
	for (int way = 0; way < CACHE_WAYS; way++)
	{
		key = &set->ways[way];
		if (key->event_id == event_id && key->key_id == key_id && key->suite == suite)
			return key;
	}
	key = &set->ways[set->next++ % CACHE_WAYS];
	if (key->suite != SUITE_NONE)
		forget_event_key(key);
	return prepare_event_key(ring, key, suite, key_id, event_id) ? key : NULL;
}

/* HMAC-SHA-256 of a message under the event's key of suite 1. */
KeyringResult
keyring_mac(Keyring *ring, int key_id, int32_t event_id, const void *message, size_t length,
			uint8_t mac[KEYRING_MAC_BYTES])
{
	EventKey  *key;
	SHA256_CTX state;

	if (!keyring_has(ring, key_id))
		return KEYRING_UNKNOWN_KEY;
	key = find_event_key(ring, SUITE_HMAC, key_id, event_id);
	if (key == NULL)
		return KEYRING_FAILED;

	state = key->inner;
	SHA256_Update(&state, message, length);
	SHA256_Final(mac, &state);
	state = key->outer;
	SHA256_Update(&state, mac, KEYRING_MAC_BYTES);
	SHA256_Final(mac, &state);
	return KEYRING_OK;
}

/* Signs a message with the event's key pair of suite 2. */
KeyringResult
keyring_ed25519_sign(Keyring *ring, int key_id, int32_t event_id, const void *message,
					 size_t length, uint8_t signature[KEYRING_ED25519_SIGNATURE_BYTES])
{
	EventKey *key;
	size_t    signature_length = KEYRING_ED25519_SIGNATURE_BYTES;

	if (!keyring_has(ring, key_id))
		return KEYRING_UNKNOWN_KEY;
	key = find_event_key(ring, SUITE_ED25519, key_id, event_id);
	if (key == NULL || EVP_MD_CTX_reset(ring->context) != 1 ||
		EVP_DigestSignInit(ring->context, NULL, NULL, NULL, key->signature) != 1 ||
		EVP_DigestSign(ring->context, signature, &signature_length, message, length) != 1 ||
		signature_length != KEYRING_ED25519_SIGNATURE_BYTES)
		return KEYRING_FAILED;
	return KEYRING_OK;
}

/* Verifies a signature of suite 2. */
KeyringResult
keyring_ed25519_verify(Keyring *ring, int key_id, int32_t event_id, const void *message,
					   size_t length, const uint8_t signature[KEYRING_ED25519_SIGNATURE_BYTES])
{
	EventKey *key;

	if (!keyring_has(ring, key_id))
		return KEYRING_UNKNOWN_KEY;
	key = find_event_key(ring, SUITE_ED25519, key_id, event_id);
	if (key == NULL || EVP_MD_CTX_reset(ring->context) != 1 ||
		EVP_DigestVerifyInit(ring->context, NULL, NULL, NULL, key->signature) != 1)
		return KEYRING_FAILED;
	if (EVP_DigestVerify(ring->context, signature, KEYRING_ED25519_SIGNATURE_BYTES, message,
						 length) != 1)
		return KEYRING_BAD_SIGNATURE;
	return KEYRING_OK;
}

/* The public half of the event's key pair of suite 2, which devices may have. */
KeyringResult
keyring_ed25519_public_key(Keyring *ring, int key_id, int32_t event_id,
						   uint8_t public_key[KEYRING_ED25519_PUBLIC_KEY_BYTES])
{
	EventKey *key;
	size_t    length = KEYRING_ED25519_PUBLIC_KEY_BYTES;

	if (!keyring_has(ring, key_id))
		return KEYRING_UNKNOWN_KEY;
	key = find_event_key(ring, SUITE_ED25519, key_id, event_id);
	if (key == NULL || EVP_PKEY_get_raw_public_key(key->signature, public_key, &length) != 1)
		return KEYRING_FAILED;
	return KEYRING_OK;
}
