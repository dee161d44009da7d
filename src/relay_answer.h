/*
 * relay_answer.h
 *		An answer that the relay brings, and what is to become of its request.
 */
#ifndef DVNT_RELAY_ANSWER_H
#define DVNT_RELAY_ANSWER_H

#include "postgres.h"

#include "dvnt_ticketing.h"

/* A leased request whose answer has come. */
typedef struct Completion
{
	pg_uuid_t  *id;
	int			status;			/* HTTP; 0: no answer */
	Jsonb	   *headers;
	const char *body;
	size_t		body_length;
	Jsonb	   *answer;			/* the body, if it is JSON */
	/* of the request */
	int32		attempts;
	TimestampTz first_sent_at;
	char	   *endpoint;
	TimestampTz leased_at;
	StripeAnswer call;			/* answer and now: when its effect is applied */
} Completion;

/* What is to become of a request whose answer is not a good one. */
typedef enum Verdict
{
	ANSWER_GOOD,
	ANSWER_FAILED,				/* it will never succeed */
	ANSWER_RETRY,				/* same key, same bytes, later */
	ANSWER_RETRY_NEW_KEY,		/* Stripe replays a stored 500, and would all day: nobody has seen what it did */
	ANSWER_PAUSE,				/* rate limit: later, and not an attempt */
	ANSWER_STOP					/* the key or TLS is wrong: an operator is needed */
} Verdict;

extern Verdict judge_answer(const Completion *completion);
extern const char *error_json(const Completion *completion);
extern Datum kept_answer(Jsonb *body);
extern double retry_after(const Completion *completion);

#endif							/* DVNT_RELAY_ANSWER_H */
