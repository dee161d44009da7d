/*
 * cart.c
 *		What a buyer asks for: the items of a call, what the database says of
 *		their tiers and event, whether they are on sale, and what they cost.
 *
 * Reads public.events, public.ticket_types, ticketing.event_settings,
 * ticketing.payees and ticketing.stock_pools. Takes the event's shape lock,
 * shared, for a sale.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/numeric.h"
#include "utils/snapmgr.h"

#include "dvnt_ticketing.h"
#include "rows.h"

enum
{
	EVENT_ID, EVENT_TICKETING_ENABLED, EVENT_MAX_ATTENDEES
};
static KnownTable events = {
	.schema = "public", .name = "events",
	.columns = {"id", "ticketing_enabled", "max_attendees"},
	.indexes = {"=id"}
};

enum
{
	SETTINGS_EVENT_ID, SETTINGS_HOST_ID, SETTINGS_HOLD_TTL, SETTINGS_CANCELED_AT
};
static KnownTable event_settings = {
	.schema = "ticketing", .name = "event_settings",
	.columns = {"event_id", "host_id", "hold_ttl", "canceled_at"},
	.indexes = {"event_settings_pkey"}
};

enum
{
	TIER_ID, TIER_EVENT_ID, TIER_PRICE_CENTS, TIER_CURRENCY, TIER_MAX_PER_USER, TIER_SALE_START, TIER_SALE_END,
	TIER_QUANTITY_TOTAL
};
static KnownTable ticket_types = {
	.schema = "public", .name = "ticket_types",
	.columns = {"id", "event_id", "price_cents", "currency", "max_per_user", "sale_start", "sale_end", "quantity_total"},
	.indexes = {"=id"}
};

enum
{
	POOL_ID, POOL_EVENT_ID, POOL_TICKET_TYPE_ID, POOL_SHARDS
};
static KnownTable stock_pools = {
	.schema = "ticketing", .name = "stock_pools",
	.columns = {"pool_id", "event_id", "ticket_type_id", "shards"},
	.indexes = {"stock_pools_owner"}
};

enum
{
	PAYEE_HOST_ID, PAYEE_STRIPE_ACCOUNT_ID, PAYEE_CHARGES_ENABLED
};
static KnownTable payees = {
	.schema = "ticketing", .name = "payees",
	.columns = {"host_id", "stripe_account_id", "charges_enabled"},
	.indexes = {"payees_pkey"}
};

/* Two-decimal currencies that Stripe settles. */
static const char *const currencies[] = {
	"aed", "aud", "bgn", "brl", "cad", "chf", "czk", "dkk", "eur", "gbp", "hkd", "ils", "mxn",
	"myr", "nok", "nzd", "php", "pln", "ron", "sar", "sek", "sgd", "thb", "usd", "zar"
};

static bool
currency_is_allowed(const char *currency)
{
	for (size_t i = 0; i < lengthof(currencies); i++)
		if (strcmp(currency, currencies[i]) == 0)
			return true;
	return false;
}

static void
refuse_items(const char *what)
{
	refuse(INVALID_ITEMS, NULL,
		   "items is a JSON array of {\"ticket_type_id\": uuid, \"quantity\": integer from 1}.",
		   "%s", what);
}

/* A whole number from 1 to 2^31 - 1, out of a JSON number. */
static int32
read_quantity(const JsonbValue *value)
{
	char	   *digits;
	char	   *end;
	long long	quantity;

	if (value == NULL || value->type != jbvNumeric)
		refuse_items("an item has no quantity that is a number");
	digits = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	errno = 0;
	quantity = strtoll(digits, &end, 10);
	if (errno != 0 || *end != '\0' || quantity < 1 || quantity > PG_INT32_MAX)
		refuse(INVALID_ITEMS, NULL, "quantity is a whole number from 1 to 2147483647.",
			   "quantity %s is out of range", digits);
	return (int32) quantity;
}

static int
compare_items(const void *a, const void *b)
{
	return memcmp(((const CartItem *) a)->ticket_type_id.data,
				  ((const CartItem *) b)->ticket_type_id.data, UUID_LEN);
}

/* Puts the items in the order that the rest of this file expects. */
void
cart_sort(Cart *cart)
{
	qsort(cart->items, cart->item_count, sizeof(CartItem), compare_items);
}

/* Makes each tier appear once. */
static void
merge_items(Cart *cart)
{
	int			kept = 0;

	cart_sort(cart);
	for (int i = 1; i < cart->item_count; i++)
	{
		if (compare_items(&cart->items[kept], &cart->items[i]) != 0)
			cart->items[++kept] = cart->items[i];
		else if ((int64) cart->items[kept].quantity + cart->items[i].quantity > PG_INT32_MAX)
			refuse_items("the quantities of a tier add up to more than 2147483647");
		else
			cart->items[kept].quantity += cart->items[i].quantity;
	}
	cart->item_count = kept + 1;
}

/* Reads the items argument of a call. */
Cart *
cart_parse(int32 event_id, Jsonb *items)
{
	Cart	   *cart = palloc0(sizeof(Cart));
	uint32		count;

	if (!JB_ROOT_IS_ARRAY(items) || JB_ROOT_IS_SCALAR(items))
		refuse_items("items is not an array");
	count = JB_ROOT_COUNT(items);
	if (count == 0)
		refuse_items("items is empty");
	if (count > CART_MAX_ITEMS)
		refuse(INVALID_ITEMS, psprintf("\"limit\": %d", CART_MAX_ITEMS), "Split the order.",
			   "items has %u entries, more than %d", count, CART_MAX_ITEMS);

	cart->event_id = event_id;
	cart->item_count = count;
	cart->items = palloc0(sizeof(CartItem) * count);
	for (uint32 i = 0; i < count; i++)
	{
		JsonbValue *entry = getIthJsonbValueFromContainer(&items->root, i);
		JsonbContainer *object;
		JsonbValue *id;

		if (entry->type != jbvBinary || !JsonContainerIsObject(entry->val.binary.data))
			refuse_items("an item is not an object");
		object = entry->val.binary.data;
		id = getKeyJsonValueFromContainer(object, "ticket_type_id", strlen("ticket_type_id"), NULL);
		if (id == NULL || id->type != jbvString ||
			!uuid_from_text(id->val.string.val, id->val.string.len, &cart->items[i].ticket_type_id))
			refuse_items("an item has no ticket_type_id that is a uuid");
		cart->items[i].quantity =
			read_quantity(getKeyJsonValueFromContainer(object, "quantity", strlen("quantity"), NULL));
	}
	merge_items(cart);
	return cart;
}

/* A text column as a C string, NULL for NULL. */
static char *
scan_text(const RowScan *scan, int column)
{
	bool		isnull;
	Datum		value = row_scan_value(scan, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* The pool of a tier, or of the event (tier NULL). */
static PoolRef
find_pool(int32 event_id, const pg_uuid_t *tier, Snapshot snapshot)
{
	RowKey		keys[2] = {
		{POOL_EVENT_ID, F_INT4EQ, Int32GetDatum(event_id)},
		{POOL_TICKET_TYPE_ID, tier ? F_UUID_EQ : InvalidOid, UUIDPGetDatum(tier)}
	};
	PoolRef		pool = {0};
	RowScan		scan;

	if (row_find(&scan, &stock_pools, 0, snapshot, keys, 2))
	{
		pool.pool_id = DatumGetInt64(row_scan_datum(&scan, POOL_ID));
		pool.shards = DatumGetInt16(row_scan_datum(&scan, POOL_SHARDS));
	}
	row_scan_end(&scan);
	return pool;
}

/* Reads the event and what the engine keeps of it. */
static void
load_event(Cart *cart, Snapshot snapshot)
{
	RowKey		key = {EVENT_ID, F_INT4EQ, Int32GetDatum(cart->event_id)};
	RowScan		scan;
	bool		isnull;
	Datum		value;

	if (!row_find(&scan, &events, 0, snapshot, &key, 1))
		refuse_unknown_event(cart->event_id);
	value = row_scan_value(&scan, EVENT_TICKETING_ENABLED, &isnull);
	cart->ticketing_enabled = isnull || DatumGetBool(value);
	(void) row_scan_value(&scan, EVENT_MAX_ATTENDEES, &isnull);
	cart->event_limited = !isnull;
	row_scan_end(&scan);

	key.column = SETTINGS_EVENT_ID;
	if (row_find(&scan, &event_settings, 0, snapshot, &key, 1))
	{
		value = row_scan_value(&scan, SETTINGS_HOLD_TTL, &isnull);
		cart->has_hold_ttl = !isnull;
		if (!isnull)
			cart->hold_ttl = *DatumGetIntervalP(value);
		cart->host_id = scan_text(&scan, SETTINGS_HOST_ID);
		(void) row_scan_value(&scan, SETTINGS_CANCELED_AT, &isnull);
		cart->canceled = !isnull;
	}
	row_scan_end(&scan);
	if (cart->event_limited)
		cart->event_pool = find_pool(cart->event_id, NULL, snapshot);
}

/* Three lower-case letters, or what no currency is called. */
static void
read_currency(const RowScan *scan, char currency[4])
{
	char	   *name = scan_text(scan, TIER_CURRENCY);

	if (name == NULL)
		name = "usd";
	currency[0] = '\0';
	if (strlen(name) == 3)
		for (int i = 0; i < 4; i++)
			currency[i] = pg_tolower((unsigned char) name[i]);
}

/* Reads the tier of an item; refuses an unknown one, or one of another event. */
static void
load_item(Cart *cart, CartItem *item, Snapshot snapshot)
{
	RowKey		key = {TIER_ID, F_UUID_EQ, UUIDPGetDatum(&item->ticket_type_id)};
	RowScan		scan;
	bool		isnull;
	Datum		value;

	if (!row_find(&scan, &ticket_types, 0, snapshot, &key, 1))
		refuse(NOT_FOUND, psprintf("\"ticket_type_id\": \"%s\"", uuid_text(&item->ticket_type_id)), NULL,
			   "ticket type %s does not exist", uuid_text(&item->ticket_type_id));
	if (DatumGetInt32(row_scan_datum(&scan, TIER_EVENT_ID)) != cart->event_id)
		refuse(INVALID_ITEMS, psprintf("\"ticket_type_id\": \"%s\"", uuid_text(&item->ticket_type_id)),
			   "Ask for tiers of one event.",
			   "ticket type %s is not of event %d", uuid_text(&item->ticket_type_id), cart->event_id);
	item->price_cents = DatumGetInt32(row_scan_datum(&scan, TIER_PRICE_CENTS));
	read_currency(&scan, item->currency);
	value = row_scan_value(&scan, TIER_MAX_PER_USER, &isnull);
	item->max_per_user = isnull ? -1 : DatumGetInt32(value);
	value = row_scan_value(&scan, TIER_SALE_START, &isnull);
	item->has_sale_start = !isnull;
	item->sale_start = isnull ? 0 : DatumGetTimestampTz(value);
	value = row_scan_value(&scan, TIER_SALE_END, &isnull);
	item->has_sale_end = !isnull;
	item->sale_end = isnull ? 0 : DatumGetTimestampTz(value);
	(void) row_scan_value(&scan, TIER_QUANTITY_TOTAL, &isnull);
	item->limited = !isnull;
	row_scan_end(&scan);
	if (item->limited)
		item->pool = find_pool(cart->event_id, &item->ticket_type_id, snapshot);
}

/* Asks the database about the cart's event and tiers; refuses unknown ones. */
static void
cart_load(Cart *cart, Snapshot snapshot)
{
	load_event(cart, snapshot);
	for (int i = 0; i < cart->item_count; i++)
		load_item(cart, &cart->items[i], snapshot);
}

/* Whose Stripe account is paid; NULL when it cannot be paid yet. */
char *
cart_payee(const Cart *cart, Snapshot snapshot)
{
	RowKey		key = {PAYEE_HOST_ID, F_TEXTEQ, (Datum) 0};
	RowScan		scan;
	char	   *account = NULL;

	if (cart->host_id == NULL)
		return NULL;
	key.value = CStringGetTextDatum(cart->host_id);
	row_scan_begin(&scan, &payees, 0, snapshot, &key, 1);
	if (row_scan_next(&scan) && DatumGetBool(row_scan_datum(&scan, PAYEE_CHARGES_ENABLED)))
		account = scan_text(&scan, PAYEE_STRIPE_ACCOUNT_ID);
	row_scan_end(&scan);
	return account;
}

/* Limits without a pool would let everybody in: better no sale. */
static void
check_pools(const Cart *cart)
{
	bool		missing = cart->event_limited && cart->event_pool.pool_id == 0;

	for (int i = 0; i < cart->item_count; i++)
		missing |= cart->items[i].limited && cart->items[i].pool.pool_id == 0;
	if (missing)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("stock of event %d is not complete", cart->event_id),
				 errhint("Run SELECT ticketing.rebuild_stock(%d).", cart->event_id)));
}

/* Loads the cart as it is now, whatever the caller's snapshot is. */
void
cart_load_latest(Cart *cart)
{
	Snapshot	snapshot = RegisterSnapshot(GetLatestSnapshot());

	cart_load(cart, snapshot);
	UnregisterSnapshot(snapshot);
}

/*
 * Loads the cart for a draw: none of its pools is made or removed until our
 * commit. Returns the snapshot that it was read with, registered.
 */
Snapshot
cart_load_for_sale(Cart *cart)
{
	Snapshot	snapshot;

	lock_shape_shared(cart->event_id);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	cart_load(cart, snapshot);
	check_pools(cart);
	return snapshot;
}

/* Refuses what is not on sale at this instant. */
void
cart_check_on_sale(const Cart *cart, TimestampTz now)
{
	if (!cart->ticketing_enabled || cart->canceled)
		refuse(SALE_CLOSED, psprintf("\"event_id\": %d", cart->event_id), NULL,
			   "event %d sells no tickets", cart->event_id);
	for (int i = 0; i < cart->item_count; i++)
	{
		const CartItem *item = &cart->items[i];
		bool		early = item->has_sale_start && now < item->sale_start;
		bool		late = item->has_sale_end && now >= item->sale_end;
		Answer		figures;

		if (!early && !late)
			continue;
		answer_begin(&figures);
		answer_uuid(&figures, "ticket_type_id", &item->ticket_type_id);
		if (item->has_sale_start)
			answer_time(&figures, "sale_start", item->sale_start);
		if (item->has_sale_end)
			answer_time(&figures, "sale_end", item->sale_end);
		refuse(SALE_CLOSED, figures.text.data + 1,
			   early ? "Ask again when the sale has begun." : NULL,
			   "the sale of ticket type %s %s", uuid_text(&item->ticket_type_id),
			   early ? "has not begun" : "has ended");
	}
}

/* What the cart costs; one allowed currency, prices that the fee policy takes. */
void
cart_quote(const Cart *cart, FeeQuote *quote, char currency[4])
{
	FeeCart		sums = {0};
	FeeResult	result = FEE_OK;

	strlcpy(currency, cart->items[0].currency, 4);
	for (int i = 0; i < cart->item_count; i++)
	{
		const CartItem *item = &cart->items[i];

		if (strcmp(item->currency, currency) != 0)
			refuse_items("the items have different currencies");
		result = fees_check_price(item->price_cents);
		if (result == FEE_OK)
			result = fees_add_line(&sums, item->price_cents, item->quantity);
		if (result != FEE_OK)
			refuse(INVALID_ITEMS, psprintf("\"ticket_type_id\": \"%s\", \"price_cents\": %d",
										   uuid_text(&item->ticket_type_id), item->price_cents),
				   NULL, "%s", fees_result_message(result));
	}
	if (!currency_is_allowed(currency))
		refuse(INVALID_ITEMS, psprintf("\"currency\": \"%s\"", currency),
			   "Prices are in a currency with two decimals.", "currency %s is not supported", currency);
	result = fees_quote_cart(&sums, quote);
	if (result != FEE_OK)
		refuse(INVALID_ITEMS, NULL, "Order fewer tickets.", "%s", fees_result_message(result));
}

/* The cart's items, as answers show them. */
void
cart_answer_items(Answer *answer, const Cart *cart)
{
	answer_key(answer, "items");
	for (int i = 0; i < cart->item_count; i++)
		appendStringInfo(&answer->text, "%s{\"ticket_type_id\": \"%s\", \"quantity\": %d}",
						 i == 0 ? "[" : ", ", uuid_text(&cart->items[i].ticket_type_id),
						 cart->items[i].quantity);
	appendStringInfoChar(&answer->text, ']');
}

/* The figures of a quote. */
void
quote_answer(Answer *answer, const FeeQuote *quote, const char *currency)
{
	answer_text(answer, "currency", currency);
	answer_int(answer, "subtotal_cents", quote->subtotal_cents);
	answer_int(answer, "buyer_fee_cents", quote->buyer_fee_cents);
	answer_int(answer, "organizer_fee_cents", quote->organizer_fee_cents);
	answer_int(answer, "total_cents", quote->total_cents);
	answer_int(answer, "application_fee_cents", quote->application_fee_cents);
	answer_int(answer, "transfer_cents", quote->transfer_cents);
}

PG_FUNCTION_INFO_V1(dvnt_quote);

/* quote(event_id, items) → jsonb */
Datum
dvnt_quote(PG_FUNCTION_ARGS)
{
	Cart	   *cart;
	FeeQuote	quote;
	char		currency[4];
	Answer		answer;

	require_argument(fcinfo, 0, "event_id");
	require_argument(fcinfo, 1, "items");
	cart = cart_parse(PG_GETARG_INT32(0), PG_GETARG_JSONB_P(1));
	begin_reading();
	cart_load(cart, GetActiveSnapshot());
	end_reading();
	cart_quote(cart, &quote, currency);
	answer_begin(&answer);
	quote_answer(&answer, &quote, currency);
	PG_RETURN_DATUM(answer_jsonb(&answer));
}
