/*
 * backfill.c
 *		What Stripe knows and has not told, or told and we have lost: objects that
 *		somebody waits for are asked about, and the events of each account are
 *		read page by page.
 *
 * Answers and events go the way of all others, so that an order whose webhook
 * never came ends as if it had. Reads ticketing.orders, order_payments, refunds,
 * disputes, payees, installation and stripe_requests; reads and writes stripe_checks and
 * event_cursors; writes stripe_requests; events are stripe_events.c's. Locks:
 * one session at a time asks; the cursor, then what an event takes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define ASKED_AT_ONCE 500
#define WINDOWS_AT_ONCE 100
#define PAGE_SIZE 100
#define MOST_TYPES 20			/* that Stripe takes in one request */
#define OVERLAP_SECONDS (5 * 60.0)
#define PLATFORM_EVERY_SECONDS (5 * 60.0)
#define CONNECTED_EVERY_SECONDS 3600.0
#define FAILED_EVERY_SECONDS (24 * 3600.0)

/* How many of the checks of an object are due by now: 1 minute, 10 minutes, an hour, a day, and each further day after it was made. */
#define CHECKS_DUE(since) \
	"CASE WHEN $1 >= " since " + interval '1 day' THEN 3 + extract(epoch FROM $1 - " since ")::bigint / 86400 " \
	"WHEN $1 >= " since " + interval '1 hour' THEN 3 WHEN $1 >= " since " + interval '10 minutes' THEN 2 " \
	"WHEN $1 >= " since " + interval '1 minute' THEN 1 ELSE 0 END"

/* What is due of it is more than was done, and nobody asks already. */
#define NOT_ASKED_YET(object_id, order_id, kinds) \
	"LEFT JOIN ticketing.stripe_checks c ON c.object_id = " object_id " " \
	"CROSS JOIN LATERAL (SELECT least(32000, d.due)::smallint AS due) k " \
	"WHERE k.due > coalesce(c.checks, 0) AND NOT EXISTS (SELECT FROM ticketing.stripe_requests r WHERE r.order_id = " order_id " " \
	"  AND r.kind IN (" kinds ") AND r.state IN ('ready', 'leased')) LIMIT $2"

KEPT_PLAN(payments_to_ask,
		  "SELECT d.object_id, d.order_id, k.due FROM ("
		  "  SELECT p.object_id, o.order_id, " CHECKS_DUE("o.created_at") " AS due FROM ticketing.orders o JOIN ticketing.order_payments p ON p.order_id = o.order_id "
		  "  WHERE o.state IN ('awaiting_payment', 'processing', 'expiring', 'canceling') AND p.state IN ('open', 'requires_action', 'processing')) d "
		  NOT_ASKED_YET("d.object_id", "d.order_id", "'get_payment_intent', 'get_checkout_session', 'cancel_payment_intent', 'expire_checkout_session'"),
		  TIMESTAMPTZOID, INT4OID);
KEPT_SURVEY(refunds_to_ask,
			"SELECT d.object_id, d.order_id, k.due FROM ("
			"  SELECT r.stripe_refund_id AS object_id, r.order_id, " CHECKS_DUE("r.created_at") " AS due FROM ticketing.refunds r "
			"  WHERE r.state IN ('requested', 'pending') AND r.stripe_refund_id IS NOT NULL) d "
			NOT_ASKED_YET("d.object_id", "d.order_id", "'get_refund'"),
			TIMESTAMPTZOID, INT4OID);
KEPT_SURVEY(disputes_to_ask,
			"SELECT d.object_id, d.order_id, k.due FROM ("
			"  SELECT p.dispute_id AS object_id, p.order_id, " CHECKS_DUE("p.created_at") " AS due FROM ticketing.disputes p WHERE p.phase IN ('inquiry', 'open')) d "
			NOT_ASKED_YET("d.object_id", "d.order_id", "'get_dispute'"),
			TIMESTAMPTZOID, INT4OID);
KEPT_PLAN(note_check,
		  "INSERT INTO ticketing.stripe_checks (object_id, order_id, checks, checked_at) VALUES ($1, $2, $3, $4) "
		  "ON CONFLICT (object_id) DO UPDATE SET checks = excluded.checks, checked_at = excluded.checked_at",
		  TEXTOID, UUIDOID, INT2OID, TIMESTAMPTZOID);
KEPT_SURVEY(forget_checks,
			"DELETE FROM ticketing.stripe_checks c "
			"WHERE NOT EXISTS (SELECT FROM ticketing.orders o WHERE o.order_id = c.order_id AND o.state IN ('awaiting_payment', 'processing', 'expiring', 'canceling')) "
			"AND NOT EXISTS (SELECT FROM ticketing.refunds r WHERE r.stripe_refund_id = c.object_id AND r.state IN ('requested', 'pending')) "
			"AND NOT EXISTS (SELECT FROM ticketing.disputes d WHERE d.dispute_id = c.object_id AND d.phase IN ('inquiry', 'open'))");

KEPT_PLAN(is_armed, "SELECT FROM ticketing.installation");
/* A new account begins three days back, which is as long as Stripe repeats a webhook; connected ones at different minutes. */
KEPT_SURVEY(make_cursors,
			"INSERT INTO ticketing.event_cursors (account, seen_until, next_at, updated_at) "
			"SELECT a.account, $1 - interval '3 days', CASE WHEN a.account = '' THEN $1 ELSE $1 + make_interval(secs => abs(hashtext(a.account)) % 3600) END, $1 "
			"FROM (SELECT '' AS account WHERE $2 UNION SELECT p.stripe_account_id FROM ticketing.payees p WHERE p.stripe_account_id IS NOT NULL AND $3) a "
			"WHERE NOT EXISTS (SELECT FROM ticketing.event_cursors c WHERE c.account = a.account) ON CONFLICT DO NOTHING",
			TIMESTAMPTZOID, BOOLOID, BOOLOID);
KEPT_SURVEY(due_cursors,
			"SELECT c.account, c.seen_until FROM ticketing.event_cursors c WHERE c.next_at <= $1 "
			"AND (c.request_id IS NULL OR NOT EXISTS (SELECT FROM ticketing.stripe_requests r WHERE r.id = c.request_id AND (r.state IN ('ready', 'leased', 'unknown') OR NOT r.applied))) "
			"ORDER BY c.next_at LIMIT $2 FOR UPDATE OF c SKIP LOCKED",
			TIMESTAMPTZOID, INT4OID);
KEPT_PLAN(open_window,
		  "UPDATE ticketing.event_cursors SET window_from = $2, window_until = $3, request_id = $4, updated_at = $3 WHERE account = $1",
		  TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, UUIDOID);
KEPT_SURVEY(cursor_of_request,
			"SELECT account, window_from, window_until FROM ticketing.event_cursors WHERE request_id = $1 FOR UPDATE", UUIDOID);
KEPT_PLAN(next_page,
		  "UPDATE ticketing.event_cursors SET request_id = $2, updated_at = $3 WHERE account = $1", TEXTOID, UUIDOID, TIMESTAMPTZOID);
KEPT_PLAN(close_window,
		  "UPDATE ticketing.event_cursors SET seen_until = coalesce($2, seen_until), window_from = NULL, window_until = NULL, request_id = NULL, next_at = $3, failure = $4, updated_at = $5 WHERE account = $1",
		  TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID);

/* An object that Stripe is to be asked about. */
typedef struct AskedObject
{
	char	   *object_id;
	pg_uuid_t	order_id;
	int16		checks;
} AskedObject;

/* What somebody may wait for: which objects are due, and how Stripe is asked about one. */
static const struct
{
	const char *name;
	KeptPlan   *due;			/* object_id, order_id and how many checks are due, of (now, at most so many) */
	pg_uuid_t  *(*fetch) (const char *object_id, const pg_uuid_t *order_id, int16 lane, TimestampTz now);
}			sources[] = {
	{"payments", &payments_to_ask, fetch_payment},
	{"refunds", &refunds_to_ask, fetch_refund},
	{"disputes", &disputes_to_ask, fetch_dispute},
};

/* Asks about the objects of a source that are due; how many. */
static int64
ask_source(int number, TimestampTz now)
{
	Datum		values[4] = {TimestampTzGetDatum(now), Int32GetDatum(ASKED_AT_ONCE)};
	uint64		rows = run_latest(sources[number].due, values, NULL);
	AskedObject *objects = palloc(sizeof(AskedObject) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
		objects[row] = (AskedObject) {row_text(row, 1), *DatumGetUUIDP(row_datum(row, 2)), DatumGetInt16(row_datum(row, 3))};
	for (uint64 row = 0; row < rows; row++)
	{
		values[0] = CStringGetTextDatum(objects[row].object_id);
		values[1] = UUIDPGetDatum(&objects[row].order_id);
		values[2] = Int16GetDatum(objects[row].checks);
		values[3] = TimestampTzGetDatum(now);
		run_latest(&note_check, values, NULL);
		sources[number].fetch(objects[row].object_id, &objects[row].order_id, STRIPE_LANE_RECONCILE, now);
	}
	return (int64) rows;
}

/* The types of events that are wanted of an account, as a JSON array; NULL: none are. */
static const char *
wanted_types(bool connected, int *count)
{
	StringInfoData list;
	const char *type;
	bool		is_connected;

	*count = 0;
	initStringInfo(&list);
	for (int i = 0; (type = event_type(i, &is_connected)) != NULL; i++)
		if (is_connected == connected)
			appendStringInfo(&list, "%s\"%s\"", (*count)++ == 0 ? "[" : ", ", type);
	appendStringInfoChar(&list, ']');
	return *count == 0 ? NULL : list.data;
}

static bool
is_wanted(const char *wanted, bool connected)
{
	const char *type;
	bool		is_connected;

	for (int i = 0; wanted != NULL && (type = event_type(i, &is_connected)) != NULL; i++)
		if (strcmp(type, wanted) == 0)
			return is_connected == connected;
	return false;
}

/* Asks for a page of an account's events, made in the window; after: the last one of the page before. */
static pg_uuid_t *
ask_for_page(const char *account, TimestampTz from, TimestampTz until, const char *after, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "list_events", .lane = STRIPE_LANE_RECONCILE, .method = "GET", .path = "/v1/events", .stripe_account = account[0] == '\0' ? NULL : account
	};
	Answer		params;
	int			type_count;
	const char *types = wanted_types(account[0] != '\0', &type_count);

	answer_begin(&params);
	answer_int(&params, "limit", PAGE_SIZE);
	answer_raw(&params, "created", psprintf("{\"gte\": " INT64_FORMAT ", \"lte\": " INT64_FORMAT "}", unix_seconds(from), unix_seconds(until)));
	if (types != NULL && type_count <= MOST_TYPES)
		answer_raw(&params, "types", types);
	if (after != NULL)
		answer_text(&params, "starting_after", after);
	request.params = answer_end(&params);
	return enqueue_stripe_request(&request, now);
}

/* Opens the windows that are due; how many. */
static int64
ask_for_events(TimestampTz now)
{
	int			type_count;
	Datum		values[4] = {
		TimestampTzGetDatum(now), BoolGetDatum(wanted_types(false, &type_count) != NULL), BoolGetDatum(wanted_types(true, &type_count) != NULL)
	};
	uint64		rows;
	char	  **accounts;
	TimestampTz *from;

	if (run_latest(&is_armed, NULL, NULL) == 0)
		return 0;
	run_latest(&make_cursors, values, NULL);
	values[1] = Int32GetDatum(WINDOWS_AT_ONCE);
	rows = run_latest(&due_cursors, values, NULL);
	accounts = palloc(sizeof(char *) * (rows + 1));
	from = palloc(sizeof(TimestampTz) * (rows + 1));
	for (uint64 row = 0; row < rows; row++)
	{
		accounts[row] = row_text(row, 1);
		from[row] = add_seconds(DatumGetTimestampTz(row_datum(row, 2)), -OVERLAP_SECONDS);
	}
	for (uint64 row = 0; row < rows; row++)
	{
		values[0] = CStringGetTextDatum(accounts[row]);
		values[1] = TimestampTzGetDatum(from[row]);
		values[2] = TimestampTzGetDatum(now);
		values[3] = UUIDPGetDatum(ask_for_page(accounts[row], from[row], now, NULL, now));
		run_latest(&open_window, values, NULL);
	}
	return (int64) rows;
}

PG_FUNCTION_INFO_V1(dvnt_enqueue_reconciliation);

/* enqueue_reconciliation() → jsonb */
Datum
dvnt_enqueue_reconciliation(PG_FUNCTION_ARGS)
{
	TimestampTz now = engine_now();
	bool		mine;
	Answer		answer;
	Datum		result;

	begin_command();
	mine = try_lock_reconciliation(RECONCILE_ASKS, false);
	if (mine)
		run_latest(&forget_checks, NULL, NULL);
	answer_begin(&answer);
	for (int i = 0; i < lengthof(sources); i++)
		answer_int(&answer, sources[i].name, mine ? ask_source(i, now) : 0);
	answer_int(&answer, "event_pages", mine ? ask_for_events(now) : 0);
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/* A window that is being read. */
typedef struct EventWindow
{
	char	   *account;		/* empty: the platform */
	TimestampTz from;
	TimestampTz until;
} EventWindow;

/* The window whose page a request has asked for, locked; false when nobody reads it any more. */
static bool
lock_window(const pg_uuid_t *request_id, EventWindow *window)
{
	Datum		id = UUIDPGetDatum(request_id);

	declare_lock(RANK_REQUEST);
	if (run_latest(&cursor_of_request, &id, NULL) == 0)
		return false;
	window->account = row_text(0, 1);
	window->from = DatumGetTimestampTz(row_datum(0, 2));
	window->until = DatumGetTimestampTz(row_datum(0, 3));
	return true;
}

/* Ends a window. It was read if there is no failure; again says after how many seconds the next one is due. */
static void
end_window(const EventWindow *window, bool was_read, const char *failure, double again, TimestampTz now)
{
	char		nulls[6] = "     ";
	Datum		values[5] = {
		CStringGetTextDatum(window->account), TimestampTzGetDatum(window->until), TimestampTzGetDatum(add_seconds(now, again)),
		text_or_null(failure, &nulls[3]), TimestampTzGetDatum(now)
	};

	nulls[1] = was_read ? ' ' : 'n';
	run_latest(&close_window, values, nulls);
}

/* Hears the events of a page, the oldest first, as Stripe lists the newest first; the id of the oldest. */
static char *
hear_page(JsonbValue *page, const EventWindow *window, TimestampTz now)
{
	bool		connected = window->account[0] != '\0';
	uint32		count = JsonContainerSize(page->val.binary.data);
	char	   *oldest = NULL;

	for (uint32 i = count; i > 0; i--)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(page->val.binary.data, i - 1);
		Jsonb	   *event = value->type == jbvBinary ? JsonbValueToJsonb(value) : NULL;

		if (event == NULL || !JB_ROOT_IS_OBJECT(event))
			continue;
		if (oldest == NULL)
			oldest = json_string_at(event, JSON_PATH("id"));
		if (!is_wanted(json_string_at(event, JSON_PATH("type")), connected))
			continue;
		/* each event is a command of its own: what it locks is in order by itself */
		(void) begin_locking(RANK_NONE);
		hear_listed_event(event, connected ? window->account : NULL, now);
	}
	return oldest;
}

/* list_events: a page of an account's events. */
void
events_listed(const StripeAnswer *call)
{
	EventWindow window;
	JsonbValue	space;
	JsonbValue *page;
	char	   *oldest;
	bool		has_more = false;
	Datum		values[3];

	if (!lock_window(call->request_id, &window))
		return;
	page = getKeyJsonValueFromContainer(&call->answer->root, "data", strlen("data"), &space);
	if (page == NULL || page->type != jbvBinary || !JsonContainerIsArray(page->val.binary.data))
	{
		/* applied late, the page is gone: the window is read again */
		end_window(&window, false, NULL, 0, call->now);
		return;
	}
	oldest = hear_page(page, &window, call->now);
	(void) json_bool_at(call->answer, JSON_PATH("has_more"), &has_more);
	if (!has_more || oldest == NULL)
	{
		end_window(&window, true, NULL, window.account[0] == '\0' ? PLATFORM_EVERY_SECONDS : CONNECTED_EVERY_SECONDS, call->now);
		return;
	}
	values[0] = CStringGetTextDatum(window.account);
	values[1] = UUIDPGetDatum(ask_for_page(window.account, window.from, window.until, oldest, call->now));
	values[2] = TimestampTzGetDatum(call->now);
	run_latest(&next_page, values, NULL);
}

/* Stripe will not show the events: of an account that has left the platform, for one. The others go on. */
void
event_listing_failed(const StripeAnswer *call)
{
	EventWindow window;
	char	   *message = json_string_at(call->answer, JSON_PATH("message"));

	if (lock_window(call->request_id, &window))
		end_window(&window, false, message ? message : "refused", window.account[0] == '\0' ? CONNECTED_EVERY_SECONDS : FAILED_EVERY_SECONDS, call->now);
}
