/*
 * load.c
 *		Load generator of the benchmarks: so many connections, one thread, one
 *		poll loop, one call in flight on each connection.
 *
 * A call is one statement, or several of them, each in its own transaction,
 * prepared once for each connection and sent without pipelining. It can also
 * be one Redis command, so that Redis is measured by the same loop.
 *
 * An error does not end a connection: it ends the call and is counted by its
 * SQLSTATE. What is printed at the end is "name<TAB>value", a line each.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#define TEXT_OID 25
#define MAX_CLIENTS 1000
#define MAX_ERRORS 20
#define PATIENCE_MS 60000		/* no answer for so long: something hangs */
#define PROGRESS_US 10000000

static const char usage[] =
	"usage: load [OPTION]... STATEMENT...\n"
	"  -c N      connections (1)\n"
	"  -t S      measure for S seconds\n"
	"  -w S      after a warm-up of S seconds\n"
	"  -n N      or make N calls in all\n"
	"  -r N      or play N rounds: all start together, and each calls until it is refused\n"
	"  -m N      $3 is a random number from 1 to N (1)\n"
	"  -l FILE   log every call: round, client, start and end in microseconds, SQLSTATE\n"
	"  -p LABEL  report progress on stderr every 10 s\n"
	"  -R PATH   speak to Redis at this socket; the arguments are the words of a command\n"
	"Parameters of a statement, all text: $1 a random user, $2 the first value of the statement\n"
	"before it, $3 the round or a random number, $4 the number of the connection from 0.\n"
	"Connects by libpq's environment variables.\n";

typedef struct Client
{
	int			number;
	int			socket;
	PGconn	   *pg;				/* NULL for Redis */
	bool		calling;
	bool		refused;		/* has had its last answer in this round */
	int			step;			/* the statement under way */
	int64_t		started;		/* of the call */
	char		outcome[8];		/* SQLSTATE, empty when all went well */
	char		user[40];		/* $1 to $4 */
	char		answer[64];
	char		choice[24];
	char		number_text[12];
	char		reply[512];		/* of Redis, until its line is complete */
	size_t		reply_length;
} Client;

/* What was asked for. */
static int	client_count = 1;
static double measured_seconds = 0;
static double warm_up_seconds = 0;
static int64_t call_limit = 0;
static int64_t round_count = 0;
static int64_t choices = 1;
static const char *redis_path = NULL;
static const char *progress_label = NULL;
static FILE *log_file = NULL;
static char **statements;
static int	statement_count;

/* What has happened. */
static Client clients[MAX_CLIENTS];
static int	in_flight = 0;
static int64_t calls_started = 0;
static int64_t calls_ended = 0;
static int64_t calls_ok = 0;
static int64_t measured_calls = 0;
static int64_t last_calls = 0;	/* of the last tenth of the measured time */
static int64_t current_round = 0;
static int64_t measure_from = 0;
static int64_t measure_until = INT64_MAX;
static int64_t last_from = INT64_MAX;
static int64_t progress_at;
static int64_t progress_calls = 0;
static uint32_t *latencies = NULL;	/* microseconds */
static size_t latency_room = 0;
static struct
{
	char		sqlstate[8];
	int64_t		count;
}			errors[MAX_ERRORS];

static void
die(const char *format,...)
{
	va_list		arguments;

	va_start(arguments, format);
	fputs("load: ", stderr);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

static int64_t
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* xorshift64*: fast, and as random as user ids have to be. */
static uint64_t
random_number(void)
{
	static uint64_t state = 0;

	if (state == 0)
		state = ((uint64_t) now_us() << 20) ^ (uint64_t) getpid() ^ 0x9e3779b97f4a7c15;
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return state * 0x2545f4914f6cdd1d;
}

/* ---- PostgreSQL */

/* The highest parameter that a statement names; those below it are sent, too. */
static int
parameters_of(const char *statement)
{
	int			highest = 0;

	for (const char *at = statement; (at = strchr(at, '$')) != NULL; at++)
		if (at[1] >= '1' && at[1] <= '4' && at[1] - '0' > highest)
			highest = at[1] - '0';
	return highest;
}

static void
connect_postgres(Client *client)
{
	static const Oid types[] = {TEXT_OID, TEXT_OID, TEXT_OID, TEXT_OID};

	client->pg = PQconnectdb("application_name=load");
	if (PQstatus(client->pg) != CONNECTION_OK)
		die("%s", PQerrorMessage(client->pg));
	client->socket = PQsocket(client->pg);
	for (int i = 0; i < statement_count; i++)
	{
		char		name[12];
		PGresult   *result;

		snprintf(name, sizeof(name), "s%d", i);
		result = PQprepare(client->pg, name, statements[i], parameters_of(statements[i]), types);
		if (PQresultStatus(result) != PGRES_COMMAND_OK)
			die("%s", PQerrorMessage(client->pg));
		PQclear(result);
	}
}

static void
send_to_postgres(Client *client)
{
	const char *values[] = {client->user, client->answer, client->choice, client->number_text};
	char		name[12];

	snprintf(name, sizeof(name), "s%d", client->step);
	if (!PQsendQueryPrepared(client->pg, name, parameters_of(statements[client->step]), values, NULL, NULL, 0))
		die("%s", PQerrorMessage(client->pg));
}

/* Takes in what has come; true when the statement is over. */
static bool
receive_from_postgres(Client *client)
{
	if (!PQconsumeInput(client->pg))
		die("%s", PQerrorMessage(client->pg));
	while (!PQisBusy(client->pg))
	{
		PGresult   *result = PQgetResult(client->pg);

		if (result == NULL)
			return true;
		switch (PQresultStatus(result))
		{
			case PGRES_TUPLES_OK:
				if (PQntuples(result) > 0 && PQnfields(result) > 0)
					snprintf(client->answer, sizeof(client->answer), "%s", PQgetvalue(result, 0, 0));
				break;
			case PGRES_COMMAND_OK:
				break;
			default:
				{
					const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

					if (sqlstate == NULL)
						die("%s", PQerrorMessage(client->pg));
					snprintf(client->outcome, sizeof(client->outcome), "%s", sqlstate);
				}
		}
		PQclear(result);
	}
	return false;
}

/* ---- Redis */

static void
connect_redis(Client *client)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(redis_path) >= sizeof(address.sun_path))
		die("%s is too long for a socket", redis_path);
	strcpy(address.sun_path, redis_path);
	client->socket = socket(AF_UNIX, SOCK_STREAM, 0);
	if (client->socket < 0 || connect(client->socket, (struct sockaddr *) &address, sizeof(address)) != 0)
		die("%s: %s", redis_path, strerror(errno));
}

/* Sends the words as one command; a word $1 is the user. */
static void
send_to_redis(Client *client)
{
	char		command[1024];
	size_t		length = (size_t) snprintf(command, sizeof(command), "*%d\r\n", statement_count);

	for (int i = 0; i < statement_count; i++)
	{
		const char *word = strcmp(statements[i], "$1") == 0 ? client->user : statements[i];

		length += (size_t) snprintf(command + length, sizeof(command) - length, "$%zu\r\n%s\r\n", strlen(word), word);
		if (length >= sizeof(command))
			die("the Redis command is too long");
	}
	if (send(client->socket, command, length, MSG_NOSIGNAL) != (ssize_t) length)
		die("Redis: %s", strerror(errno));
}

/* Takes in what has come; true when the answer is complete. It is :1, or :0 for a refusal. */
static bool
receive_from_redis(Client *client)
{
	ssize_t		got = recv(client->socket, client->reply + client->reply_length,
						   sizeof(client->reply) - 1 - client->reply_length, MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (got <= 0)
		die("Redis: the connection is closed");
	client->reply_length += (size_t) got;
	client->reply[client->reply_length] = '\0';
	if (strstr(client->reply, "\r\n") == NULL)
		return false;
	if (strcmp(client->reply, ":0\r\n") == 0)
		strcpy(client->outcome, "refused");
	else if (strcmp(client->reply, ":1\r\n") != 0)
		die("Redis: %s", client->reply);
	client->reply_length = 0;
	return true;
}

/* ---- calls */

static void
send_step(Client *client)
{
	if (client->pg != NULL)
		send_to_postgres(client);
	else
		send_to_redis(client);
}

static void
begin_call(Client *client, int64_t now)
{
	int64_t		choice = round_count > 0 ? current_round : (int64_t) (random_number() % (uint64_t) choices) + 1;

	snprintf(client->user, sizeof(client->user), "user-%d-%012" PRIx64, client->number, random_number() >> 16);
	snprintf(client->choice, sizeof(client->choice), "%" PRId64, choice);
	client->answer[0] = '\0';
	client->outcome[0] = '\0';
	client->step = 0;
	client->started = now;
	client->calling = true;
	calls_started++;
	in_flight++;
	send_step(client);
}

/* Counts an error under its SQLSTATE, and shows the first one of a kind. */
static void
count_error(const Client *client)
{
	for (int i = 0; i < MAX_ERRORS; i++)
	{
		if (errors[i].count == 0)
		{
			strcpy(errors[i].sqlstate, client->outcome);
			fprintf(stderr, "load: the first %s: %s", client->outcome,
					client->pg != NULL ? PQerrorMessage(client->pg) : "Redis\n");
		}
		if (strcmp(errors[i].sqlstate, client->outcome) == 0)
		{
			errors[i].count++;
			return;
		}
	}
	die("more than %d kinds of errors", MAX_ERRORS);
}

/* Errors after which a caller tries again. */
static bool
is_transient(const char *sqlstate)
{
	return strcmp(sqlstate, "40001") == 0 || strcmp(sqlstate, "40P01") == 0 || strcmp(sqlstate, "55P03") == 0;
}

static void
keep_latency(int64_t latency)
{
	if ((size_t) measured_calls == latency_room)
	{
		latency_room = latency_room == 0 ? 65536 : latency_room * 2;
		latencies = realloc(latencies, latency_room * sizeof(*latencies));
		if (latencies == NULL)
			die("out of memory");
	}
	latencies[measured_calls++] = (uint32_t) latency;
}

static void
report_progress(int64_t now)
{
	int64_t		of_all = round_count > 0 ? round_count : call_limit;

	if (now < progress_at || progress_label == NULL)
		return;
	fprintf(stderr, "%s %.0f calls/s", progress_label,
			(double) (calls_ended - progress_calls) * 1e6 / (double) (now - progress_at + PROGRESS_US));
	if (of_all > 0)
		fprintf(stderr, ", %" PRId64 " of %" PRId64, round_count > 0 ? current_round : calls_ended, of_all);
	fputc('\n', stderr);
	progress_at = now + PROGRESS_US;
	progress_calls = calls_ended;
}

static void
end_call(Client *client, int64_t now)
{
	client->calling = false;
	in_flight--;
	calls_ended++;
	if (client->outcome[0] == '\0')
		calls_ok++;
	else
		count_error(client);
	client->refused = client->outcome[0] != '\0' && !is_transient(client->outcome);
	if (now >= measure_from && now < measure_until)
	{
		keep_latency(now - client->started);
		last_calls += now >= last_from;
	}
	if (log_file != NULL)
		fprintf(log_file, "%" PRId64 "\t%d\t%" PRId64 "\t%" PRId64 "\t%s\n",
				current_round, client->number, client->started, now, client->outcome);
	report_progress(now);
}

/* Whether a connection that is idle calls again. */
static bool
calls_again(const Client *client, int64_t now)
{
	if (round_count > 0)
		return !client->refused;
	if (call_limit > 0)
		return calls_started < call_limit;
	return now < measure_until;
}

/* Waits for answers once and goes on with those connections that have one. */
static void
serve(struct pollfd *polls)
{
	int			ready = poll(polls, (nfds_t) client_count, PATIENCE_MS);

	if (ready == 0)
		die("no answer for %d s", PATIENCE_MS / 1000);
	if (ready < 0 && errno != EINTR)
		die("poll: %s", strerror(errno));
	for (int i = 0; i < client_count && ready > 0; i++)
	{
		Client	   *client = &clients[i];
		int64_t		now;

		if (polls[i].revents == 0)
			continue;
		if (!(client->pg != NULL ? receive_from_postgres(client) : receive_from_redis(client)))
			continue;
		if (!client->calling)
			die("an answer that nobody asked for");
		if (client->pg != NULL && client->outcome[0] == '\0' && client->step + 1 < statement_count)
		{
			client->step++;
			send_step(client);
			continue;
		}
		now = now_us();
		end_call(client, now);
		if (calls_again(client, now))
			begin_call(client, now);
	}
}

/* All connections call until none goes on. */
static void
run(struct pollfd *polls)
{
	for (int i = 0; i < client_count; i++)
	{
		clients[i].refused = false;
		if (calls_again(&clients[i], now_us()))
			begin_call(&clients[i], now_us());
	}
	while (in_flight > 0)
		serve(polls);
}

static int
compare_latencies(const void *a, const void *b)
{
	uint32_t	left = *(const uint32_t *) a;
	uint32_t	right = *(const uint32_t *) b;

	return left < right ? -1 : left > right;
}

static void
print_percentile(const char *name, double part)
{
	printf("%s\t%u\n", name, measured_calls == 0 ? 0 : latencies[(size_t) ((double) (measured_calls - 1) * part)]);
}

static void
print_results(int64_t ended)
{
	double		seconds = (double) ((measured_seconds > 0 ? measure_until : ended) - measure_from) / 1e6;
	double		sum = 0;

	for (int64_t i = 0; i < measured_calls; i++)
		sum += latencies[i];
	if (measured_calls > 0)
		qsort(latencies, (size_t) measured_calls, sizeof(*latencies), compare_latencies);
	printf("ok\t%" PRId64 "\n", calls_ok);
	printf("seconds\t%.3f\n", seconds);
	printf("rate\t%.1f\n", (double) measured_calls / seconds);
	if (measured_seconds > 0)
		printf("last_rate\t%.1f\n", (double) last_calls / (measured_seconds / 10));
	printf("mean_us\t%.1f\n", measured_calls == 0 ? 0 : sum / (double) measured_calls);
	print_percentile("p50_us", 0.50);
	print_percentile("p95_us", 0.95);
	print_percentile("p99_us", 0.99);
	print_percentile("max_us", 1.00);
	for (int i = 0; i < MAX_ERRORS && errors[i].count > 0; i++)
		printf("error_%s\t%" PRId64 "\n", errors[i].sqlstate, errors[i].count);
}

static void
read_options(int argc, char **argv)
{
	int			option;

	while ((option = getopt(argc, argv, "c:t:w:n:r:m:l:p:R:")) != -1)
	{
		switch (option)
		{
			case 'c': client_count = atoi(optarg); break;
			case 't': measured_seconds = atof(optarg); break;
			case 'w': warm_up_seconds = atof(optarg); break;
			case 'n': call_limit = atoll(optarg); break;
			case 'r': round_count = atoll(optarg); break;
			case 'm': choices = atoll(optarg); break;
			case 'p': progress_label = optarg; break;
			case 'R': redis_path = optarg; break;
			case 'l':
				log_file = fopen(optarg, "w");
				if (log_file == NULL)
					die("%s: %s", optarg, strerror(errno));
				break;
			default:
				fputs(usage, stderr);
				exit(2);
		}
	}
	statements = argv + optind;
	statement_count = argc - optind;
	if (statement_count < 1 || client_count < 1 || client_count > MAX_CLIENTS || choices < 1 ||
		(measured_seconds > 0) + (call_limit > 0) + (round_count > 0) != 1)
	{
		fputs(usage, stderr);
		exit(2);
	}
}

int
main(int argc, char **argv)
{
	struct pollfd polls[MAX_CLIENTS];
	int64_t		began;

	read_options(argc, argv);
	for (int i = 0; i < client_count; i++)
	{
		clients[i].number = i;
		snprintf(clients[i].number_text, sizeof(clients[i].number_text), "%d", i);
		if (redis_path != NULL)
			connect_redis(&clients[i]);
		else
			connect_postgres(&clients[i]);
		polls[i] = (struct pollfd) {.fd = clients[i].socket, .events = POLLIN};
	}

	began = now_us();
	progress_at = began + PROGRESS_US;
	measure_from = began + (int64_t) (warm_up_seconds * 1e6);
	if (measured_seconds > 0)
	{
		measure_until = measure_from + (int64_t) (measured_seconds * 1e6);
		last_from = measure_until - (int64_t) (measured_seconds * 1e5);
	}
	if (round_count > 0)
		for (current_round = 1; current_round <= round_count; current_round++)
			run(polls);
	else
		run(polls);
	print_results(now_us());

	if (log_file != NULL && fclose(log_file) != 0)
		die("the log was not written");
	for (int i = 0; i < client_count; i++)
		if (clients[i].pg != NULL)
			PQfinish(clients[i].pg);
	return 0;
}
