/*
 * arming.c
 *	  Before anything is sent: whose key is this, and may it be used for this
 *	  database?
 *
 * GET /v1/account tells the account of the key, once for the process.
 * relay_start compares it, the key's mode and the installation's name with
 * what the database recorded, on every connection: the one after a failover
 * may lead to a restored copy.  Not armed means EXIT_NOT_ARMED, with nothing
 * sent but that GET.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay.h"

static char *account_id;		/* once known */
static Call *call;				/* the GET, under way or answered */
static msec_t ask_at;			/* when to GET again after a failure */
static int	failures;
static bool asking;				/* the database has been asked, on this connection */
static bool armed;				/* and has said yes */

/* The GET told us nothing; say why, and try again or give up. */
static void
account_unknown(const char *why, bool hopeless)
{
	LogLine		line;

	log_begin(&line, hopeless ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "account_unknown");
	log_number(&line, "status", call->status);
	log_text(&line, "error", why);
	log_end(&line);
	calls_release(call);
	call = NULL;
	if (hopeless || config.once)
		relay_leave(hopeless ? EXIT_STOPPED : EXIT_TROUBLE);
	ask_at = clock_now() + clock_backoff(++failures);
}

/* Told the answer to the GET; a good one waits for the database to read it. */
static void
account_answered(Call *answered)
{
	if (answered->tls_failed)
		account_unknown(answered->error, true);
	else if (answered->status == 0)
		account_unknown(answered->error, false);
	else if (answered->status == 401)
		account_unknown("stripe does not accept the key", true);
	else if (answered->status == 403)
		account_unknown("the key may not read its own account", true);
	else if (answered->status != 200)
		account_unknown("stripe did not answer with the account", false);
}

/* GET /v1/account. */
static void
ask_stripe(void)
{
	call = calls_take();
	call->id = copy_string("");
	call->lease_token = copy_string("");
	call->method = copy_string("GET");
	call->path = copy_string("/v1/account");
	call->body = copy_string("");
	call->stripe_account = copy_string("");
	call->api_version = copy_string("");
	call->idempotency_key = copy_string("");
	call->kind = copy_string("");
	call->endpoint = copy_string("");
	call->answered = account_answered;
	calls_send(call);
}

/* Told the account's id in the answer. */
static void
account_id_done(PGresult *result, Call *unused)
{
	(void) unused;
	asking = false;
	if (result == NULL)
		return;
	if (PQresultStatus(result) != PGRES_TUPLES_OK ||
		strncmp(PQgetvalue(result, 0, 0), "acct_", 5) != 0)
	{
		account_unknown("the answer is no account", false);
		return;
	}
	account_id = copy_string(PQgetvalue(result, 0, 0));
	calls_release(call);
	call = NULL;
}

/* Armed, or the end. */
static void
start_done(PGresult *result, Call *unused)
{
	LogLine		line;

	(void) unused;
	if (result == NULL)
		return;
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		const char *error = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

		database_fail("start", error ? error : PQresultErrorMessage(result));
		return;
	}
	armed = *PQgetvalue(result, 0, 0) == 't';
	log_begin(&line, armed ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, armed ? "ready" : "not_armed");
	log_text(&line, "account", account_id);
	log_text(&line, "livemode", config.livemode ? "true" : "false");
	if (!armed)
	{
		log_text(&line, "reason", PQgetvalue(result, 0, 1));
		log_text(&line, "detail", PQgetvalue(result, 0, 2));
	}
	log_end(&line);
	if (!armed)
		relay_leave(EXIT_NOT_ARMED);
}

/* Ask the database: first what the answer says, then whether we may. */
static void
ask_database(void)
{
	if (account_id)
	{
		const Parameter parameters[] = {
			TEXT_PARAMETER(account_id),
			TEXT_PARAMETER(config.livemode ? "true" : "false"),
			TEXT_PARAMETER(config.installation)
		};

		database_send(STATEMENT_START, parameters, start_done, NULL);
	}
	else
	{
		const Parameter parameters[] = {TEXT_PARAMETER(call->answer.data)};

		database_send(STATEMENT_ACCOUNT_ID, parameters, account_id_done, NULL);
	}
	asking = true;
}

/* Whether the database can be asked, and there is something to ask it. */
static bool
can_ask_database(void)
{
	return !armed && !asking && database_ready() &&
		(account_id || (call && call->state == CALL_ANSWERED));
}

/* Go on towards being armed. */
void
arming_work(msec_t now)
{
	if (account_id == NULL && relay_draining())
	{
		relay_leave(EXIT_SUCCESS);	/* nothing has been claimed */
		return;
	}
	if (account_id == NULL && call == NULL && now >= ask_at)
		ask_stripe();
	if (can_ask_database())
		ask_database();
}

/* The connection is gone: ask again on the next one. */
void
arming_reset(void)
{
	asking = false;
	armed = false;
}

/* Whether rows may be claimed and answers stored. */
bool
arming_done(void)
{
	return armed;
}

/* When to be called at the latest. */
msec_t
arming_due(void)
{
	if (can_ask_database())
		return 0;
	return account_id == NULL && call == NULL ? ask_at : NEVER;
}

/* Forget. */
void
arming_close(void)
{
	if (call)
		calls_release(call);
	call = NULL;
	wipe_string(&account_id);
}
