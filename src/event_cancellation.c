/*
 * event_cancellation.c
 *		Events that do not take place: nothing of them is sold any more, what is
 *		not paid is canceled, and every paid order is given back, some at a time.
 *
 * Reads and writes ticketing.event_settings, reads orders, refund_tickets and
 * findings. Locks: orders, each waited for by nobody here, then what
 * refund_orders.c and orders.c take.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"
#include "refunds.h"

#define ORDERS_AT_ONCE 100		/* that cancel_event itself gives back */

KEPT_PLAN(note_cancellation,
		  "UPDATE ticketing.event_settings SET canceled_at = coalesce(canceled_at, $2) WHERE event_id = $1 RETURNING canceled_at", INT4OID, TIMESTAMPTZOID);
/* A payment may settle seven days later: after thirty nothing is left. An order that could not be refunded waits for a person. */
#define OPEN_ORDERS \
	"FROM ticketing.event_settings s JOIN public.orders p ON p.event_id = s.event_id JOIN ticketing.orders o ON o.order_id = p.id " \
	"WHERE s.canceled_at > $1 - interval '30 days' AND ($2 IS NULL OR s.event_id = $2) AND (o.dispute IS NULL OR o.dispute = 'won') " \
	"AND (o.state = 'awaiting_payment' OR (o.state IN ('paid', 'partially_refunded') " \
	"  AND EXISTS (SELECT FROM ticketing.order_tickets k WHERE k.order_id = o.order_id " \
	"    AND NOT EXISTS (SELECT FROM ticketing.refund_tickets r WHERE r.ticket_id = k.ticket_id AND NOT r.failed)))) " \
	"AND NOT EXISTS (SELECT FROM ticketing.findings f WHERE f.kind = 'refund_not_made' AND f.entity = 'orders/' || o.order_id AND f.resolved_at IS NULL) "
KEPT_PLAN(next_orders,
		  "SELECT o.order_id " OPEN_ORDERS "ORDER BY o.order_id LIMIT $3 FOR UPDATE OF o SKIP LOCKED", TIMESTAMPTZOID, INT4OID, INT4OID);
KEPT_PLAN(count_orders,
		  "SELECT count(*) " OPEN_ORDERS, TIMESTAMPTZOID, INT4OID);

static void
give_back(LockedOrder *order, const char *actor, TimestampTz now)
{
	RefundMade	made;

	if (order->state == ORDER_AWAITING_PAYMENT)
		order_apply_locked(order, ORDER_EVENT_USER_CANCELED, "cancel_event", NULL, now);
	else
		refund_tickets(order, NULL, "event_canceled", actor, true, &made, now);
}

/* Gives back up to so many orders of canceled events; event_id 0: of any. How many. */
static int
give_back_orders(int32 event_id, const char *actor, int max_orders, TimestampTz now)
{
	const OrderBatch batch = {.work = give_back, .actor = actor, .finding = "refund_not_made", .now = now};
	Datum		values[3] = {TimestampTzGetDatum(now), Int32GetDatum(event_id), Int32GetDatum(max_orders)};

	declare_lock(RANK_ORDER);
	return work_through_orders(&batch, run_latest(&next_orders, values, event_id == 0 ? " n " : NULL));
}

PG_FUNCTION_INFO_V1(dvnt_cancel_event);

/* cancel_event(event_id, actor) → jsonb */
Datum
dvnt_cancel_event(PG_FUNCTION_ARGS)
{
	char	   *actor = text_argument(fcinfo, 1, "actor");
	Datum		values[2];
	TimestampTz now = engine_now();
	TimestampTz since;
	int			done;
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 0, "event_id");
	begin_command();
	require_permission(PG_GETARG_INT32(0), actor, "admin");
	values[0] = PG_GETARG_DATUM(0);
	values[1] = TimestampTzGetDatum(now);
	if (run_latest(&note_cancellation, values, NULL) == 0)
		refuse_unknown_event(PG_GETARG_INT32(0));
	since = DatumGetTimestampTz(row_datum(0, 1));
	done = give_back_orders(PG_GETARG_INT32(0), actor, ORDERS_AT_ONCE, now);
	values[0] = TimestampTzGetDatum(now);
	values[1] = PG_GETARG_DATUM(0);
	run_latest(&count_orders, values, NULL);
	answer_begin(&answer);
	answer_int(&answer, "event_id", PG_GETARG_INT32(0));
	answer_time(&answer, "canceled_at", since);
	answer_int(&answer, "orders_done", done);
	answer_int(&answer, "orders_left", DatumGetInt64(row_datum(0, 1)));
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

PG_FUNCTION_INFO_V1(dvnt_refund_canceled_events);

/* refund_canceled_events(max_orders) → integer */
Datum
dvnt_refund_canceled_events(PG_FUNCTION_ARGS)
{
	int			done;

	require_argument(fcinfo, 0, "max_orders");
	if (PG_GETARG_INT32(0) < 1)
		refuse(BAD_REQUEST, "\"argument\": \"max_orders\"", NULL, "max_orders is below 1");
	begin_command();
	done = give_back_orders(0, "cancel_event", PG_GETARG_INT32(0), engine_now());
	SPI_finish();
	PG_RETURN_INT32(done);
}
