/*
 * clock.c
 *	  The time that waiting is measured in, and how long to wait after a
 *	  failure.
 *
 * What is due when, in the outbox, is the database's business and by its own
 * clock; this one only times the relay's own pauses.
 */
#include <stdlib.h>
#include <time.h>

#include "relay.h"

#define BACKOFF_LEAST	100
#define BACKOFF_MOST	5000

/* Milliseconds since some moment in the past. */
msec_t
clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (msec_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*
 * The pause after so many failures in a row: 0.1 s, doubled each time up to
 * 5 s, of which 50 to 100 % at random, so that several relays spread out.
 */
msec_t
clock_backoff(int failures)
{
	static bool seeded = false;
	msec_t		most = BACKOFF_LEAST;

	if (!seeded)
	{
		struct timespec now;

		clock_gettime(CLOCK_REALTIME, &now);
		srandom((unsigned int) now.tv_nsec ^ (unsigned int) now.tv_sec);
		seeded = true;
	}
	for (int i = 1; i < failures && most < BACKOFF_MOST; i++)
		most *= 2;
	if (most > BACKOFF_MOST)
		most = BACKOFF_MOST;
	return most / 2 + random() % (most / 2 + 1);
}
