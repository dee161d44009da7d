/*
 * relay.h
 *	  What the files of dvnt_stripe_relay share: its types, its exit statuses,
 *	  and the functions of each file under that file's name.
 *
 * The relay is one process with one thread, one database connection and one
 * curl multi handle.  Nothing in it blocks but the wait at the end of each
 * turn of the loop in main.c, which waits for all of them together.
 */
#ifndef RELAY_H
#define RELAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <curl/curl.h>
#include <libpq-fe.h>

#if LIBCURL_VERSION_NUM < 0x075500
#error "dvnt_stripe_relay needs libcurl 7.85 or later"
#endif

#define RELAY_NAME		"dvnt_stripe_relay"
#define RELAY_VERSION	"1.0"

#define MAX_CONCURRENCY		256
#define MAX_ANSWER_BYTES	(4 * 1024 * 1024)
#define MAX_STORE_TRIES		5

/* Exit statuses; a supervisor restarts on EXIT_TROUBLE only. */
#define EXIT_TROUBLE		1	/* something the relay cannot go on from */
#define EXIT_CONFIG			2	/* the environment or the command line is wrong */
#define EXIT_NOT_ARMED		3	/* the database says: not this account, mode or copy */
#define EXIT_STOPPED		4	/* Stripe refuses the key, or TLS cannot be trusted */

/* A time on the monotonic clock, in milliseconds; NEVER is past them all. */
typedef int64_t msec_t;

#define NEVER				INT64_MAX

/* Growing bytes; data is NULL or ends in a NUL that length does not count. */
typedef struct Buffer
{
	char	   *data;
	size_t		length;
	size_t		size;
} Buffer;

typedef enum LogLevel
{
	LOG_LEVEL_DEBUG,			/* written with DVNT_RELAY_DEBUG=1 only */
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARNING,
	LOG_LEVEL_ERROR
} LogLevel;

/* One line being built; too long a line is cut, never split. */
typedef struct LogLine
{
	bool		wanted;
	bool		urgent;
	size_t		length;
	char		text[2048];
} LogLine;

/* What the environment and the command line say; read once, at start. */
typedef struct Config
{
	char	   *api_base;		/* scheme://host[:port], without a final slash */
	bool		loopback;		/* api_base is this machine: never a proxy */
	char	   *ca_file;		/* NULL: the CAs of the system */
	char	   *authorization;	/* the header with the key; wiped at exit */
	bool		livemode;		/* by the key's prefix */
	const char *installation;	/* what tells this database from its copies */
	int			concurrency;	/* calls at once */
	int			timeout;		/* seconds a call may take */
	int			lease;			/* seconds a claimed row is ours */
	int			poll;			/* seconds between looks while asleep */
	bool		debug;
	bool		once;			/* carry what is ready now, then exit */
} Config;

typedef enum CallState
{
	CALL_FREE,					/* the slot is room for another call */
	CALL_SENDING,				/* on the wire */
	CALL_ANSWERED,				/* its answer, or the lack of one, is to store */
	CALL_STORING				/* relay_complete is under way */
} CallState;

/*
 * A slot for one call.  The row's strings are copies, "" where the row has
 * NULL.  They and the answer are wiped when the slot becomes free; the curl
 * handle stays.
 */
typedef struct Call
{
	CallState	state;
	void		(*answered) (struct Call *call);	/* told at its end, or NULL */

	/* the row */
	char	   *id;
	char	   *lease_token;
	char	   *method;
	char	   *path;
	char	   *body;
	char	   *stripe_account;
	char	   *api_version;
	char	   *idempotency_key;
	char	   *kind;
	char	   *endpoint;		/* method and path without ids, for the log */
	int			attempts;
	bool		alone;			/* its answer is not stored together with others */

	/* the transfer */
	CURL	   *easy;
	struct curl_slist *header_lines;
	char		error[CURL_ERROR_SIZE];
	msec_t		started_at;
	msec_t		took;

	/* the answer; status 0 is none, and error says why */
	int			status;
	bool		tls_failed;		/* the peer cannot be trusted */
	bool		refused;		/* by request.c: it was never sent */
	char		request_id[64];
	Buffer		headers;		/* a JSON object */
	Buffer		answer;			/* the body, as received */

	/* its way into the database */
	int			store_tries;
	msec_t		store_at;
} Call;

/* OIDs of parameter types, as catalog/pg_type_d.h has them. */
#define BOOL_OID		16
#define BYTEA_OID		17
#define INT4_OID		23
#define TEXT_OID		25
#define INTERVAL_OID	1186
#define UUID_OID		2950
#define JSONB_OID		3802
#define BYTEA_ARRAY_OID	1001
#define INT4_ARRAY_OID	1007
#define UUID_ARRAY_OID	2951
#define JSONB_ARRAY_OID 3807

/* The prepared statements; their text is in database.c. */
typedef enum Statement
{
	STATEMENT_ACCOUNT_ID,		/* the id in the answer to GET /v1/account */
	STATEMENT_START,
	STATEMENT_CLAIM,
	STATEMENT_PAUSE,
	STATEMENT_COMPLETE,
	STATEMENT_COMPLETE_MANY,
	STATEMENT_LOCK,
	STATEMENT_UNLOCK
} Statement;

#define STATEMENT_COUNT		8

/*
 * Told the result of a statement, which may be an error, or NULL when the
 * connection was lost before it came: it may have been executed, or not.
 */
typedef void (*StatementDone) (PGresult *result, Call *call);

/* A parameter; bytes with a length go out in binary format. */
typedef struct Parameter
{
	const char *value;
	size_t		length;
	bool		binary;
} Parameter;

#define TEXT_PARAMETER(string)	{ .value = (string) }
#define BINARY_PARAMETER(bytes, count) \
	{ .value = (bytes), .length = (count), .binary = true }

/* arming.c */
extern void arming_work(msec_t now);
extern void arming_reset(void);
extern bool arming_done(void);
extern msec_t arming_due(void);
extern void arming_close(void);

/* buffer.c */
extern void buffer_append(Buffer *buffer, const void *bytes, size_t length);
extern void buffer_puts(Buffer *buffer, const char *string);
extern void buffer_json(Buffer *buffer, const char *string);
extern void buffer_wipe(Buffer *buffer);
extern void *allocate(size_t size);
extern char *copy_string(const char *string);
extern void wipe_string(char **string);

/* calls.c */
extern void calls_init(void);
extern void calls_close(void);
extern int	calls_active(void);
extern int	calls_room(void);
extern Call *calls_take(void);
extern void calls_send(Call *call);
extern void calls_release(Call *call);
extern Call *calls_next(Call *after, CallState state);
extern void calls_work(void);
extern void calls_wait(struct curl_waitfd *descriptors, int count, int timeout);

/* clock.c */
extern msec_t clock_now(void);
extern msec_t clock_backoff(int failures);

/* config.c */
extern Config config;
extern void config_load(void);
extern void config_wipe(void);

/* database.c */
extern void database_work(msec_t now);
extern bool database_ready(void);
extern void database_settled(void);
extern int	database_socket(short *events);
extern msec_t database_due(void);
extern void database_send(Statement statement, const Parameter *parameters,
						  StatementDone done, Call *call);
extern void database_fail(const char *doing, const char *error);
extern void database_close(void);

/* doorbell.c */
extern void doorbell_work(msec_t now);
extern void doorbell_ring(void);
extern void doorbell_claimed(int rows, int wanted, msec_t for_tokens, msec_t for_time);
extern void doorbell_reset(void);
extern bool doorbell_looking(void);
extern bool doorbell_found_nothing(void);
extern msec_t doorbell_due(void);

/* log.c */
extern void log_begin(LogLine *line, LogLevel level, const char *event);
extern void log_text(LogLine *line, const char *key, const char *value);
extern void log_number(LogLine *line, const char *key, int64_t value);
extern void log_end(LogLine *line);
extern void log_flush(void);
extern void log_event(LogLevel level, const char *event,
					  const char *key, const char *value);

/* main.c */
extern void relay_drain(int status, const char *reason);
extern void relay_leave(int status);
extern bool relay_draining(void);

/* outbox.c */
extern void outbox_claim(int rows, bool idle);
extern void outbox_work(msec_t now);
extern bool outbox_in_doubt(void);
extern msec_t outbox_due(void);

/* request.c */
extern void request_init(CURL *easy);
extern bool request_prepare(Call *call);
extern void request_finish(Call *call, CURLcode code);
extern void request_forget(Call *call);

#endif							/* RELAY_H */
