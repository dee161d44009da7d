/*
 * secrets.c
 *		The server's secrets: the ring of ticket secrets that is in use, and the
 *		secrets of the webhook endpoints (STRIPE_WEBHOOK_SECRET, several
 *		separated by spaces).
 *
 * The ring is made of the key file that dvnt_ticketing.key_file names, or,
 * where that is empty, of the environment (TICKET_HMAC_SECRET is key id 1).
 * Where the library is preloaded the postmaster reads the key file, when it
 * starts and on each reload of its configuration, and shares what it has read
 * (shared_keys.c): its backends inherit the ring, and take another with the
 * first use after the postmaster has, in the middle of a command, too. Else
 * each session reads the file, with its first use and the first after a
 * reload. In between nobody looks at it. Where it is broken the ring stays as
 * it is, and the log says so; the environment does not step in.
 *
 * Secrets are never a setting's value, in a table, a log or a dump. Empty means
 * unset; there is no default. Reads and writes no table, takes no lock.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"

#include "dvnt_ticketing.h"

/* What keyring_as_of is, other than the PgReloadTime of a reload. */
#define NO_RELOAD (-1)			/* the ring is to be made */
#define THIS_RELOAD 0			/* the one under way, which PgReloadTime will tell; the postmaster sees to it */

static Keyring *keyring = NULL;
static KeyState state;
static KeyFileVersion tried_version;	/* of the file of the last attempt */
static uint32 keyring_version = 0;	/* shared_keys_version when the ring was shared */
static TimestampTz keyring_as_of = NO_RELOAD;	/* the reload that the ring takes into account */

static void
replace_keyring(Keyring *ring, KeySource source)
{
	Keyring    *old = keyring;

	keyring = ring;
	state.source = source;
	keyring_free(old);
}

/* News of the ring are told by the postmaster alone: backends are many. */
static inline int
news_level(void)
{
	return IsUnderPostmaster ? DEBUG1 : LOG_SERVER_ONLY;
}

static void
tell_of_key_file(void)
{
	if (state.error[0] == '\0')
		ereport(news_level(),
				(errmsg("ticket key file \"%s\": key id %d signs, %d verify", state.path,
						keyring_signing_id(keyring), keyring_count(keyring)),
				 errhidestmt(true), errhidecontext(true)));
	else
		ereport(LOG_SERVER_ONLY,
				(errmsg("ticket key file \"%s\" is broken: %s", state.path, state.error),
				 keyring_count(keyring) > 0
				 ? errdetail("The keys that were in use stay in use.")
				 : errdetail("Nothing can be signed or verified."),
				 errhint("Mend it and reload the server's configuration."),
				 errhidestmt(true), errhidecontext(true)));
}

/* Makes the ring of a key file, and says and shares what is new; false if the file is broken, and the ring stays. */
static bool
take_key_file(const char *path)
{
	KeyFileVersion version;
	KeyText		text;
	char		error[KEY_FILE_ERROR_SIZE];
	Keyring    *ring = NULL;
	bool		is_news;

	if (read_key_file(path, &version, &text, error))
		ring = keyring_from_file_text(text.bytes, text.length, error, sizeof(error));
	is_news = strcmp(state.path, path) != 0 || strcmp(state.error, error) != 0 ||
		!same_key_file(&tried_version, &version);
	if (ring != NULL)
		replace_keyring(ring, KEYS_OF_FILE);
	tried_version = version;
	strlcpy(state.path, path, sizeof(state.path));
	strlcpy(state.error, error, sizeof(state.error));
	if (is_news)
		tell_of_key_file();
	if (!IsUnderPostmaster)
		share_keys(&state, ring != NULL ? &text : NULL);
	free_key_text(&text);
	return ring != NULL;
}

/* Makes the ring of the environment, which a process does not change. */
static void
take_environment(void)
{
	const char *error;
	Keyring    *ring;

	if (state.source == KEYS_OF_ENVIRONMENT && state.path[0] == '\0')
		return;
	ring = keyring_from_environment(getenv("TICKET_HMAC_SECRET"), &error);
	replace_keyring(ring, KEYS_OF_ENVIRONMENT);
	strlcpy(state.error, error ? error : "", sizeof(state.error));
	if (state.path[0] != '\0')
		ereport(news_level(),
				(errmsg("no ticket key file: %s",
						ring ? "the ticket secret is that of the environment" : "there is no ticket secret"),
				 errhidestmt(true), errhidecontext(true)));
	state.path[0] = '\0';
	if (!IsUnderPostmaster)
		share_keys(&state, NULL);
}

/* The path of a key file, which may be relative to the data directory; check_key_file saw to its length. */
static const char *
full_path(const char *name, char path[MAXPGPATH])
{
	if (is_absolute_path(name))
		strlcpy(path, name, MAXPGPATH);
	else
		snprintf(path, MAXPGPATH, "%s/%s", DataDir, name);
	return path;
}

/* Makes the ring of what a value of dvnt_ticketing.key_file names. */
static void
make_keyring(const char *name)
{
	char		path[MAXPGPATH];

	if (name[0] == '\0')
		take_environment();
	else
		take_key_file(full_path(name, path));
	if (!IsUnderPostmaster)
		keyring_version = pg_atomic_read_u32(shared_keys_version);
}

/* Makes the ring of what the postmaster shares. */
static void
take_shared_keys(void)
{
	KeyState	new_state;
	KeyText		text;
	uint32		version;
	Keyring    *ring = NULL;
	const char *ignored;
	char		error[KEY_FILE_ERROR_SIZE];

	if (!copy_shared_keys(&new_state, &text, &version))
		return;
	if (new_state.source == KEYS_OF_FILE)
		ring = keyring_from_file_text(text.bytes, text.length, error, sizeof(error));
	else if (new_state.source == KEYS_OF_ENVIRONMENT)
		ring = keyring_from_environment(getenv("TICKET_HMAC_SECRET"), &ignored);
	free_key_text(&text);
	if (ring == NULL && new_state.source == KEYS_OF_FILE)
		return;					/* out of memory: the next call tries again */
	replace_keyring(ring, new_state.source);
	state = new_state;
	keyring_version = version;
}

/* Called when the library is loaded, after the settings are there. */
void
load_secrets(void)
{
	prepare_shared_keys();
	if (IsUnderPostmaster)
		return;
	make_keyring(ticket_key_file);
	keyring_as_of = PgReloadTime;
}

/* Check hook of dvnt_ticketing.key_file. */
bool
check_key_file(char **value, void **extra, GucSource source)
{
	if (strlen(*value) + strlen(DataDir) + 2 <= MAXPGPATH)
		return true;
	GUC_check_errdetail("The path is too long.");
	return false;
}

/*
 * Assign hook of dvnt_ticketing.key_file: called in each reload of which it is
 * a line, or is no more. It must not raise an error. What a parallel worker is
 * handed is its leader's value, and no reload.
 */
void
assign_key_file(const char *value, void *extra)
{
	if (InitializingParallelWorker)
		return;
	key_file_is_lost = false;
	if (keyring_as_of == NO_RELOAD)
		return;
	if (!IsUnderPostmaster)
		make_keyring(value);
	keyring_as_of = !IsUnderPostmaster || keys_are_shared() ? THIS_RELOAD : NO_RELOAD;
}

/* Takes what was shared or reloaded since the ring was made. */
static void
refresh_keyring(void)
{
	if (key_file_is_lost)
		refuse(NOT_CONFIGURED, NULL, "Take it away there; set it in the configuration files alone, and preload the library.",
			   "no ticket secret is configured: dvnt_ticketing.key_file was set for this session, user or database, where it does not count");
	if (pg_atomic_read_u32(shared_keys_version) != keyring_version)
		take_shared_keys();
	/* Nobody has seen to it: there is no preload, or the path stands on the server's command line. */
	if (keyring_as_of != THIS_RELOAD && keyring_as_of != PgReloadTime)
		make_keyring(ticket_key_file);
	keyring_as_of = PgReloadTime;
}

/* Takes what has changed, if anything has. */
static inline void
look_for_keys(void)
{
	if (unlikely(pg_atomic_read_u32(shared_keys_version) != keyring_version || keyring_as_of != PgReloadTime))
		refresh_keyring();
}

/* The ring of ticket secrets as require_ticket_keyring has left it; NULL when there is none. */
Keyring *
ticket_keyring(void)
{
	return keyring;
}

/* Whether anything could be signed; ticket_keyring is then up to date. */
bool
have_ticket_keyring(void)
{
	look_for_keys();
	return keyring != NULL;
}

/*
 * Refuses when no ticket could be signed. In a backend a ring is replaced here
 * and in renew_ticket_keyring alone, never while it is used.
 */
void
require_ticket_keyring(void)
{
	look_for_keys();
	if (likely(keyring != NULL))
		return;
	if (state.path[0] != '\0')
		refuse(NOT_CONFIGURED, NULL,
			   "Mend the file that dvnt_ticketing.key_file names and reload the server's configuration; the server's log has more.",
			   "no ticket secret is configured: the key file is broken: %s", state.error);
	refuse(NOT_CONFIGURED, NULL,
		   "Set TICKET_HMAC_SECRET (at least 32 bytes) in the environment of the PostgreSQL server and restart it, "
		   "or let dvnt_ticketing.key_file name a key file and reload its configuration.",
		   "no ticket secret is configured%s%s", state.error[0] ? ": " : "", state.error);
}

/*
 * For a code of an unknown key, where no keys are shared: whether another ring
 * is here now, since there was a reload in this command, which is told of it
 * when it has ended. Others may have signed with a new key by then.
 */
bool
renew_ticket_keyring(void)
{
	char		path[MAXPGPATH];
	KeyFileVersion version;

	if (!ConfigReloadPending || keys_are_shared() || ticket_key_file[0] == '\0')
		return false;
	key_file_version(full_path(ticket_key_file, path), &version);
	return !same_key_file(&tried_version, &version) && take_key_file(path);
}

/* The webhook secrets, or NULL. */
const char *
webhook_secrets(void)
{
	return getenv("STRIPE_WEBHOOK_SECRET");
}
