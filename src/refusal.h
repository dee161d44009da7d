/*
 * refusal.h
 *		Refusals: errors that a caller is meant to read.
 *
 * SQLSTATE PTnnn becomes HTTP nnn in PostgREST. The message is a sentence for
 * a log, DETAIL is JSON with a stable "reason" and its figures, HINT says what
 * to do.
 */
#ifndef DVNT_REFUSAL_H
#define DVNT_REFUSAL_H

#include "postgres.h"

typedef enum RefusalReason
{
	BAD_REQUEST,				/* PT400 */
	BAD_SIGNATURE,				/* PT400 */
	NOT_ALLOWED,				/* PT403 */
	NOT_FOUND,					/* PT404 */
	SOLD_OUT,					/* PT409 */
	LIMIT_REACHED,				/* PT409 */
	ALREADY_DONE,				/* PT409 */
	WRONG_STATE,				/* PT409 */
	PRICE_CHANGED,				/* PT409 */
	REQUEST_ID_REUSED,			/* PT409 */
	SALE_CLOSED,				/* PT410 */
	HOLD_EXPIRED,				/* PT410 */
	INVALID_ITEMS,				/* PT422 */
	NOT_CONFIGURED,				/* PT503 */
	REFUSAL_REASON_COUNT
} RefusalReason;

/*
 * Raises a refusal. figures is NULL or the members of a JSON object, without
 * braces; message is printf-like.
 */
extern _Noreturn void refuse(RefusalReason reason, const char *figures, const char *hint,
				   const char *message, ...) pg_attribute_printf(4, 5);

/* The refusal of an event that does not exist. */
extern _Noreturn void refuse_unknown_event(int event_id);

/* The stable name of a reason. */
extern const char *refusal_name(RefusalReason reason);

#endif							/* DVNT_REFUSAL_H */
