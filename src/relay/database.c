/*
 * database.c
 *	  The one connection: making it, losing it, making it again; and the
 *	  statements that go through it.
 *
 * The connection is non-blocking and in pipeline mode, with a sync after each
 * statement: every statement is a transaction of its own, an error ends that
 * one only, and results come in the order in which statements were sent.  The
 * statements under way stand in a ring; the oldest one owns the next result.
 *
 *	  DOWN -> CONNECTING -> SETTING_UP -> READY -> DOWN ...
 *
 * Setting up is a lock timeout (a row that somebody else keeps locked must
 * not stop the others for long), LISTEN, and the PREPAREs, so READY means
 * that the extension is there.  Any failure leads to DOWN: statements under
 * way are told NULL, and the next attempt comes after a growing pause.
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay.h"

#define CONNECT_TIMEOUT		5	/* seconds, if PGCONNECT_TIMEOUT does not say */
#define DEAD_HOST_TIMEOUT	15	/* seconds; tcp_user_timeout, below */
#define RING_SIZE			(MAX_CONCURRENCY + 32)
#define MAX_PARAMETERS		5

typedef struct StatementText
{
	const char *name;
	const char *sql;
	int			parameters;
	Oid			types[MAX_PARAMETERS];
} StatementText;

/* The lock's two keys are those of the engine's doorbell (src/locks.c). */
static const StatementText statements[STATEMENT_COUNT] = {
	[STATEMENT_ACCOUNT_ID] = {
		"account_id", "SELECT $1::jsonb ->> 'id'", 1, {TEXT_OID}
	},
	[STATEMENT_START] = {
		"start",
		"SELECT (answer ->> 'armed')::boolean, answer ->> 'reason', answer::text"
		" FROM ticketing.relay_start($1, $2, $3) AS answer",
		3, {TEXT_OID, BOOL_OID, TEXT_OID}
	},
	[STATEMENT_CLAIM] = {
		"claim",
		"SELECT id, lease_token, method, path, body, stripe_account, api_version,"
		" idempotency_key, kind, endpoint, attempts, alone FROM ticketing.relay_claim($1, $2)",
		2, {INT4_OID, INTERVAL_OID}
	},
	[STATEMENT_PAUSE] = {
		"pause", "SELECT for_tokens, for_time FROM ticketing.relay_pause()", 0, {0}
	},
	[STATEMENT_COMPLETE] = {
		"complete", "SELECT ticketing.relay_complete($1, $2, $3, $4, $5)",
		5, {UUID_OID, UUID_OID, INT4_OID, JSONB_OID, BYTEA_OID}
	},
	[STATEMENT_COMPLETE_MANY] = {
		"complete_many", "SELECT unnest(ticketing.relay_complete_many($1, $2, $3, $4, $5))",
		5, {UUID_ARRAY_OID, UUID_ARRAY_OID, INT4_ARRAY_OID, JSONB_ARRAY_OID, BYTEA_ARRAY_OID}
	},
	[STATEMENT_LOCK] = {
		"lock", "SELECT pg_catalog.pg_try_advisory_lock_shared(1685454850, 0)", 0, {0}
	},
	[STATEMENT_UNLOCK] = {
		"unlock", "SELECT pg_catalog.pg_advisory_unlock_shared(1685454850, 0)", 0, {0}
	}
};

/* What is sent before the PREPAREs. */
static const char *const set_up_commands[] = {
	"SET lock_timeout = '5s'",
	"LISTEN dvnt_ticketing_stripe"
};

#define SET_UP_COMMANDS	((int) (sizeof(set_up_commands) / sizeof(set_up_commands[0])))

typedef struct Pending
{
	StatementDone done;
	Call	   *call;
	bool		told;			/* its result has been seen, its sync has not */
} Pending;

typedef enum DatabaseState
{
	DATABASE_DOWN,
	DATABASE_CONNECTING,
	DATABASE_SETTING_UP,
	DATABASE_READY
} DatabaseState;

static DatabaseState state = DATABASE_DOWN;
static PGconn *connection;
static PostgresPollingStatusType wanted;	/* while CONNECTING */
static bool flushing;			/* bytes wait for the socket to take them */
static bool broken;				/* libpq would not take a statement */
static msec_t deadline;			/* by when it must be READY */
static msec_t retry_at;			/* when to try again, while DOWN */
static int	failures;			/* in a row */
static char last_error[512];	/* what the log has been told */

static Pending ring[RING_SIZE];
static int	ring_first;
static int	ring_count;

/*
 * How long an attempt may take.  libpq leaves connect_timeout to those who
 * use PQconnectPoll.  Of several hosts, a dead one takes tcp_user_timeout
 * before libpq turns to the next.
 */
static msec_t
connect_time(void)
{
	const char *value = getenv("PGCONNECT_TIMEOUT");
	const char *hosts = getenv("PGHOST");
	int			seconds = value ? atoi(value) : 0;
	int			count = 1;

	if (seconds <= 0)
		seconds = CONNECT_TIMEOUT;
	while (hosts && (hosts = strchr(hosts, ',')) != NULL)
	{
		hosts++;
		count++;
	}
	if (count > 1)
		seconds = (seconds + DEAD_HOST_TIMEOUT) * count;
	return (msec_t) seconds * 1000;
}

/* A NOTICE or WARNING of the server's is a line like any other. */
static void
take_notice(void *argument, const char *message)
{
	(void) argument;
	log_event(LOG_LEVEL_DEBUG, "notice", "message", message);
}

/* Begin to connect.  What PG* can say, it says; keepalives have no variable. */
static void
start_connecting(msec_t now)
{
	static const char *const keywords[] = {
		"fallback_application_name", "client_encoding", "keepalives_idle",
		"keepalives_interval", "keepalives_count", "tcp_user_timeout", NULL
	};
	static const char *const values[] = {
		RELAY_NAME, "UTF8", "10", "5", "3", "15000", NULL
	};

	connection = PQconnectStartParams(keywords, values, 0);
	if (connection == NULL || PQstatus(connection) == CONNECTION_BAD)
	{
		database_fail("connect", connection ? PQerrorMessage(connection) : "out of memory");
		return;
	}
	PQsetNoticeProcessor(connection, take_notice, NULL);
	state = DATABASE_CONNECTING;
	wanted = PGRES_POLLING_WRITING;
	deadline = now + connect_time();
}

/* A place at the end of the ring. */
static void
ring_add(StatementDone done, Call *call)
{
	Pending    *pending = &ring[(ring_first + ring_count) % RING_SIZE];

	if (ring_count == RING_SIZE)
	{
		log_event(LOG_LEVEL_ERROR, "ring_full", NULL, NULL);
		abort();				/* cannot happen: a call has one statement at most */
	}
	pending->done = done;
	pending->call = call;
	pending->told = false;
	ring_count++;
}

/*
 * A statement has been handed to libpq, or not; end it with a sync.  If it has
 * not, exchange() will end the connection.
 */
static void
close_statement(int sent, StatementDone done, Call *call)
{
	ring_add(done, call);
	if (sent == 1 && PQpipelineSync(connection) == 1)
		flushing = true;
	else
		broken = true;
}

/* Send a prepared statement; done will be told what came of it. */
void
database_send(Statement statement, const Parameter *parameters,
			  StatementDone done, Call *call)
{
	const StatementText *text = &statements[statement];
	const char *values[MAX_PARAMETERS];
	int			lengths[MAX_PARAMETERS];
	int			formats[MAX_PARAMETERS];

	for (int i = 0; i < text->parameters; i++)
	{
		values[i] = parameters[i].value;
		lengths[i] = (int) parameters[i].length;
		formats[i] = parameters[i].binary;
	}
	close_statement(PQsendQueryPrepared(connection, text->name, text->parameters,
										values, lengths, formats, 0),
					done, call);
}

/* What the server says about a failed statement: no DETAIL, which may hold data. */
static const char *
result_error(const PGresult *result)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	return message ? message : PQresultErrorMessage(result);
}

/* A statement of the set-up is done. */
static void
set_up_done(PGresult *result, Call *call)
{
	(void) call;
	if (result && PQresultStatus(result) != PGRES_COMMAND_OK)
		database_fail("set up", result_error(result));
}

/* The last one is done. */
static void
set_up_finished(PGresult *result, Call *call)
{
	set_up_done(result, call);
	if (result && state == DATABASE_SETTING_UP)
		state = DATABASE_READY;
}

/* Connected: send the whole set-up. */
static void
start_set_up(void)
{
	if (PQsetnonblocking(connection, 1) != 0 || PQenterPipelineMode(connection) != 1)
	{
		database_fail("set up", PQerrorMessage(connection));
		return;
	}
	state = DATABASE_SETTING_UP;
	for (int i = 0; i < SET_UP_COMMANDS; i++)
		close_statement(PQsendQueryParams(connection, set_up_commands[i], 0, NULL, NULL,
										  NULL, NULL, 0),
						set_up_done, NULL);
	for (int i = 0; i < STATEMENT_COUNT; i++)
		close_statement(PQsendPrepare(connection, statements[i].name, statements[i].sql,
									  statements[i].parameters, statements[i].types),
						i < STATEMENT_COUNT - 1 ? set_up_done : set_up_finished, NULL);
}

/* Log a failure, unless it is not wanted and the same as the last one. */
static void
log_failure(const char *event, const char *doing, const char *error, bool always)
{
	char		text[sizeof(last_error)];
	size_t		length;
	LogLine		line;

	snprintf(text, sizeof(text), "%s", error);
	length = strlen(text);
	while (length > 0 && text[length - 1] == '\n')
		text[--length] = '\0';
	if (!always && strcmp(text, last_error) == 0)
		return;
	memcpy(last_error, text, sizeof(last_error));
	log_begin(&line, LOG_LEVEL_WARNING, event);
	log_text(&line, "doing", doing);
	log_text(&line, "error", text);
	log_end(&line);
}

/*
 * Give up the connection, if there is one, and try again later.  It is said
 * once; further failed attempts are silent unless they fail differently.
 */
void
database_fail(const char *doing, const char *error)
{
	bool		was_ready = state == DATABASE_READY;
	int			lost = ring_count;

	log_failure(was_ready ? "disconnected" : "not_connected", doing, error, was_ready);
	state = DATABASE_DOWN;
	failures++;
	retry_at = clock_now() + clock_backoff(failures);
	PQfinish(connection);
	connection = NULL;
	flushing = false;
	broken = false;

	doorbell_reset();
	arming_reset();
	for (; lost > 0; lost--)
	{
		Pending		pending = ring[ring_first];

		ring_first = (ring_first + 1) % RING_SIZE;
		ring_count--;
		if (!pending.told)
			pending.done(NULL, pending.call);
	}
	if (config.once)
		relay_leave(EXIT_TROUBLE);
}

/* The connection does its work: the next failure is a first one again. */
void
database_settled(void)
{
	failures = 0;
	last_error[0] = '\0';
}

/*
 * Hand out the results that are there, also those that came before the
 * connection broke.  One of them may make its owner end the connection.
 */
static void
take_results(void)
{
	int			nothing = 0;

	while (ring_count > 0 && connection && !PQisBusy(connection))
	{
		PGresult   *result = PQgetResult(connection);
		Pending    *pending = &ring[ring_first];

		if (result == NULL)
		{
			if (++nothing > 1)
				break;
			continue;			/* the end of one statement's results */
		}
		nothing = 0;
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
		{
			ring_first = (ring_first + 1) % RING_SIZE;
			ring_count--;
		}
		else if (PQresultStatus(result) == PGRES_FATAL_ERROR &&
				 PQstatus(connection) != CONNECTION_OK)
			nothing = 1;		/* libpq's own word for the loss, perhaps */
		else if (!pending->told)
		{
			pending->told = true;
			pending->done(result, pending->call);
		}
		PQclear(result);
	}
}

/* Ring the doorbell for every notification; which one it was does not matter. */
static void
take_notifications(void)
{
	PGnotify   *notification;

	while ((notification = PQnotifies(connection)) != NULL)
	{
		PQfreemem(notification);
		doorbell_ring();
	}
}

/* Read, hand out, write. */
static void
exchange(void)
{
	int			unsent;

	/*
	 * Twice, because over TLS one read may leave the rest of a record with
	 * OpenSSL, where poll cannot see it.
	 */
	if (PQconsumeInput(connection) == 1)
		(void) PQconsumeInput(connection);
	take_results();
	if (connection == NULL)
		return;
	take_notifications();
	unsent = PQflush(connection);
	flushing = unsent == 1;
	if (unsent < 0 || broken || PQstatus(connection) != CONNECTION_OK)
		database_fail("exchange", PQerrorMessage(connection));
}

/* Whether the socket has something for PQconnectPoll. */
static bool
socket_is_ready(void)
{
	struct pollfd descriptor = {.fd = PQsocket(connection)};

	descriptor.events = wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT;
	return poll(&descriptor, 1, 0) > 0;
}

/* Go on connecting as far as that goes without waiting. */
static void
go_on_connecting(void)
{
	while (state == DATABASE_CONNECTING && socket_is_ready())
	{
		wanted = PQconnectPoll(connection);
		if (wanted == PGRES_POLLING_OK)
			start_set_up();
		else if (wanted == PGRES_POLLING_FAILED)
			database_fail("connect", PQerrorMessage(connection));
	}
}

/* Do what can be done without waiting; write what the others have sent. */
void
database_work(msec_t now)
{
	if (state == DATABASE_DOWN && now >= retry_at)
		start_connecting(now);
	if (state == DATABASE_CONNECTING)
		go_on_connecting();
	if (state == DATABASE_SETTING_UP || state == DATABASE_READY)
		exchange();
	if (state != DATABASE_DOWN && state != DATABASE_READY && now >= deadline)
		database_fail("connect", "timeout expired");
}

/* Whether statements can be sent. */
bool
database_ready(void)
{
	return state == DATABASE_READY;
}

/* The socket to wait for, or -1, and the events of it. */
int
database_socket(short *events)
{
	if (connection == NULL)
		return -1;
	if (state == DATABASE_CONNECTING)
		*events = wanted == PGRES_POLLING_READING ? CURL_WAIT_POLLIN : CURL_WAIT_POLLOUT;
	else
		*events = (short) (CURL_WAIT_POLLIN | (flushing ? CURL_WAIT_POLLOUT : 0));
	return PQsocket(connection);
}

/* When to be called at the latest. */
msec_t
database_due(void)
{
	switch (state)
	{
		case DATABASE_DOWN:
			return retry_at;
		case DATABASE_CONNECTING:
		case DATABASE_SETTING_UP:
			return deadline;
		case DATABASE_READY:
			break;
	}
	return NEVER;
}

/* Leave politely. */
void
database_close(void)
{
	PQfinish(connection);
	connection = NULL;
	state = DATABASE_DOWN;
}
