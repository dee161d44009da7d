/*
 * host_money.c
 *		What a host is shown of his money: disputes, payouts, how his balance
 *		stands, and every movement that made it. All figures are sums over the
 *		ledger.
 *
 * Reads ticketing.ledger, event_settings, disputes, payouts and
 * payout_events; writes nothing, takes no lock.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define TRANSACTIONS_MAX_ROWS 1000

/* The bookings of a host: of his events, and of what his account was paid out. */
#define HOST_LEDGER \
	"WITH of_host AS (" \
	"  SELECT l.* FROM ticketing.event_settings s JOIN ticketing.ledger l ON l.event_id = s.event_id WHERE s.host_id = $1 " \
	"  UNION ALL " \
	"  SELECT l.* FROM ticketing.payouts p JOIN ticketing.ledger l ON l.source = p.payout_id WHERE p.host_id = $1 AND l.event_id IS NULL) "

KEPT_PLAN(read_disputes,
		  "SELECT d.dispute_id, d.order_id, d.event_id, d.phase, d.status, d.reason, d.amount_cents::bigint, d.currency, "
		  "  coalesce(sum(l.amount_cents * CASE l.kind WHEN 'reversal' THEN 1 WHEN 'retransfer' THEN -1 WHEN 'buyer_fee_refund' THEN -1 WHEN 'organizer_fee_refund' THEN -1 ELSE 0 END), 0)::bigint, "
		  "  coalesce(sum(l.amount_cents * CASE l.kind WHEN 'debt' THEN 1 WHEN 'debt_settled' THEN -1 ELSE 0 END), 0)::bigint, "
		  "  d.created_at, d.closed_at "
		  "FROM ticketing.event_settings s JOIN ticketing.disputes d ON d.event_id = s.event_id LEFT JOIN ticketing.ledger l ON l.source = d.dispute_id "
		  "WHERE s.host_id = $1 GROUP BY d.dispute_id ORDER BY d.created_at DESC, d.dispute_id",
		  TEXTOID);
KEPT_PLAN(read_payouts,
		  "SELECT p.payout_id, (SELECT coalesce(sum(CASE l.from_account WHEN 'organizer' THEN l.amount_cents ELSE -l.amount_cents END), 0)::bigint FROM ticketing.ledger l "
		  "    WHERE l.source = p.payout_id AND l.kind = CASE WHEN p.amount_cents >= 0 THEN 'payout' ELSE 'payout_failure' END), "
		  "  p.currency, p.status, p.failure_code, p.arrival_date, p.created_at, "
		  "  coalesce((SELECT jsonb_agg(jsonb_build_object('event_id', v.event_id, 'gross_cents', v.gross_cents, 'net_cents', v.amount_cents) ORDER BY v.event_id) "
		  "            FROM ticketing.payout_events v WHERE v.payout_id = p.payout_id), '[]') "
		  "FROM ticketing.payouts p WHERE p.host_id = $1 ORDER BY p.created_at DESC, p.payout_id",
		  TEXTOID);
KEPT_PLAN(read_summary,
		  HOST_LEDGER
		  "SELECT h.currency, "
		  "  coalesce(sum(h.amount_cents) FILTER (WHERE h.to_account = 'organizer'), 0)::bigint - coalesce(sum(h.amount_cents) FILTER (WHERE h.from_account = 'organizer'), 0)::bigint, "
		  "  coalesce(sum(CASE h.to_account WHEN 'bank' THEN h.amount_cents ELSE -h.amount_cents END) FILTER (WHERE 'bank' IN (h.from_account, h.to_account) AND p.status NOT IN ('pending', 'in_transit')), 0)::bigint, "
		  "  coalesce(sum(CASE h.to_account WHEN 'bank' THEN h.amount_cents ELSE -h.amount_cents END) FILTER (WHERE 'bank' IN (h.from_account, h.to_account) AND p.status IN ('pending', 'in_transit')), 0)::bigint, "
		  "  coalesce(sum(CASE h.from_account WHEN 'organizer_debt' THEN h.amount_cents ELSE -h.amount_cents END) FILTER (WHERE 'organizer_debt' IN (h.from_account, h.to_account)), 0)::bigint "
		  "FROM of_host h LEFT JOIN ticketing.payouts p ON h.event_id IS NULL AND p.payout_id = h.source "
		  "WHERE 'organizer' IN (h.from_account, h.to_account) OR 'organizer_debt' IN (h.from_account, h.to_account) GROUP BY h.currency ORDER BY h.currency",
		  TEXTOID);
/* Newest first; what is told apart by nothing else is by its source and kind. */
KEPT_PLAN(read_transactions,
		  HOST_LEDGER
		  "SELECT h.at, h.kind, h.source, h.event_id, h.order_id, CASE WHEN h.to_account IN ('organizer', 'organizer_debt') THEN h.amount_cents ELSE -h.amount_cents END, h.currency, "
		  "  (extract(epoch FROM h.at) * 1000000)::bigint || ' ' || h.source || ' ' || h.kind "
		  "FROM of_host h WHERE ('organizer' IN (h.from_account, h.to_account) OR 'organizer_debt' IN (h.from_account, h.to_account)) "
		  "AND ($2 IS NULL OR ((extract(epoch FROM h.at) * 1000000)::bigint, h.source, h.kind) < (split_part($2, ' ', 1)::bigint, split_part($2, ' ', 2), split_part($2, ' ', 3))) "
		  "ORDER BY h.at DESC, h.source DESC, h.kind DESC LIMIT $3",
		  TEXTOID, TEXTOID, INT4OID);

/* The rows of a statement by host_id, the first argument. */
static Datum
rows_about_host(FunctionCallInfo fcinfo, KeptPlan *plan)
{
	Datum		host = CStringGetTextDatum(text_argument(fcinfo, 0, "host_id"));

	return answer_rows(fcinfo, plan, &host, NULL);
}

PG_FUNCTION_INFO_V1(dvnt_host_disputes);

/* host_disputes(host_id) → rows */
Datum
dvnt_host_disputes(PG_FUNCTION_ARGS)
{
	return rows_about_host(fcinfo, &read_disputes);
}

PG_FUNCTION_INFO_V1(dvnt_host_payouts);

/* host_payouts(host_id) → rows */
Datum
dvnt_host_payouts(PG_FUNCTION_ARGS)
{
	return rows_about_host(fcinfo, &read_payouts);
}

PG_FUNCTION_INFO_V1(dvnt_host_payout_summary);

/* host_payout_summary(host_id) → rows */
Datum
dvnt_host_payout_summary(PG_FUNCTION_ARGS)
{
	return rows_about_host(fcinfo, &read_summary);
}

/* A cursor is a number and two words. */
static bool
is_cursor(const char *text)
{
	size_t		digits = strspn(text, "0123456789");
	const char *source = text + digits + 1;
	size_t		length;

	if (digits == 0 || digits > 18 || text[digits] != ' ')
		return false;
	length = strcspn(source, " ");
	return length > 0 && source[length] == ' ' && source[length + 1] != '\0' && strchr(source + length + 1, ' ') == NULL;
}

PG_FUNCTION_INFO_V1(dvnt_host_transactions);

/* host_transactions(host_id, before, max_rows) → rows */
Datum
dvnt_host_transactions(PG_FUNCTION_ARGS)
{
	char		nulls[4] = "   ";
	char	   *before = optional_text(fcinfo, 1);
	Datum		values[3] = {CStringGetTextDatum(text_argument(fcinfo, 0, "host_id")), text_or_null(before, &nulls[1])};

	require_argument(fcinfo, 2, "max_rows");
	values[2] = PG_GETARG_DATUM(2);
	if (DatumGetInt32(values[2]) < 1 || DatumGetInt32(values[2]) > TRANSACTIONS_MAX_ROWS)
		refuse(BAD_REQUEST, psprintf("\"argument\": \"max_rows\", \"limit\": %d", TRANSACTIONS_MAX_ROWS), NULL, "max_rows is not between 1 and %d", TRANSACTIONS_MAX_ROWS);
	if (before != NULL && !is_cursor(before))
		refuse(BAD_REQUEST, "\"argument\": \"before\"", "Pass the cursor of a row of host_transactions.", "before is no cursor");
	return answer_rows(fcinfo, &read_transactions, values, nulls);
}
