/*
 * refusal.c
 *		The one place that turns a reason into an error: its SQLSTATE and its
 *		stable name.
 *
 * Reads and writes no table, takes no lock.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "dvnt_ticketing.h"

static const struct
{
	const char *name;
	int			http_status;
}			reasons[] = {
	[BAD_REQUEST] = {"bad_request", 400},
	[BAD_SIGNATURE] = {"bad_signature", 400},
	[NOT_ALLOWED] = {"not_allowed", 403},
	[NOT_FOUND] = {"not_found", 404},
	[SOLD_OUT] = {"sold_out", 409},
	[LIMIT_REACHED] = {"limit_reached", 409},
	[ALREADY_DONE] = {"already_done", 409},
	[WRONG_STATE] = {"wrong_state", 409},
	[PRICE_CHANGED] = {"price_changed", 409},
	[REQUEST_ID_REUSED] = {"request_id_reused", 409},
	[SALE_CLOSED] = {"sale_closed", 410},
	[HOLD_EXPIRED] = {"hold_expired", 410},
	[INVALID_ITEMS] = {"invalid_items", 422},
	[NOT_CONFIGURED] = {"not_configured", 503},
};

const char *
refusal_name(RefusalReason reason)
{
	return reasons[reason].name;
}

/* SQLSTATE PTnnn of an HTTP status. */
static int
pt_sqlstate(int http_status)
{
	return MAKE_SQLSTATE('P', 'T', '0' + http_status / 100, '0' + http_status / 10 % 10,
						 '0' + http_status % 10);
}

void
refuse(RefusalReason reason, const char *figures, const char *hint, const char *message, ...)
{
	StringInfoData sentence;
	int			needed;

	count_event(COUNTER_REFUSED + reason);
	initStringInfo(&sentence);
	do
	{
		va_list		arguments;

		va_start(arguments, message);
		needed = appendStringInfoVA(&sentence, message, arguments);
		va_end(arguments);
		if (needed > 0)
			enlargeStringInfo(&sentence, needed);
	} while (needed > 0);

	ereport(ERROR,
			(errcode(pt_sqlstate(reasons[reason].http_status)),
			 errmsg_internal("%s", sentence.data),
			 errdetail_internal("{\"reason\": \"%s\"%s%s}", reasons[reason].name,
								figures ? ", " : "", figures ? figures : ""),
			 hint ? errhint("%s", hint) : 0));
	pg_unreachable();
}

void
refuse_unknown_event(int event_id)
{
	refuse(NOT_FOUND, psprintf("\"event_id\": %d", event_id), NULL, "event %d does not exist", event_id);
}
