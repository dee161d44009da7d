/*
 * guc.c
 *		Every setting of the extension.
 *
 * Secrets are not among them: they come from the server's environment or a
 * key file, of which only the path is a setting (secrets.c). Reads and writes
 * no table, takes no lock.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "compat.h"
#include "dvnt_ticketing.h"

int			hold_ttl_seconds = 600;
int			hold_max_age_seconds = 1800;
int			manifest_ttl_seconds = 43200;
char	   *stripe_api_version = NULL;
bool		doorbell_enabled = true;
int			stripe_rate = 80;
int			stripe_endpoint_rate = 20;
int			await_stripe_slots = 64;
double		test_clock_offset = 0.0;
double		test_clock_rate = 1.0;
bool		lock_witness_enabled = false;
char	   *ticket_key_file = NULL;
bool		key_file_is_lost = false;

/*
 * Where the library comes with a session's first call, the session, its user
 * or its database may have set the key file when nobody was there to forbid
 * it. That does not count; but the value of the configuration files can be
 * lost by it, and to do without it would be to sign with other keys.
 */
static void
define_key_file(void)
{
	const struct config_generic *before = find_setting("dvnt_ticketing.key_file");
	bool		is_lost = before != NULL && before->reset_source > PGC_S_ARGV;

	DefineCustomStringVariable("dvnt_ticketing.key_file",
							   "File of the ticket secrets, read again on each reload.",
							   "Lines id:base64; the first one signs, all verify. A relative path is relative to the data directory. "
							   "Empty: the environment variable TICKET_HMAC_SECRET.",
							   &ticket_key_file, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_key_file, assign_key_file, NULL);
	key_file_is_lost = is_lost;
}

void
define_settings(void)
{
	DefineCustomIntVariable("dvnt_ticketing.hold_ttl",
							"How long a hold lives, unless the event or the call says otherwise.",
							NULL, &hold_ttl_seconds, 600, 1, 86400,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("dvnt_ticketing.hold_max_age",
							"The longest that a hold may live, whatever is asked.",
							NULL, &hold_max_age_seconds, 1800, 1, 86400,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("dvnt_ticketing.manifest_ttl",
							"How long a device at the door may decide by a manifest without asking again.",
							NULL, &manifest_ttl_seconds, 43200, 1, 30 * 86400,
							PGC_SUSET, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("dvnt_ticketing.stripe_api_version",
							   "Stripe-Version that is sent on every call.",
							   NULL, &stripe_api_version, "2026-10-28.endive",
							   PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomBoolVariable("dvnt_ticketing.doorbell",
							 "Wake a sleeping relay with NOTIFY when a request is enqueued.",
							 "Turn it off before PREPARE TRANSACTION, which cannot follow a NOTIFY; "
							 "the relay then finds the request within a second.",
							 &doorbell_enabled, true,
							 PGC_USERSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("dvnt_ticketing.stripe_rate",
							"How many calls a second Stripe may count, of all relays together; 0: no limit.",
							"A sixteenth of it is kept for refunds and cancels.",
							&stripe_rate, 80, 0, 10000,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("dvnt_ticketing.stripe_endpoint_rate",
							"The same for each endpoint: a method and a path, ids apart.",
							NULL, &stripe_endpoint_rate, 20, 0, 10000,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("dvnt_ticketing.await_stripe_slots",
							"How many backends may wait in await_stripe at once.",
							"Further callers are told that their request is queued.",
							&await_stripe_slots, 64, 0, 10000,
							PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomRealVariable("dvnt_ticketing.test_clock_offset",
							 "For tests: shifts the engine's clock by so many milliseconds.",
							 NULL, &test_clock_offset, 0.0, -1e13, 1e13,
							 PGC_SUSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	DefineCustomRealVariable("dvnt_ticketing.test_clock_rate",
							 "For tests: lets the engine's clock run faster, from the server's start on.",
							 NULL, &test_clock_rate, 1.0, 0.0, 1e6,
							 PGC_SUSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	DefineCustomBoolVariable("dvnt_ticketing.lock_witness",
							 "For tests: fails where a lock is taken out of order.",
							 NULL, &lock_witness_enabled, false,
							 PGC_SUSET, GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
	define_key_file();
	MarkGUCPrefixReserved("dvnt_ticketing");
}
