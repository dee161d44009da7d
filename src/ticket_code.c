/*
 * ticket_code.c
 *		What a scanned code says of itself: a signed payload, or the bare token
 *		of a ticket from before, either of them perhaps in a deep link.
 *
 * Reads and writes no table, takes no lock.
 */
#include "postgres.h"

#include "dvnt_ticketing.h"
#include "qr_payload.h"

#define DEEP_LINK "dvnt://ticket/"
#define TOKEN_CHARS 64

/* The code without the deep link around it. */
char *
ticket_code_of(char *text)
{
	return strncmp(text, DEEP_LINK, strlen(DEEP_LINK)) == 0 ? text + strlen(DEEP_LINK) : text;
}

/* A bare token: 64 lower-case hex characters. */
static bool
looks_like_token(const char *code)
{
	return strlen(code) == TOKEN_CHARS && strspn(code, "0123456789abcdef") == TOKEN_CHARS;
}

/* What the code says of itself: NULL when it may be a ticket, else the result of a scan. */
const char *
judge_ticket_code(const char *code, TicketCode *parsed)
{
	QrPayload	payload;
	QrVerdict	verdict;

	memset(parsed, 0, sizeof(TicketCode));
	if (looks_like_token(code))
	{
		parsed->is_token = true;
		return NULL;
	}
	verdict = verify_code(code, strlen(code), &payload);
	if (verdict != QR_VALID)
		return qr_verdict_name(verdict);
	memcpy(parsed->ticket_id.data, payload.ticket_id, UUID_LEN);
	parsed->event_id = payload.event_id;
	return NULL;
}
