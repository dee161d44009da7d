/*
 * main.c
 *	  dvnt_stripe_relay carries the Stripe calls of dvnt_ticketing: it claims
 *	  rows of the outbox, makes the calls, and stores the answers.
 *
 * This file has the command line, the signals and the loop.  The rest, a file
 * per concern:
 *
 *	  config.c		the environment
 *	  database.c	the connection and its statements
 *	  arming.c		whose key, and may it be used for this database
 *	  doorbell.c	when to look for rows, and how to sleep
 *	  outbox.c		rows become calls, answers are stored
 *	  calls.c		the slots and the curl multi handle
 *	  request.c		one request and its answer
 *	  log.c, buffer.c, clock.c
 *
 * Each turn of the loop lets every part do what it can without waiting, then
 * waits for whatever comes first: the database, Stripe, a signal, or the time
 * that one of them has named.
 *
 * SIGTERM and SIGINT drain: claim no more, finish the calls in flight, store
 * their answers, exit 0.  A second one exits at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "relay.h"

#define STORE_TIME		5000	/* ms to store the last answers, when draining */
#define LONGEST_WAIT	1000	/* ms */

static int	signal_pipe[2];
static volatile sig_atomic_t terminations;

static bool leaving;			/* the next turn is not taken */
static bool draining;
static msec_t drain_until;
static int	exit_status;

static const char usage[] =
	"dvnt_stripe_relay carries the Stripe calls of dvnt_ticketing.\n"
	"\n"
	"Usage: dvnt_stripe_relay [--once]\n"
	"\n"
	"  --once         carry what is ready now, then exit\n"
	"  -V, --version  show the version, then exit\n"
	"  -h, --help     show this help, then exit\n"
	"\n"
	"Environment:\n"
	"  STRIPE_SECRET_KEY       the key, or\n"
	"  STRIPE_SECRET_KEY_FILE  a file whose first line is the key\n"
	"  STRIPE_API_BASE         default https://api.stripe.com\n"
	"  STRIPE_CA_FILE          CAs to trust instead of the system's\n"
	"  DVNT_INSTALLATION       a name that tells this database from its copies\n"
	"  DVNT_RELAY_CONCURRENCY  calls at once, default 32\n"
	"  DVNT_RELAY_TIMEOUT      seconds a call may take, default 30\n"
	"  DVNT_RELAY_LEASE        seconds a claimed row is ours, default timeout + 15\n"
	"  DVNT_RELAY_POLL         seconds between looks while asleep, default 1\n"
	"  DVNT_RELAY_DEBUG        1 for more log lines\n"
	"  PGHOST, PGDATABASE, ... the database, directly and not through a pooler\n"
	"\n"
	"Exit status: 0 drained, 1 trouble, 2 wrong configuration, 3 not armed for\n"
	"this database, 4 stopped because Stripe refuses the key or TLS fails.\n";

/* A signal: the second one that ends us does so here. */
static void
handle_signal(int signal)
{
	int			saved_errno = errno;
	char		byte = (char) signal;
	ssize_t		written;

	if (signal != SIGHUP && ++terminations > 1)
		_exit(128 + signal);
	written = write(signal_pipe[1], &byte, 1);
	(void) written;
	errno = saved_errno;
}

/* Signals wake the loop through a pipe. */
static void
init_signals(void)
{
	struct sigaction action = {.sa_handler = handle_signal, .sa_flags = SA_RESTART};

	if (pipe(signal_pipe) != 0)
	{
		log_event(LOG_LEVEL_ERROR, "pipe", "error", strerror(errno));
		exit(EXIT_TROUBLE);
	}
	for (int i = 0; i < 2; i++)
	{
		fcntl(signal_pipe[i], F_SETFL, O_NONBLOCK);
		fcntl(signal_pipe[i], F_SETFD, FD_CLOEXEC);
	}
	sigemptyset(&action.sa_mask);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	action.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &action, NULL);
}

/* Read what the handlers have written. */
static void
take_signals(void)
{
	char		signal;

	while (read(signal_pipe[0], &signal, 1) == 1)
	{
		if (signal == SIGHUP)
			log_event(LOG_LEVEL_INFO, "hangup_ignored", NULL, NULL);
		else
			relay_drain(EXIT_SUCCESS, signal == SIGTERM ? "SIGTERM" : "SIGINT");
	}
}

/* Claim no more, finish what is in flight, then exit with the status. */
void
relay_drain(int status, const char *reason)
{
	LogLine		line;

	if (draining)
		return;
	draining = true;
	exit_status = status;
	drain_until = clock_now() + (msec_t) config.timeout * 1000 + STORE_TIME;
	log_begin(&line, status == EXIT_SUCCESS ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "draining");
	log_text(&line, "reason", reason);
	log_number(&line, "in_flight", calls_active());
	log_end(&line);
}

/* Exit with the status after this turn; the first to say so wins. */
void
relay_leave(int status)
{
	if (leaving)
		return;
	leaving = true;
	exit_status = status;
}

/* Whether no more rows are to be claimed. */
bool
relay_draining(void)
{
	return draining || leaving;
}

/* Whether the last turn has been taken. */
static bool
is_finished(msec_t now)
{
	if (leaving)
		return true;
	if (config.once && doorbell_found_nothing() && calls_active() == 0)
		return true;
	if (!draining)
		return false;
	if (calls_active() == 0 && !doorbell_looking())
		return true;
	if (now < drain_until)
		return false;
	if (exit_status == EXIT_SUCCESS)
		exit_status = EXIT_TROUBLE; /* some answers are not stored */
	return true;
}

/* The earlier of two times. */
static msec_t
earlier(msec_t a, msec_t b)
{
	return a < b ? a : b;
}

/* Wait until something happens or is due. */
static void
wait_for_events(void)
{
	struct curl_waitfd descriptors[2] = {{.fd = signal_pipe[0], .events = CURL_WAIT_POLLIN}};
	int			count = 1;
	msec_t		now = clock_now();
	msec_t		due = now + LONGEST_WAIT;
	int			socket = database_socket(&descriptors[1].events);

	if (socket >= 0)
	{
		descriptors[1].fd = socket;
		count = 2;
	}
	due = earlier(due, database_due());
	due = earlier(due, arming_due());
	due = earlier(due, doorbell_due());
	due = earlier(due, outbox_due());
	calls_wait(descriptors, count, due > now ? (int) (due - now) : 0);
}

/*
 * The loop.  The database comes last: it writes what the parts before it have
 * to say, and what it reads becomes due at once.
 */
static void
run(void)
{
	for (;;)
	{
		msec_t		now;

		take_signals();
		calls_work();
		now = clock_now();
		arming_work(now);
		outbox_work(now);
		doorbell_work(now);
		database_work(now);
		log_flush();
		if (is_finished(now))
			return;
		wait_for_events();
	}
}

/* Read the command line. */
static void
read_options(int argc, char **argv)
{
	static const struct option options[] = {
		{"once", no_argument, NULL, 'o'},
		{"version", no_argument, NULL, 'V'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}
	};
	int			option;

	while ((option = getopt_long(argc, argv, "Vh", options, NULL)) != -1)
	{
		switch (option)
		{
			case 'o':
				config.once = true;
				break;
			case 'V':
				printf("%s %s\n", RELAY_NAME, RELAY_VERSION);
				exit(EXIT_SUCCESS);
			case 'h':
				fputs(usage, stdout);
				exit(EXIT_SUCCESS);
			default:
				exit(EXIT_CONFIG);
		}
	}
	if (optind < argc)
	{
		fprintf(stderr, "%s: it takes no arguments: the environment says everything\n",
				RELAY_NAME);
		exit(EXIT_CONFIG);
	}
}

int
main(int argc, char **argv)
{
	struct rlimit no_core = {0, 0};
	LogLine		line;

	read_options(argc, argv);
	setrlimit(RLIMIT_CORE, &no_core);	/* a core would hold the key */
	atexit(log_flush);
#ifdef M_MXFAST
	/* curl's buffers come and go with each call: no tidying up of small blocks for them, and no giving back to the system */
	mallopt(M_MXFAST, 0);
	mallopt(M_TRIM_THRESHOLD, 64 * 1024 * 1024);
	mallopt(M_MMAP_THRESHOLD, 8 * 1024 * 1024);
#endif
	curl_global_init(CURL_GLOBAL_DEFAULT);
	config_load();
	init_signals();
	calls_init();

	run();
	arming_close();

	log_begin(&line, exit_status == EXIT_SUCCESS ? LOG_LEVEL_INFO : LOG_LEVEL_ERROR, "exit");
	log_number(&line, "status", exit_status);
	log_number(&line, "unstored", calls_active());
	log_end(&line);
	database_close();
	calls_close();
	config_wipe();
	curl_global_cleanup();
	return exit_status;
}
