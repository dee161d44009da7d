/*
 * holds.c
 *		Holds: seats that are a buyer's for a while. Limits per user, making,
 *		releasing and converting holds, and what is available.
 *
 * Reads and writes ticketing.ticket_holds, reads public.tickets and what
 * cart.c reads. Locks: user, the event's shape, then what inventory.c takes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"

#include "dvnt_ticketing.h"
#include "rows.h"

enum
{
	HOLD_ID, HOLD_RESERVATION_ID, HOLD_EVENT_ID, HOLD_TICKET_TYPE_ID, HOLD_USER_ID, HOLD_QUANTITY, HOLD_STATUS,
	HOLD_EXPIRES_AT, HOLD_CREATED_AT, HOLD_COLUMNS
};
static KnownTable ticket_holds = {
	.schema = "ticketing", .name = "ticket_holds",
	.columns = {"id", "reservation_id", "event_id", "ticket_type_id", "user_id", "quantity", "status", "expires_at", "created_at"},
	.indexes = {"ticket_holds_live_of_user", "ticket_holds_due"}
};

enum
{
	TICKET_USER_ID, TICKET_EVENT_ID, TICKET_TICKET_TYPE_ID, TICKET_STATUS
};
static KnownTable tickets = {
	.schema = "public", .name = "tickets",
	.columns = {"user_id", "event_id", "ticket_type_id", "status"},
	.indexes = {"=user_id"}
};

KEPT_PLAN(lock_reservation,
		  "SELECT id, event_id, ticket_type_id, user_id, quantity, status, expires_at, order_id, created_at "
		  "FROM ticketing.ticket_holds WHERE reservation_id = $1 ORDER BY id FOR UPDATE",
		  UUIDOID);
KEPT_PLAN(reservation_owner,
		  "SELECT event_id, user_id FROM ticketing.ticket_holds WHERE reservation_id = $1 LIMIT 1",
		  UUIDOID);
/*
 * By reservation alone: a condition on the status in the same scan would let a
 * plan that is made early choose a partial index, and read all live holds.
 */
KEPT_PLAN(release_reservation,
		  "WITH held AS (SELECT id, status FROM ticketing.ticket_holds WHERE reservation_id = $1 ORDER BY id FOR UPDATE), "
		  "ended AS ("
		  "  UPDATE ticketing.ticket_holds h SET status = 'released', ended_at = $2 FROM held "
		  "  WHERE h.id = held.id AND held.status = 'active' RETURNING h.event_id, h.ticket_type_id, h.quantity) "
		  "SELECT p.pool_id, p.ticket_type_id IS NULL, sum(e.quantity)::integer "
		  "FROM ended e JOIN ticketing.stock_pools p ON p.event_id = e.event_id AND (p.ticket_type_id IS NULL OR p.ticket_type_id = e.ticket_type_id) "
		  "GROUP BY p.pool_id",
		  UUIDOID, TIMESTAMPTZOID);
KEPT_PLAN(extend_reservation,
		  "UPDATE ticketing.ticket_holds SET expires_at = $2 WHERE reservation_id = $1",
		  UUIDOID, TIMESTAMPTZOID);
KEPT_PLAN(attach_order,
		  "UPDATE ticketing.ticket_holds SET order_id = $2, expires_at = $3 WHERE reservation_id = $1",
		  UUIDOID, UUIDOID, TIMESTAMPTZOID);
KEPT_PLAN(convert_reservation,
		  "WITH held AS (SELECT id, status FROM ticketing.ticket_holds WHERE reservation_id = $1 AND order_id = $3 ORDER BY id FOR UPDATE) "
		  "UPDATE ticketing.ticket_holds h SET status = 'converted', ended_at = $2 FROM held "
		  "WHERE h.id = held.id AND held.status = 'active' RETURNING h.quantity, h.ticket_type_id",
		  UUIDOID, TIMESTAMPTZOID, UUIDOID);
KEPT_PLAN(read_availability,
		  "SELECT t.id, t.quantity_total, "
		  "       CASE WHEN tp.pool_id IS NULL AND ep.pool_id IS NULL THEN NULL "
		  "            ELSE greatest(0, least(tf.free, ef.free)) END::integer, "
		  "       coalesce(h.held, 0)::integer, "
		  "       CASE WHEN tp.pool_id IS NULL "
		  "            THEN (SELECT count(*) FROM public.tickets k WHERE k.event_id = t.event_id AND k.ticket_type_id = t.id AND k.status IN ('active', 'scanned')) "
		  "            ELSE tp.capacity - tf.free - coalesce(h.held, 0) END::integer, "
		  "       h.next_release_at "
		  "FROM public.ticket_types t "
		  "LEFT JOIN ticketing.stock_pools tp ON tp.event_id = t.event_id AND tp.ticket_type_id = t.id "
		  "LEFT JOIN ticketing.stock_pools ep ON ep.event_id = t.event_id AND ep.ticket_type_id IS NULL "
		  "LEFT JOIN LATERAL (SELECT sum(q.quantity) FILTER (WHERE q.expires_at > $2) AS held, "
		  "                          sum(q.quantity) FILTER (WHERE q.expires_at <= $2) AS dead, "
		  "                          min(q.expires_at) FILTER (WHERE q.expires_at > $2 AND q.expires_at < 'infinity') AS next_release_at "
		  "                   FROM ticketing.ticket_holds q WHERE q.event_id = t.event_id AND q.ticket_type_id = t.id AND q.status = 'active') h ON true "
		  "LEFT JOIN LATERAL (SELECT (SELECT sum(s.available) FROM ticketing.stock_shards s WHERE s.pool_id = tp.pool_id) - tp.deficit + coalesce(h.dead, 0) AS free) tf ON true "
		  "LEFT JOIN LATERAL (SELECT (SELECT sum(s.available) FROM ticketing.stock_shards s WHERE s.pool_id = ep.pool_id) - ep.deficit "
		  "                        + (SELECT coalesce(sum(q.quantity), 0) FROM ticketing.ticket_holds q WHERE q.event_id = t.event_id AND q.status = 'active' AND q.expires_at <= $2) AS free) ef ON true "
		  "WHERE t.event_id = $1 ORDER BY t.price_cents, t.id",
		  INT4OID, TIMESTAMPTZOID);
KEPT_PLAN(event_exists, "SELECT FROM public.events WHERE id = $1", INT4OID);

/* What a user has of a tier. */
typedef struct UserShare
{
	int64		held;			/* in live holds */
	int64		owned;			/* valid tickets */
} UserShare;

/* The item of the cart that is this tier, or -1. */
static int
item_of_tier(const Cart *cart, Datum tier)
{
	for (int i = 0; i < cart->item_count; i++)
		if (memcmp(DatumGetUUIDP(tier)->data, cart->items[i].ticket_type_id.data, UUID_LEN) == 0)
			return i;
	return -1;
}

/* Adds up the user's live holds of the event, by item. */
static void
sum_held(const Cart *cart, Datum user, TimestampTz now, Snapshot snapshot, UserShare *shares)
{
	RowKey		keys[2] = {{HOLD_USER_ID, F_TEXTEQ, user}, {HOLD_EVENT_ID, F_INT4EQ, Int32GetDatum(cart->event_id)}};
	RowScan		scan;

	row_scan_begin(&scan, &ticket_holds, 0, snapshot, keys, 2);
	while (row_scan_next(&scan))
	{
		int			item = item_of_tier(cart, row_scan_datum(&scan, HOLD_TICKET_TYPE_ID));

		if (item >= 0 && DatumGetTimestampTz(row_scan_datum(&scan, HOLD_EXPIRES_AT)) > now)
			shares[item].held += DatumGetInt32(row_scan_datum(&scan, HOLD_QUANTITY));
	}
	row_scan_end(&scan);
}

/* Counts the user's valid tickets of the event, by item. */
static void
count_owned(const Cart *cart, Datum user, Snapshot snapshot, UserShare *shares)
{
	RowKey		key = {TICKET_USER_ID, F_TEXTEQ, user};
	RowScan		scan;

	row_scan_begin(&scan, &tickets, 0, snapshot, &key, 1);
	while (row_scan_next(&scan))
	{
		int			item;
		bool		isnull;
		Datum		status = row_scan_value(&scan, TICKET_STATUS, &isnull);
		char	   *state = isnull ? "" : TextDatumGetCString(status);

		if (DatumGetInt32(row_scan_datum(&scan, TICKET_EVENT_ID)) != cart->event_id)
			continue;
		item = item_of_tier(cart, row_scan_datum(&scan, TICKET_TICKET_TYPE_ID));
		if (item >= 0 && (strcmp(state, "active") == 0 || strcmp(state, "scanned") == 0))
			shares[item].owned++;
	}
	row_scan_end(&scan);
}

/* Whether any tier of the cart has a limit. */
static bool
cart_has_limits(const Cart *cart)
{
	for (int i = 0; i < cart->item_count; i++)
		if (cart->items[i].max_per_user >= 0)
			return true;
	return false;
}

/*
 * Refuses what would put the user above a tier's limit; the caller holds the
 * user's lock, and the snapshot is younger than that.
 */
void
check_user_limits(const Cart *cart, const char *user_id, TimestampTz now, Snapshot snapshot)
{
	UserShare  *shares;
	Datum		user;

	if (!cart_has_limits(cart))
		return;
	shares = palloc0(sizeof(UserShare) * cart->item_count);
	user = CStringGetTextDatum(user_id);
	sum_held(cart, user, now, snapshot, shares);
	count_owned(cart, user, snapshot, shares);
	for (int i = 0; i < cart->item_count; i++)
	{
		const CartItem *item = &cart->items[i];

		if (item->max_per_user >= 0 && shares[i].held + shares[i].owned + item->quantity > item->max_per_user)
			refuse(LIMIT_REACHED,
				   psprintf("\"ticket_type_id\": \"%s\", \"limit\": %d, \"held\": " INT64_FORMAT ", \"owned\": " INT64_FORMAT ", \"requested\": %d",
							uuid_text(&item->ticket_type_id), item->max_per_user, shares[i].held, shares[i].owned, item->quantity),
				   "Ask for fewer; holds that end count no more.",
				   "user may have %d of ticket type %s", item->max_per_user, uuid_text(&item->ticket_type_id));
	}
}

/* How long this hold may live, in seconds. */
static double
hold_seconds(const Cart *cart, const Interval *ttl)
{
	double		seconds;

	if (ttl != NULL)
	{
		seconds = interval_seconds(ttl);
		if (seconds <= 0)
			refuse(BAD_REQUEST, "\"argument\": \"ttl\"", "Leave ttl NULL for the usual time.",
				   "ttl is not a positive interval");
	}
	else if (cart->has_hold_ttl)
		seconds = interval_seconds(&cart->hold_ttl);
	else
		seconds = hold_ttl_seconds;
	return Min(seconds, hold_max_age_seconds);
}

/* Draws the cart's seats and records the hold; the caller holds the user's lock. */
pg_uuid_t *
hold_cart(const Cart *cart, const char *user_id, TimestampTz now, const Interval *ttl, Snapshot snapshot, TimestampTz *expires_at)
{
	pg_uuid_t  *reservation_id = new_uuid();
	PoolMove   *moves;
	int			move_count;
	Datum		values[HOLD_COLUMNS];
	bool		nulls[HOLD_COLUMNS] = {false};

	*expires_at = add_seconds(now, hold_seconds(cart, ttl));
	check_user_limits(cart, user_id, now, snapshot);
	move_count = cart_moves(cart, &moves);
	stock_draw(cart->event_id, moves, move_count, now);

	values[HOLD_RESERVATION_ID] = UUIDPGetDatum(reservation_id);
	values[HOLD_EVENT_ID] = Int32GetDatum(cart->event_id);
	values[HOLD_USER_ID] = CStringGetTextDatum(user_id);
	values[HOLD_STATUS] = CStringGetTextDatum("active");
	values[HOLD_EXPIRES_AT] = TimestampTzGetDatum(*expires_at);
	values[HOLD_CREATED_AT] = TimestampTzGetDatum(now);
	for (int i = 0; i < cart->item_count; i++)
	{
		values[HOLD_ID] = UUIDPGetDatum(new_uuid());
		values[HOLD_TICKET_TYPE_ID] = UUIDPGetDatum(&cart->items[i].ticket_type_id);
		values[HOLD_QUANTITY] = Int32GetDatum(cart->items[i].quantity);
		row_insert(&ticket_holds, values, nulls);
	}
	moves_settled(moves, move_count);
	return reservation_id;
}

static void
refuse_unknown_reservation(const pg_uuid_t *reservation_id)
{
	refuse(NOT_FOUND, psprintf("\"reservation_id\": \"%s\"", uuid_text(reservation_id)), NULL,
		   "reservation %s does not exist", uuid_text(reservation_id));
}

/*
 * Locks a user's live reservation and reads it back as a cart. Refuses one that
 * is unknown, somebody else's, of another event, ended or dead. has_order says
 * whether an order stands behind it already.
 */
Cart *
cart_of_reservation(const pg_uuid_t *reservation_id, const char *user_id, int32 event_id,
					TimestampTz now, TimestampTz *expires_at, pg_uuid_t *order_id, bool *has_order)
{
	Cart	   *cart = palloc0(sizeof(Cart));
	Datum		id = UUIDPGetDatum(reservation_id);
	uint64		rows;

	declare_lock(RANK_HOLD);
	rows = run_latest(&lock_reservation, &id, NULL);
	if (rows == 0 || strcmp(row_text(0, 4), user_id) != 0 || DatumGetInt32(row_datum(0, 2)) != event_id)
		refuse_unknown_reservation(reservation_id);
	cart->event_id = event_id;
	cart->item_count = (int) rows;
	cart->items = palloc0(sizeof(CartItem) * rows);
	*has_order = !row_is_null(0, 8);
	if (*has_order)
		*order_id = *DatumGetUUIDP(row_datum(0, 8));
	for (uint64 row = 0; row < rows; row++)
	{
		const char *status = row_text(row, 6);

		*expires_at = DatumGetTimestampTz(row_datum(row, 7));
		cart->items[row].ticket_type_id = *DatumGetUUIDP(row_datum(row, 3));
		cart->items[row].quantity = DatumGetInt32(row_datum(row, 5));
		if (strcmp(status, "converted") == 0)
			refuse(ALREADY_DONE, psprintf("\"reservation_id\": \"%s\"", uuid_text(reservation_id)),
				   "Ask order_status for its tickets.", "reservation %s is paid", uuid_text(reservation_id));
		if (strcmp(status, "active") != 0 || *expires_at <= now)
			refuse(HOLD_EXPIRED, psprintf("\"reservation_id\": \"%s\"", uuid_text(reservation_id)),
				   "Hold the tickets again.", "reservation %s has ended", uuid_text(reservation_id));
	}
	cart_sort(cart);
	return cart;
}

/* Ties a reservation's holds, which are all live, to the order that stands behind them. */
void
attach_holds(const pg_uuid_t *reservation_id, const pg_uuid_t *order_id, TimestampTz until)
{
	Datum		values[3] = {UUIDPGetDatum(reservation_id), UUIDPGetDatum(order_id), TimestampTzGetDatum(until)};

	run_latest(&attach_order, values, NULL);
}

/* Lets a reservation's holds live until then; on those that have ended it has no effect. */
void
keep_holds(const pg_uuid_t *reservation_id, TimestampTz until)
{
	Datum		values[2] = {UUIDPGetDatum(reservation_id), TimestampTzGetDatum(until)};

	declare_lock(RANK_HOLD);
	run_latest(&extend_reservation, values, NULL);
}

/* Gives the seats of a reservation's live holds back to stock; the caller has the event's shape lock. */
static void
release_seats(const pg_uuid_t *reservation_id, TimestampTz now)
{
	Datum		values[2] = {UUIDPGetDatum(reservation_id), TimestampTzGetDatum(now)};
	uint64		rows;
	PoolMove   *moves;

	declare_lock(RANK_HOLD);
	rows = run_latest(&release_reservation, values, NULL);
	moves = palloc0(sizeof(PoolMove) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
	{
		moves[row].pool_id = DatumGetInt64(row_datum(row, 1));
		moves[row].quantity = DatumGetInt32(row_datum(row, 3));
		tally_pool(moves[row].pool_id, -moves[row].quantity);
	}
	stock_return(moves, (int) rows);
}

/* The same for an order that is over. */
void
return_held_seats(const pg_uuid_t *reservation_id, int32 event_id, TimestampTz now)
{
	lock_shape_shared(event_id);
	release_seats(reservation_id, now);
}

/* Turns an order's holds into sold seats; returns how many seats. */
int64
convert_holds(const pg_uuid_t *reservation_id, const pg_uuid_t *order_id, TimestampTz now)
{
	Datum		values[3] = {UUIDPGetDatum(reservation_id), TimestampTzGetDatum(now), UUIDPGetDatum(order_id)};
	uint64		rows;
	int64		seats = 0;

	declare_lock(RANK_HOLD);
	rows = run_latest(&convert_reservation, values, NULL);
	for (uint64 row = 0; row < rows; row++)
	{
		int32		quantity = DatumGetInt32(row_datum(row, 1));

		tally_tier(DatumGetUUIDP(row_datum(row, 2)), -quantity);
		seats += quantity;
	}
	return seats;
}

/* Text that differs when the arguments of two calls differ. */
static const char *
hold_arguments(const Cart *cart, const Interval *ttl)
{
	Answer		arguments;

	answer_begin(&arguments);
	answer_int(&arguments, "event_id", cart->event_id);
	cart_answer_items(&arguments, cart);
	if (ttl != NULL)
		answer_text(&arguments, "ttl", DatumGetCString(DirectFunctionCall1(interval_out, IntervalPGetDatum(ttl))));
	return answer_end(&arguments);
}

PG_FUNCTION_INFO_V1(dvnt_hold_tickets);

/* hold_tickets(user_id, event_id, items, ttl, request_id) → jsonb */
Datum
dvnt_hold_tickets(PG_FUNCTION_ARGS)
{
	char	   *user_id = text_argument(fcinfo, 0, "user_id");
	Interval   *ttl = PG_ARGISNULL(3) ? NULL : PG_GETARG_INTERVAL_P(3);
	char	   *request_id = optional_text(fcinfo, 4);
	int			nest = 0;
	RememberedCall call;
	Cart	   *cart;
	Snapshot	snapshot;
	TimestampTz now;
	TimestampTz expires_at;
	pg_uuid_t  *reservation_id;
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 1, "event_id");
	require_argument(fcinfo, 2, "items");
	cart = cart_parse(PG_GETARG_INT32(1), PG_GETARG_JSONB_P(2));

	begin_command();
	if (request_id != NULL)
		nest = fix_search_path();
	remembered_call(&call, "hold_tickets", user_id, request_id,
					request_id == NULL ? NULL : hold_arguments(cart, ttl));

	lock_user(user_id, cart->event_id);
	if (!recall_answer(&call, &result))
	{
		snapshot = cart_load_for_sale(cart);
		now = engine_now();
		cart_check_on_sale(cart, now);
		reservation_id = hold_cart(cart, user_id, now, ttl, snapshot, &expires_at);
		UnregisterSnapshot(snapshot);
		answer_begin(&answer);
		answer_uuid(&answer, "reservation_id", reservation_id);
		answer_time(&answer, "expires_at", expires_at);
		cart_answer_items(&answer, cart);
		result = answer_jsonb(&answer);
		remember_answer(&call, result);
	}
	result = SPI_datumTransfer(result, false, -1);
	SPI_finish();
	if (request_id != NULL)
		unfix_search_path(nest);
	PG_RETURN_DATUM(result);
}

/* Takes the user's lock for a reservation of his; the event it is of. */
static int32
lock_owner(const pg_uuid_t *reservation_id, const char *user_id)
{
	Datum		id = UUIDPGetDatum(reservation_id);
	int32		event_id;

	if (run_latest(&reservation_owner, &id, NULL) == 0 || strcmp(row_text(0, 2), user_id) != 0)
		refuse_unknown_reservation(reservation_id);
	event_id = DatumGetInt32(row_datum(0, 1));
	lock_user(user_id, event_id);
	return event_id;
}

/* When a reservation may end at the latest that is extended now; it is locked. */
static TimestampTz
extended_end(const pg_uuid_t *reservation_id, const Cart *cart, TimestampTz expires_at, TimestampTz now)
{
	Datum		id = UUIDPGetDatum(reservation_id);
	TimestampTz oldest;
	TimestampTz limit;

	run_latest(&lock_reservation, &id, NULL);
	oldest = DatumGetTimestampTz(row_datum(0, 9));
	limit = add_seconds(oldest, hold_max_age_seconds);
	if (expires_at >= limit)
		refuse(LIMIT_REACHED,
			   psprintf("\"reservation_id\": \"%s\", \"max_age_seconds\": %d", uuid_text(reservation_id), hold_max_age_seconds),
			   "Pay before the hold ends, or hold the tickets again.",
			   "reservation %s cannot live longer", uuid_text(reservation_id));
	return Max(expires_at, Min(limit, add_seconds(now, hold_seconds(cart, NULL))));
}

PG_FUNCTION_INFO_V1(dvnt_extend_hold);

/* extend_hold(reservation_id, user_id) → jsonb */
Datum
dvnt_extend_hold(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *reservation_id;
	char	   *user_id;
	int32		event_id;
	Cart	   *cart;
	TimestampTz now;
	TimestampTz expires_at;
	pg_uuid_t	order_id;
	bool		has_order;
	Datum		values[2];
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 0, "reservation_id");
	reservation_id = PG_GETARG_UUID_P(0);
	user_id = text_argument(fcinfo, 1, "user_id");

	begin_command();
	event_id = lock_owner(reservation_id, user_id);
	now = engine_now();
	cart = cart_of_reservation(reservation_id, user_id, event_id, now, &expires_at, &order_id, &has_order);
	if (has_order)
		refuse(WRONG_STATE, psprintf("\"reservation_id\": \"%s\", \"order_id\": \"%s\"", uuid_text(reservation_id), uuid_text(&order_id)),
			   "Its seats are the order's as long as that can be paid.",
			   "an order stands behind reservation %s", uuid_text(reservation_id));
	cart_load_latest(cart);
	expires_at = extended_end(reservation_id, cart, expires_at, now);
	values[0] = UUIDPGetDatum(reservation_id);
	values[1] = TimestampTzGetDatum(expires_at);
	run_latest(&extend_reservation, values, NULL);
	answer_begin(&answer);
	answer_uuid(&answer, "reservation_id", reservation_id);
	answer_time(&answer, "expires_at", expires_at);
	cart_answer_items(&answer, cart);
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

PG_FUNCTION_INFO_V1(dvnt_release_hold);

/* release_hold(reservation_id, user_id) → jsonb */
Datum
dvnt_release_hold(PG_FUNCTION_ARGS)
{
	pg_uuid_t  *reservation_id;
	char	   *user_id;
	Datum		id;
	uint64		rows;
	bool		live = false;
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 0, "reservation_id");
	reservation_id = PG_GETARG_UUID_P(0);
	user_id = text_argument(fcinfo, 1, "user_id");
	id = UUIDPGetDatum(reservation_id);

	begin_command();
	lock_shape_shared(lock_owner(reservation_id, user_id));
	declare_lock(RANK_HOLD);
	rows = run_latest(&lock_reservation, &id, NULL);
	for (uint64 row = 0; row < rows; row++)
	{
		const char *status = row_text(row, 6);

		live |= strcmp(status, "active") == 0;
		if (strcmp(status, "converted") == 0)
			refuse(ALREADY_DONE, psprintf("\"reservation_id\": \"%s\"", uuid_text(reservation_id)),
				   "Ask order_status for its tickets.", "reservation %s is paid", uuid_text(reservation_id));
		if (live && !row_is_null(row, 8))
			refuse(WRONG_STATE, psprintf("\"reservation_id\": \"%s\", \"order_id\": \"%s\"", uuid_text(reservation_id), row_uuid_text(row, 8)),
				   "Its seats are the order's as long as that can be paid.",
				   "an order stands behind reservation %s", uuid_text(reservation_id));
	}

	if (live)
		release_seats(reservation_id, engine_now());
	answer_begin(&answer);
	answer_uuid(&answer, "reservation_id", reservation_id);
	answer_bool(&answer, "released", live);
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

PG_FUNCTION_INFO_V1(dvnt_availability);

/* availability(event_id) → rows */
Datum
dvnt_availability(PG_FUNCTION_ARGS)
{
	Datum		values[2];

	require_argument(fcinfo, 0, "event_id");
	InitMaterializedSRF(fcinfo, 0);
	begin_command();
	values[0] = Int32GetDatum(PG_GETARG_INT32(0));
	values[1] = TimestampTzGetDatum(engine_now());
	begin_reading();
	if (run_stable(&event_exists, values, NULL) == 0)
		refuse_unknown_event(PG_GETARG_INT32(0));
	run_stable(&read_availability, values, NULL);
	rows_to_result(fcinfo);
	end_reading();
	SPI_finish();
	return (Datum) 0;
}
