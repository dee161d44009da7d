/*
 * secrets.c
 *		The server's secrets, read once from its environment: the ring of
 *		ticket secrets (TICKET_HMAC_SECRET is key id 1) and the secrets of the
 *		webhook endpoints (STRIPE_WEBHOOK_SECRET, several separated by spaces).
 *
 * They are never a setting's value, in a table, a log or a dump. Empty means
 * unset; there is no default. Reads and writes no table, takes no lock.
 */
#include "postgres.h"

#include "dvnt_ticketing.h"

static Keyring *keyring = NULL;
static const char *keyring_error = NULL;

/* Reads the environment; called when the library is loaded. */
void
load_secrets(void)
{
	keyring = keyring_from_environment(getenv("TICKET_HMAC_SECRET"), &keyring_error);
}

/* The ring of ticket secrets, NULL when there is none. */
Keyring *
ticket_keyring(void)
{
	return keyring;
}

/* Refuses when no ticket could be signed. */
void
require_ticket_keyring(void)
{
	if (keyring_count(keyring) > 0)
		return;
	refuse(NOT_CONFIGURED, NULL,
		   "Set TICKET_HMAC_SECRET (at least 32 bytes) in the environment of the PostgreSQL server and restart it.",
		   "no ticket secret is configured%s%s", keyring_error ? ": " : "", keyring_error ? keyring_error : "");
}

/* The webhook secrets, or NULL. */
const char *
webhook_secrets(void)
{
	return getenv("STRIPE_WEBHOOK_SECRET");
}
