/*
 * settlement.c
 *		The proof against Stripe: every night the balance transactions of the
 *		platform and of each organizer's account are listed and kept; what they
 *		are in the ledger is settlement_match.c's.
 *
 * A cursor per account says up to when all are here. A listing is a chain of
 * pages, each asked for by the effect of the one before; the last one moves the
 * cursor, and when no other account is being listed, what is left over is
 * judged. Reads and writes ticketing.settlement_cursors and
 * balance_transactions; reads ledger, orders and stripe_requests; enqueues
 * requests. Locks: the settlement's advisory lock, under which nothing else is
 * waited for but a booking of the same.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/date.h"
#include "utils/datum.h"

#include "dvnt_ticketing.h"

#define PAGE_SIZE 100
#define OVERLAP_SECONDS 3600.0	/* what Stripe lists later than it was booked */
#define CLOCKS_DIFFER_SECONDS 300.0	/* Stripe's and ours, at most */

KEPT_PLAN(lock_settlement, "SELECT pg_advisory_xact_lock(1685454860, 0)");
/* From when on an account has bookings: a payment is not older than its order. A request that will never be answered is no listing. */
KEPT_PLAN(accounts_to_list,
		  "SELECT a.account, coalesce(c.since, f.first), r.id IS NOT NULL "
		  "FROM (SELECT 'platform' AS account WHERE EXISTS (SELECT FROM ticketing.ledger) "
		  "      UNION ALL SELECT DISTINCT payee_account FROM ticketing.ledger WHERE payee_account IS NOT NULL) a "
		  "LEFT JOIN ticketing.settlement_cursors c USING (account) "
		  "LEFT JOIN ticketing.stripe_requests r ON r.id = c.request_id AND (r.state IN ('ready', 'leased', 'unknown') OR NOT r.applied) "
		  "LEFT JOIN LATERAL (SELECT min(least(l.at, o.created_at)) AS first FROM ticketing.ledger l LEFT JOIN ticketing.orders o ON o.order_id = l.order_id "
		  "  WHERE c.account IS NULL AND (a.account = 'platform' OR l.payee_account = a.account)) f ON true "
		  "ORDER BY a.account <> 'platform', a.account");
KEPT_PLAN(begin_listing,
		  "INSERT INTO ticketing.settlement_cursors AS c (account, since, judged, until, request_id, pages, updated_at) VALUES ($1, $2, $2, $3, $4, 0, $3) "
		  "ON CONFLICT (account) DO UPDATE SET until = excluded.until, request_id = excluded.request_id, pages = 0, updated_at = excluded.updated_at",
		  TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, UUIDOID);
KEPT_PLAN(listing_of_request,
		  "SELECT c.account, c.until, r.params FROM ticketing.settlement_cursors c JOIN ticketing.stripe_requests r ON r.id = c.request_id WHERE c.request_id = $1",
		  UUIDOID);
KEPT_PLAN(params_after, "SELECT ($1 || jsonb_build_object('starting_after', $2))::text", JSONBOID, TEXTOID);
KEPT_PLAN(params_again, "SELECT $1::text", JSONBOID);
KEPT_PLAN(await_page,
		  "UPDATE ticketing.settlement_cursors SET request_id = $2, pages = pages + $3, updated_at = $4 WHERE account = $1",
		  TEXTOID, UUIDOID, INT4OID, TIMESTAMPTZOID);
KEPT_PLAN(end_listing,
		  "UPDATE ticketing.settlement_cursors SET since = coalesce($2, since), until = NULL, request_id = NULL, pages = pages + $3, updated_at = $4 WHERE account = $1",
		  TEXTOID, TIMESTAMPTZOID, INT4OID, TIMESTAMPTZOID);
KEPT_PLAN(any_listing,
		  "SELECT FROM ticketing.settlement_cursors c JOIN ticketing.stripe_requests r ON r.id = c.request_id AND (r.state IN ('ready', 'leased', 'unknown') OR NOT r.applied) "
		  "WHERE c.account <> $1 LIMIT 1",
		  TEXTOID);
/* What each is about and follows from stands in its source, which the page has expanded. */
KEPT_PLAN(store_page,
		  "INSERT INTO ticketing.balance_transactions (id, account, type, category, source, cause, about, amount_cents, fee_cents, net_cents, currency, created, available_on, stored_at) "
		  "SELECT t ->> 'id', $2, "
		  "  CASE WHEN t ->> 'type' = 'adjustment' AND t ->> 'reporting_category' = 'refund_failure' THEN 'refund_failure' "
		  "    WHEN t ->> 'type' IN ('payout', 'payout_failure', 'payout_cancel') THEN CASE WHEN (t ->> 'amount')::bigint < 0 THEN 'payout' ELSE 'payout_failure' END ELSE t ->> 'type' END, "
		  "  t ->> 'reporting_category', coalesce(s ->> 'id', t ->> 'source'), "
		  "  CASE s ->> 'object' WHEN 'charge' THEN coalesce(s ->> 'source_transfer', s ->> 'payment_intent') WHEN 'transfer' THEN s ->> 'source_transaction' "
		  "    WHEN 'application_fee' THEN coalesce(s ->> 'originating_transaction', s ->> 'charge') WHEN 'fee_refund' THEN s ->> 'fee' WHEN 'transfer_reversal' THEN s ->> 'transfer' "
		  "    WHEN 'refund' THEN coalesce(s ->> 'source_transfer_reversal', s ->> 'payment_intent', s ->> 'charge') WHEN 'dispute' THEN coalesce(s ->> 'payment_intent', s ->> 'charge') END, "
		  "  CASE s ->> 'object' WHEN 'refund' THEN s ->> 'id' WHEN 'dispute' THEN s ->> 'id' WHEN 'transfer_reversal' THEN coalesce(s ->> 'source_refund', s #>> '{metadata,dispute_id}') "
		  "    WHEN 'transfer' THEN s #>> '{metadata,dispute_id}' END, "
		  "  (t ->> 'amount')::bigint, (t ->> 'fee')::bigint, (t ->> 'net')::bigint, t ->> 'currency', to_timestamp((t ->> 'created')::bigint), to_timestamp((t ->> 'available_on')::bigint), $3 "
		  "FROM jsonb_array_elements($1 -> 'data') t CROSS JOIN LATERAL (SELECT CASE jsonb_typeof(t -> 'source') WHEN 'object' THEN t -> 'source' END AS s) e "
		  "ON CONFLICT DO NOTHING",
		  JSONBOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(ids_of_page, "SELECT array_agg(t ->> 'id'), (array_agg(t ->> 'id' ORDER BY n DESC))[1] FROM jsonb_array_elements($1 -> 'data') WITH ORDINALITY d (t, n)", JSONBOID);
KEPT_PLAN(resolve_not_listed,
		  "UPDATE ticketing.findings SET resolved_at = $2, resolution = 'listed' WHERE kind = 'settlement_not_listed' AND entity = $1 AND resolved_at IS NULL", TEXTOID, TIMESTAMPTZOID);

/* An account whose balance transactions are asked for. */
typedef struct Listing
{
	char	   *account;		/* Stripe's id, or "platform" */
	TimestampTz since;
} Listing;

static bool
is_platform(const char *account)
{
	return strcmp(account, "platform") == 0;
}

/* Asks for a page. */
static pg_uuid_t *
ask_for_page(const char *account, const char *params, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "list_balance_transactions", .lane = STRIPE_LANE_RECONCILE, .method = "GET", .path = "/v1/balance_transactions",
		.params = params, .stripe_account = is_platform(account) ? NULL : account
	};

	return enqueue_stripe_request(&request, now);
}

/* Begins to list an account's balance transactions from a moment before the cursor up to now. */
static void
list_account(const Listing *listing, TimestampTz now)
{
	Datum		values[4] = {CStringGetTextDatum(listing->account), TimestampTzGetDatum(listing->since), TimestampTzGetDatum(now)};
	int64		from = unix_seconds(add_seconds(listing->since, -OVERLAP_SECONDS));
	Answer		params;

	answer_begin(&params);
	answer_int(&params, "limit", PAGE_SIZE);
	answer_raw(&params, "created", psprintf("{\"gte\": " INT64_FORMAT ", \"lte\": " INT64_FORMAT "}", from, unix_seconds(add_seconds(now, CLOCKS_DIFFER_SECONDS))));
	answer_raw(&params, "expand", "[\"data.source\"]");
	values[3] = UUIDPGetDatum(ask_for_page(listing->account, answer_end(&params), now));
	run_latest(&begin_listing, values, NULL);
}

PG_FUNCTION_INFO_V1(dvnt_enqueue_settlement);

/* enqueue_settlement() → integer, accounts */
Datum
dvnt_enqueue_settlement(PG_FUNCTION_ARGS)
{
	TimestampTz now;
	uint64		rows;
	Listing    *listings;
	int			count = 0;

	begin_command();
	run_latest(&lock_settlement, NULL, NULL);
	now = engine_now();
	rows = run_latest(&accounts_to_list, NULL, NULL);
	listings = palloc(sizeof(Listing) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
	{
		Listing		listing = {row_text(row, 1), DatumGetTimestampTz(row_datum(row, 2))};

		/* one that is under way goes on; what is no account cannot be asked for */
		if (!DatumGetBool(row_datum(row, 3)) && is_stripe_id(listing.account))
			listings[count++] = listing;
	}
	for (int i = 0; i < count; i++)
		list_account(&listings[i], now);
	SPI_finish();
	PG_RETURN_INT32(count);
}

/* A page that has been answered, of a listing under way. */
typedef struct ListedPage
{
	char	   *account;
	TimestampTz until;
	Jsonb	   *params;
} ListedPage;

/* The listing that waits for this answer; false: none does any more. */
static bool
find_listing(const StripeAnswer *call, ListedPage *page)
{
	Datum		id = UUIDPGetDatum(call->request_id);

	run_latest(&lock_settlement, NULL, NULL);
	if (run_latest(&listing_of_request, &id, NULL) == 0)
		return false;
	page->account = row_text(0, 1);
	page->until = DatumGetTimestampTz(row_datum(0, 2));
	page->params = DatumGetJsonbPCopy(row_datum(0, 3));
	return true;
}

/* Asks for the page after an id, or, with NULL, for the same once more. */
static void
ask_further(const ListedPage *page, const char *last_id, TimestampTz now)
{
	char		nulls[3] = "  ";
	Datum		params[2] = {JsonbPGetDatum(page->params), text_or_null(last_id, &nulls[1])};
	Datum		values[4] = {CStringGetTextDatum(page->account), (Datum) 0, Int32GetDatum(last_id ? 1 : 0), TimestampTzGetDatum(now)};

	run_latest(last_id ? &params_after : &params_again, params, nulls);
	values[1] = UUIDPGetDatum(ask_for_page(page->account, row_text(0, 1), now));
	run_latest(&await_page, values, NULL);
}

static char *
cursor_entity(const ListedPage *page)
{
	return psprintf("settlement_cursors/%s", page->account);
}

/* Ends the listing of an account, at the end of what there is or not; the last one of all judges what is left over. */
static void
finish_listing(const ListedPage *page, bool complete, TimestampTz now)
{
	Datum		values[4] = {CStringGetTextDatum(page->account), TimestampTzGetDatum(page->until), Int32GetDatum(complete ? 1 : 0), TimestampTzGetDatum(now)};
	Datum		resolved[2] = {CStringGetTextDatum(cursor_entity(page)), values[3]};

	run_latest(&end_listing, values, complete ? NULL : " n  ");
	if (complete)
		run_latest(&resolve_not_listed, resolved, NULL);
	if (run_latest(&any_listing, values, NULL) == 0)
		judge_settlement(now);
}

/*
 * Effect of list_balance_transactions. A page whose body is gone, because its
 * effect comes late, is asked for again; one of a listing that was given up
 * says nothing.
 */
void
balance_page_answered(const StripeAnswer *call)
{
	ListedPage	page;
	Datum		values[3];
	Datum		ids;
	char	   *last_id;
	bool		has_more;

	if (!find_listing(call, &page))
		return;
	if (json_array_at(call->answer, "data") == NULL)
	{
		ask_further(&page, NULL, call->now);
		return;
	}
	values[0] = JsonbPGetDatum(call->answer);
	values[1] = CStringGetTextDatum(page.account);
	values[2] = TimestampTzGetDatum(call->now);
	run_latest(&store_page, values, NULL);
	run_latest(&ids_of_page, values, NULL);
	if (row_is_null(0, 1))
	{
		finish_listing(&page, true, call->now);
		return;
	}
	ids = datumCopy(row_datum(0, 1), false, -1);
	last_id = row_text(0, 2);
	match_balance_transactions(ids, false, call->now);
	if (json_bool_at(call->answer, JSON_PATH("has_more"), &has_more) && has_more)
		ask_further(&page, last_id, call->now);
	else
		finish_listing(&page, true, call->now);
}

/* Stripe will not list them: the night after will ask again. */
void
balance_page_failed(const StripeAnswer *call)
{
	ListedPage	page;

	if (!find_listing(call, &page))
		return;
	record_finding("settlement_not_listed", cursor_entity(&page),
				   TextDatumGetCString(DirectFunctionCall1(textin, CStringGetDatum(JsonbToCString(NULL, &call->answer->root, VARSIZE(call->answer))))), call->now);
	finish_listing(&page, false, call->now);
}

/* An account's side of the ledger beside Stripe's own sum; a day's end is UTC's, as Stripe's is. */
KEPT_PLAN(read_report,
		  "WITH stripe AS ("
		  "  SELECT account, currency, sum(net_cents) AS cents, count(*) FILTER (WHERE NOT settled) AS open, coalesce(sum(net_cents) FILTER (WHERE NOT settled), 0) AS open_cents "
		  "  FROM ticketing.balance_transactions WHERE created < $1 GROUP BY 1, 2), "
		  "ledger AS ("
		  "  SELECT account, currency, sum(cents) AS cents, count(*) FILTER (WHERE settled_at IS NULL) AS open, coalesce(sum(cents) FILTER (WHERE settled_at IS NULL), 0) AS open_cents "
		  "  FROM ticketing.account_lines WHERE coalesce(settled_at, at) < $1 GROUP BY 1, 2) "
		  "SELECT account, currency, coalesce(l.cents, 0)::bigint, coalesce(s.cents, 0)::bigint, (coalesce(l.cents, 0) - coalesce(s.cents, 0))::bigint, "
		  "  coalesce(s.open, 0), coalesce(s.open_cents, 0)::bigint, coalesce(l.open, 0), coalesce(l.open_cents, 0)::bigint, c.since "
		  "FROM ledger l FULL JOIN stripe s USING (account, currency) LEFT JOIN ticketing.settlement_cursors c USING (account) "
		  "ORDER BY account <> 'platform', account, currency",
		  TIMESTAMPTZOID);

/* The end of a day, UTC; dates go further than instants do. */
static TimestampTz
end_of(DateADT day)
{
	if (DATE_IS_NOBEGIN(day))
		return DT_NOBEGIN;
	if (day >= TIMESTAMP_END_JULIAN - POSTGRES_EPOCH_JDATE)
		return DT_NOEND;
	return ((TimestampTz) day + 1) * USECS_PER_DAY;
}

PG_FUNCTION_INFO_V1(dvnt_settlement_report);

/* settlement_report(day) → rows */
Datum
dvnt_settlement_report(PG_FUNCTION_ARGS)
{
	Datum		end = TimestampTzGetDatum(PG_ARGISNULL(0) ? DT_NOEND : end_of(PG_GETARG_DATEADT(0)));

	return answer_rows(fcinfo, &read_report, &end, NULL);
}
