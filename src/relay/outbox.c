/*
 * outbox.c
 *	  The relay's side of the outbox: rows become calls, answers are stored.
 *
 * What an answer means, and whether and when its request is sent again, the
 * database decides.  Here it is only made sure that an answer we have is
 * stored: if the statement fails or the connection is lost, the answer stays
 * in its slot and is sent again, MAX_STORE_TRIES times.  A try that was
 * executed after all makes the next one 'stale', which is fine: the lease
 * token fences them.  An answer that is given up is no loss either: its lease
 * runs out, the request goes out again under the same key, and Stripe repeats
 * its answer.
 *
 * Good answers that have come in while others were being stored are stored
 * together, in one transaction, if the row did not say that its answer is to
 * be alone.  What the database does not store that way is stored by itself.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay.h"

#define BATCHES			2		/* under way at once: the database need not wait for the next */
#define BATCH_BYTES		(1024 * 1024)	/* of answers; a larger one is a batch by itself */

static int	wanted;				/* rows that the claim under way may return */
static int	claimed;			/* and those that it did */
static bool idly;				/* nothing is expected of it */
static int	doubtful;			/* answers being stored that may stop the relay */

/* Answers being stored together. */
typedef struct Batch
{
	Call	   *calls[MAX_CONCURRENCY];
	int			count;
} Batch;

static Batch batches[BATCHES];

/* Start the line of a call. */
static void
begin_call_line(LogLine *line, LogLevel level, const char *event, const Call *call)
{
	log_begin(line, level, event);
	log_text(line, "id", call->id);
	log_text(line, "kind", call->kind);
	log_text(line, "endpoint", call->endpoint);
	log_number(line, "status", call->status);
	log_number(line, "ms", call->took);
	log_number(line, "attempt", call->attempts);
	if (call->request_id[0] != '\0')
		log_text(line, "request_id", call->request_id);
	if (call->status == 0)
		log_text(line, "error", call->error);
}

/* The line of a call whose answer is stored. */
static void
log_answer(const Call *call, const char *outcome)
{
	LogLevel	level = LOG_LEVEL_WARNING;
	LogLine		line;

	if (strcmp(outcome, "done") == 0)
		level = LOG_LEVEL_INFO;
	else if (strcmp(outcome, "stop") == 0)
		level = LOG_LEVEL_ERROR;
	begin_call_line(&line, level, "answer", call);
	log_text(&line, "outcome", outcome);
	log_end(&line);
}

/* Whether an answer may stop the relay: then nothing is claimed until we know. */
static bool
is_doubtful(const Call *call)
{
	return call->status == 401 || call->status == 403 || call->tls_failed;
}

/* An answer was not stored: again a little later, or give it up. */
static void
store_later(Call *call, const char *error)
{
	bool		again = ++call->store_tries < MAX_STORE_TRIES;
	LogLine		line;

	begin_call_line(&line, again ? LOG_LEVEL_WARNING : LOG_LEVEL_ERROR,
					again ? "store_failed" : "answer_dropped", call);
	log_number(&line, "try", call->store_tries);
	log_text(&line, "store_error", error);
	log_end(&line);
	if (again)
	{
		call->state = CALL_ANSWERED;
		call->store_at = clock_now() + clock_backoff(call->store_tries);
	}
	else
		calls_release(call);
}

/* Told what became of an answer. */
static void
complete_done(PGresult *result, Call *call)
{
	const char *outcome;

	doubtful -= is_doubtful(call);
	if (result == NULL)
	{
		store_later(call, "the connection was lost");
		return;
	}
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
	{
		const char *error = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

		store_later(call, error ? error : "no outcome");
		return;
	}
	outcome = PQgetvalue(result, 0, 0);
	log_answer(call, outcome);
	if (strcmp(outcome, "stop") == 0)
		relay_drain(EXIT_STOPPED, "stripe refuses the key, or TLS cannot be trusted");
	calls_release(call);
}

/* Send an answer to be stored, and look for what its effect has made ready. */
static void
store(Call *call)
{
	char		status[16];
	const Parameter parameters[] = {
		TEXT_PARAMETER(call->id),
		TEXT_PARAMETER(call->lease_token),
		TEXT_PARAMETER(status),
		TEXT_PARAMETER(call->headers.data),
		BINARY_PARAMETER(call->answer.data ? call->answer.data : "", call->answer.length)
	};

	snprintf(status, sizeof(status), "%d", call->status);
	call->state = CALL_STORING;
	doubtful += is_doubtful(call);
	database_send(STATEMENT_COMPLETE, parameters, complete_done, call);
	doorbell_ring();
}

/* Whether an answer may be stored together with others. */
static bool
is_sociable(const Call *call)
{
	return !call->alone && call->status >= 200 && call->status < 300;
}

/* Add four bytes, the highest first, as arrays in binary format have them. */
static void
append_number(Buffer *array, uint32_t number)
{
	const unsigned char bytes[] = {
		(unsigned char) (number >> 24), (unsigned char) (number >> 16),
		(unsigned char) (number >> 8), (unsigned char) number
	};

	buffer_append(array, bytes, sizeof(bytes));
}

/* Begin an array in binary format: dimensions, no NULLs, type, length, first index. */
static void
begin_array(Buffer *array, uint32_t type, int count)
{
	append_number(array, 1);
	append_number(array, 0);
	append_number(array, type);
	append_number(array, (uint32_t) count);
	append_number(array, 1);
}

/* Add an element to an array in text format. */
static void
add_text(Buffer *array, const char *element)
{
	buffer_puts(array, array->length == 0 ? "{" : ",");
	buffer_puts(array, element);
}

/* The batch that begins with a call; with NULL, one that is not under way, or NULL. */
static Batch *
find_batch(const Call *first)
{
	for (int i = 0; i < BATCHES; i++)
	{
		if (first ? batches[i].count > 0 && batches[i].calls[0] == first : batches[i].count == 0)
			return &batches[i];
	}
	return NULL;
}

/* Told what became of the answers of the batch that begins with this one. */
static void
batch_done(PGresult *result, Call *first)
{
	Batch	   *batch = find_batch(first);
	int			count = batch->count;
	bool		told = result && PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == count;
	const char *error = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : "the connection was lost";

	batch->count = 0;
	for (int i = 0; i < count; i++)
	{
		Call	   *call = batch->calls[i];

		if (!told)
		{
			call->alone = result != NULL;	/* one of them may be to blame */
			store_later(call, error ? error : "no outcome");
		}
		else if (strcmp(PQgetvalue(result, i, 0), "done") == 0)
		{
			log_answer(call, "done");
			calls_release(call);
		}
		else
		{
			call->alone = true;
			call->state = CALL_ANSWERED;
			call->store_at = 0;
		}
	}
}

/* Send answers to be stored together. */
static void
store_batch(const Batch *batch)
{
	Buffer		ids = {0};
	Buffer		lease_tokens = {0};
	Buffer		statuses = {0};
	Buffer		headers = {0};
	Buffer		bodies = {0};

	begin_array(&headers, JSONB_OID, batch->count);
	begin_array(&bodies, BYTEA_OID, batch->count);
	for (int i = 0; i < batch->count; i++)
	{
		Call	   *call = batch->calls[i];
		char		status[16];

		snprintf(status, sizeof(status), "%d", call->status);
		add_text(&ids, call->id);
		add_text(&lease_tokens, call->lease_token);
		add_text(&statuses, status);
		append_number(&headers, (uint32_t) call->headers.length + 1);
		buffer_append(&headers, "\1", 1);	/* the version of jsonb's format */
		buffer_append(&headers, call->headers.data, call->headers.length);
		append_number(&bodies, (uint32_t) call->answer.length);
		buffer_append(&bodies, call->answer.data, call->answer.length);
		call->state = CALL_STORING;
	}
	buffer_puts(&ids, "}");
	buffer_puts(&lease_tokens, "}");
	buffer_puts(&statuses, "}");
	database_send(STATEMENT_COMPLETE_MANY,
				  (const Parameter[]) {
					  TEXT_PARAMETER(ids.data),
					  TEXT_PARAMETER(lease_tokens.data),
					  TEXT_PARAMETER(statuses.data),
					  BINARY_PARAMETER(headers.data, headers.length),
					  BINARY_PARAMETER(bodies.data, bodies.length)
				  },
				  batch_done, batch->calls[0]);
	doorbell_ring();
	buffer_wipe(&ids);
	buffer_wipe(&lease_tokens);
	buffer_wipe(&statuses);
	buffer_wipe(&headers);
	buffer_wipe(&bodies);
}

/* Make a call of a claimed row. */
static void
send_row(const PGresult *rows, int row)
{
	Call	   *call = calls_take();
	char	  **fields[] = {
		&call->id, &call->lease_token, &call->method, &call->path, &call->body,
		&call->stripe_account, &call->api_version, &call->idempotency_key,
		&call->kind, &call->endpoint
	};
	int			count = (int) (sizeof(fields) / sizeof(fields[0]));

	for (int i = 0; i < count; i++)
		*fields[i] = copy_string(PQgetvalue(rows, row, i));
	call->attempts = atoi(PQgetvalue(rows, row, count));
	call->alone = *PQgetvalue(rows, row, count + 1) == 't';
	calls_send(call);
}

static void pause_done(PGresult *result, Call *call);

/* Told the claimed rows. */
static void
claim_done(PGresult *result, Call *call)
{
	int			rows;

	(void) call;
	if (result == NULL)
		return;					/* rows claimed unseen come back when their lease ends */
	if (PQresultStatus(result) != PGRES_TUPLES_OK)
	{
		const char *error = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

		database_fail("claim", error ? error : PQresultErrorMessage(result));
		return;
	}
	database_settled();
	rows = PQntuples(result);
	if (rows > calls_room())
	{
		database_fail("claim", "more rows than asked for");
		return;
	}
	for (int i = 0; i < rows; i++)
		send_row(result, i);
	claimed = rows;
	if (!idly)
		return;
	if (rows > 0)
		database_send(STATEMENT_PAUSE, NULL, pause_done, NULL);
	else
		doorbell_claimed(0, wanted, NEVER, NEVER);
}

/* A number of milliseconds, or NEVER. */
static msec_t
read_pause(const PGresult *result, int column)
{
	return PQgetisnull(result, 0, column) ? NEVER : (msec_t) atoi(PQgetvalue(result, 0, column));
}

/* Told when the next claim may find more. */
static void
pause_done(PGresult *result, Call *call)
{
	(void) call;
	if (result == NULL)
		return;
	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1)
	{
		const char *error = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

		database_fail("pause", error ? error : PQresultErrorMessage(result));
		return;
	}
	doorbell_claimed(claimed, wanted, read_pause(result, 0), read_pause(result, 1));
}

/* Claim up to so many rows. idle: none are expected, and only if there are some it is asked when there may be more. */
void
outbox_claim(int rows, bool idle)
{
	char		count[16];
	char		lease[32];
	const Parameter parameters[] = {TEXT_PARAMETER(count), TEXT_PARAMETER(lease)};

	snprintf(count, sizeof(count), "%d", rows);
	snprintf(lease, sizeof(lease), "%d seconds", config.lease);
	wanted = rows;
	claimed = 0;
	idly = idle;
	database_send(STATEMENT_CLAIM, parameters, claim_done, NULL);
	if (!idle)
		database_send(STATEMENT_PAUSE, NULL, pause_done, NULL);
}

/* Whether so many answers may be sent to be stored together: one batch at any time, another one if it is worth it. */
static bool
may_send_batch(int answers)
{
	int			under_way = 0;

	for (int i = 0; i < BATCHES; i++)
		under_way += batches[i].count > 0;
	return answers > 0 && (under_way == 0 || (under_way < BATCHES && answers >= config.concurrency / 8));
}

/* Store the answers that are there. */
void
outbox_work(msec_t now)
{
	Call	   *sociable[MAX_CONCURRENCY];
	int			count = 0;
	size_t		bytes = 0;

	if (!arming_done())
		return;
	for (Call *call = calls_next(NULL, CALL_ANSWERED); call;
		 call = calls_next(call, CALL_ANSWERED))
	{
		if (now < call->store_at)
			continue;
		if (!is_sociable(call))
			store(call);
		else if (count == 0 || bytes + call->answer.length <= BATCH_BYTES)
		{
			sociable[count++] = call;
			bytes += call->answer.length;
		}
	}
	if (may_send_batch(count))
	{
		Batch	   *batch = find_batch(NULL);

		memcpy(batch->calls, sociable, sizeof(Call *) * (size_t) count);
		batch->count = count;
		store_batch(batch);
	}
}

/* Whether rows must not be claimed yet. */
bool
outbox_in_doubt(void)
{
	return doubtful > 0;
}

/* When to be called at the latest. */
msec_t
outbox_due(void)
{
	msec_t		due = NEVER;

	if (!arming_done())
		return NEVER;
	for (Call *call = calls_next(NULL, CALL_ANSWERED); call;
		 call = calls_next(call, CALL_ANSWERED))
	{
		/* what is to be stored with others waits for those before them, or for more */
		if (call->store_at < due && (!is_sociable(call) || may_send_batch(1)))
			due = call->store_at;
	}
	return due;
}
