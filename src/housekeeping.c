/*
 * housekeeping.c
 *		What pg_cron or a DBA runs now and then. Nothing here is needed for a
 *		right answer elsewhere: it keeps columns fresh, tables small and late
 *		effects coming.
 *
 * Reads and writes public.ticket_types.quantity_sold, ticketing.stripe_handoff,
 * stripe_requests, stripe_inbox, requests and door_manifests; ends orders that
 * are due through order_ends.c.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"

#include "dvnt_ticketing.h"

/* What is sold of a limited tier follows from its stock; of an unlimited one it is counted. */
KEPT_PLAN(roll_up_sold,
		  "UPDATE public.ticket_types t SET quantity_sold = s.sold FROM ("
		  "  SELECT p.ticket_type_id AS id, "
		  "         (p.capacity + p.deficit - (SELECT sum(available) FROM ticketing.stock_shards k WHERE k.pool_id = p.pool_id) "
		  "          - (SELECT coalesce(sum(h.quantity), 0) FROM ticketing.ticket_holds h WHERE h.event_id = p.event_id AND h.ticket_type_id = p.ticket_type_id AND h.status = 'active'))::integer AS sold "
		  "  FROM ticketing.stock_pools p WHERE p.ticket_type_id IS NOT NULL "
		  "  UNION ALL "
		  "  SELECT u.id, (SELECT count(*) FROM public.tickets k WHERE k.event_id = u.event_id AND k.ticket_type_id = u.id AND k.status IN ('active', 'scanned'))::integer "
		  "  FROM public.ticket_types u WHERE u.quantity_total IS NULL) s "
		  "WHERE t.id = s.id AND t.quantity_sold IS DISTINCT FROM s.sold");
KEPT_PLAN(prune_inbox,
		  "UPDATE ticketing.stripe_inbox SET payload = NULL, raw_payload = NULL "
		  "WHERE state <> 'parked' AND received_at < $1 - interval '30 days' AND (payload IS NOT NULL OR raw_payload IS NOT NULL)",
		  TIMESTAMPTZOID);
KEPT_PLAN(prune_manifests, "DELETE FROM ticketing.door_manifests WHERE issued_at < $1 - interval '30 days'", TIMESTAMPTZOID);
KEPT_PLAN(prune_requests, "DELETE FROM ticketing.requests WHERE created_at < $1 - interval '30 days'", TIMESTAMPTZOID);

PG_FUNCTION_INFO_V1(dvnt_sync_quantity_sold);

/* sync_quantity_sold() → integer, tiers changed */
Datum
dvnt_sync_quantity_sold(PG_FUNCTION_ARGS)
{
	uint64		changed;

	begin_command();
	changed = run_latest(&roll_up_sold, NULL, NULL);
	SPI_finish();
	PG_RETURN_INT32((int32) changed);
}

PG_FUNCTION_INFO_V1(dvnt_prune);

/* prune() → integer, rows */
Datum
dvnt_prune(PG_FUNCTION_ARGS)
{
	TimestampTz at = engine_now();
	Datum		now = TimestampTzGetDatum(at);
	uint64		rows = 0;
	uint64		forgotten;

	PreventCommandIfReadOnly("prune()");
	begin_command();
	while ((forgotten = forget_handoffs(at)) > 0)
		rows += forgotten;
	rows += run_latest(&prune_inbox, &now, NULL);
	rows += run_latest(&prune_requests, &now, NULL);
	rows += run_latest(&prune_manifests, &now, NULL);
	SPI_finish();
	PG_RETURN_INT32((int32) rows);
}

PG_FUNCTION_INFO_V1(dvnt_sweep_stripe);

/* sweep_stripe(max_rows) → integer, effects and events tried again */
Datum
dvnt_sweep_stripe(PG_FUNCTION_ARGS)
{
	TimestampTz now = engine_now();
	int32		max_rows;
	int32		swept;

	require_argument(fcinfo, 0, "max_rows");
	max_rows = PG_GETARG_INT32(0);
	if (max_rows < 1)
		refuse(BAD_REQUEST, "\"argument\": \"max_rows\"", NULL, "max_rows is below 1");
	/* a standby has no unlogged table to begin with */
	PreventCommandIfReadOnly("sweep_stripe()");
	begin_command();
	while (forget_handoffs(now) > 0)
		continue;
	swept = sweep_unapplied_answers(max_rows, now);
	(void) begin_locking(RANK_NONE);
	swept += end_due_orders(max_rows, now);
	(void) begin_locking(RANK_NONE);
	swept += sweep_parked_events(max_rows, now);
	(void) begin_locking(RANK_NONE);
	swept += settle_decided_disputes(max_rows, now);
	SPI_finish();
	PG_RETURN_INT32(swept);
}
