/*
 * financials.c
 *		What an event has earned, as sums over the ledger: exactly for its host,
 *		and rolled up into public.event_financials for the application.
 *
 * A row per event that every sale updates would be locked through each sale's
 * commit, and undo what sharded stock is for: so it is written by cron, behind
 * the sales. Reads ledger; reads and writes event_openings and
 * public.event_financials. Locks: rows of public.event_financials, by event.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"

#include "dvnt_ticketing.h"

/* One amount, signed by its kind: taken for those of the first list, given back for those of the second. */
#define SUM_OF(added, taken) \
	"coalesce(sum(CASE WHEN l.kind IN (" added ") THEN l.amount_cents WHEN l.kind IN (" taken ") THEN -l.amount_cents END), 0)"

/* The figures of docs/ledger.md. */
#define FIGURES \
	SUM_OF("'charge'", "'buyer_fee'") " AS gross_cents, " \
	SUM_OF("'refund', 'dispute'", "'refund_failure', 'dispute_reinstated', 'buyer_fee_refund'") " AS refunds_cents, " \
	SUM_OF("'buyer_fee', 'organizer_fee', 'rounding_down'", "'buyer_fee_refund', 'organizer_fee_refund', 'rounding_up'") " AS dvnt_fee_cents, " \
	SUM_OF("'stripe_fee', 'dispute_fee'", "'dispute_fee_refund'") " AS stripe_fee_cents, " \
	SUM_OF("'transfer', 'retransfer', 'buyer_fee_refund', 'organizer_fee_refund', 'rounding_up', 'debt_settled'", \
		   "'reversal', 'buyer_fee', 'organizer_fee', 'rounding_down', 'debt'") " AS net_cents "

KEPT_PLAN(read_figures,
		  "SELECT f.currency, f.gross_cents::bigint, f.refunds_cents::bigint, f.dvnt_fee_cents::bigint, f.stripe_fee_cents::bigint, f.net_cents::bigint "
		  "FROM (SELECT l.currency, " FIGURES "FROM ticketing.ledger l WHERE l.event_id = $1 GROUP BY l.currency) f ORDER BY 1",
		  INT4OID);
/*
 * Events with bookings since a while before the last change: a booking is seen
 * after its commit, which may come later than another's.
 */
KEPT_PLAN(changed_events,
		  "SELECT array_agg(DISTINCT l.event_id) FROM ticketing.ledger l "
		  "WHERE l.event_id IS NOT NULL AND ($1 OR l.at >= (SELECT coalesce(max(f.calculated_at), '-infinity') FROM public.event_financials f WHERE f.calculated_at <= $2) - interval '10 minutes')",
		  BOOLOID, TIMESTAMPTZOID);
/* What was there before the ledger had anything of an event is kept, once. */
KEPT_PLAN(keep_openings,
		  "INSERT INTO ticketing.event_openings (event_id, gross_cents, refunds_cents, dvnt_fee_cents, stripe_fee_cents, net_cents, calculated_at, recorded_at) "
		  "SELECT e.id, coalesce(f.gross_cents, 0), coalesce(f.refunds_cents, 0), coalesce(f.dvnt_fee_cents, 0), coalesce(f.stripe_fee_cents, 0), coalesce(f.net_cents, 0), f.calculated_at, $2 "
		  "FROM public.events e LEFT JOIN public.event_financials f ON f.event_id = e.id WHERE e.id = ANY ($1) ORDER BY e.id ON CONFLICT DO NOTHING",
		  INT4ARRAYOID, TIMESTAMPTZOID);
#define AS_INTEGER(figure) "least(2147483647, greatest(-2147483648, o." figure " + s." figure "))::integer"
KEPT_PLAN(roll_up,
		  "INSERT INTO public.event_financials AS f (event_id, gross_cents, refunds_cents, dvnt_fee_cents, stripe_fee_cents, net_cents, calculated_at) "
		  "SELECT o.event_id, " AS_INTEGER("gross_cents") ", " AS_INTEGER("refunds_cents") ", " AS_INTEGER("dvnt_fee_cents") ", " AS_INTEGER("stripe_fee_cents") ", " AS_INTEGER("net_cents") ", $2 "
		  "FROM ticketing.event_openings o CROSS JOIN LATERAL (SELECT " FIGURES "FROM ticketing.ledger l WHERE l.event_id = o.event_id) s "
		  "WHERE o.event_id = ANY ($1) AND EXISTS (SELECT FROM public.events e WHERE e.id = o.event_id) ORDER BY o.event_id "
		  "ON CONFLICT (event_id) DO UPDATE SET gross_cents = excluded.gross_cents, refunds_cents = excluded.refunds_cents, dvnt_fee_cents = excluded.dvnt_fee_cents, "
		  "  stripe_fee_cents = excluded.stripe_fee_cents, net_cents = excluded.net_cents, calculated_at = excluded.calculated_at "
		  "WHERE (f.gross_cents, f.refunds_cents, f.dvnt_fee_cents, f.stripe_fee_cents, f.net_cents) IS DISTINCT FROM "
		  "  (excluded.gross_cents, excluded.refunds_cents, excluded.dvnt_fee_cents, excluded.stripe_fee_cents, excluded.net_cents)",
		  INT4ARRAYOID, TIMESTAMPTZOID);

PG_FUNCTION_INFO_V1(dvnt_event_financials);

/* event_financials(event_id, actor) → rows */
Datum
dvnt_event_financials(PG_FUNCTION_ARGS)
{
	return rows_about_event(fcinfo, &read_figures, "admin");
}

PG_FUNCTION_INFO_V1(dvnt_sync_event_financials);

/* sync_event_financials(everything) → integer, rows changed */
Datum
dvnt_sync_event_financials(PG_FUNCTION_ARGS)
{
	Datum		changed[2];
	Datum		values[2];
	uint64		rows = 0;

	require_argument(fcinfo, 0, "everything");
	changed[0] = PG_GETARG_DATUM(0);
	changed[1] = TimestampTzGetDatum(engine_now());
	begin_command();
	run_latest(&changed_events, changed, NULL);
	if (!row_is_null(0, 1))
	{
		values[0] = PointerGetDatum(PG_DETOAST_DATUM_COPY(row_datum(0, 1)));
		values[1] = changed[1];
		run_latest(&keep_openings, values, NULL);
		declare_lock(RANK_PUBLIC);
		rows = run_latest(&roll_up, values, NULL);
	}
	SPI_finish();
	PG_RETURN_INT32((int32) rows);
}
