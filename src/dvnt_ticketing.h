/*
 * dvnt_ticketing.h
 *		What the files of the extension call of one another, under the name of
 *		the file that owns it.
 */
#ifndef DVNT_TICKETING_H
#define DVNT_TICKETING_H

#include "postgres.h"

#include <sys/stat.h>

#include "executor/spi.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "port/atomics.h"
#include "utils/guc.h"
#include "utils/jsonb.h"
#include "utils/snapshot.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "fees.h"
#include "keyring.h"
#include "ledger.h"
#include "order_states.h"
#include "qr_payload.h"
#include "refusal.h"

/*-- guc.c --*/

extern int	 hold_ttl_seconds;
extern int	 hold_max_age_seconds;
extern int	 manifest_ttl_seconds;
extern char *stripe_api_version;
extern bool	 doorbell_enabled;
extern int	 stripe_rate;
extern int	 stripe_endpoint_rate;
extern int	 await_stripe_slots;
extern double test_clock_offset;
extern double test_clock_rate;
extern bool	 lock_witness_enabled;
extern char *ticket_key_file;
extern bool key_file_is_lost;

extern void define_settings(void);

/*-- clock.c --*/

extern TimestampTz engine_now(void);
extern int64 unix_seconds(TimestampTz at);
extern double interval_seconds(const Interval *interval);
extern TimestampTz add_seconds(TimestampTz at, double seconds);
extern bool time_from_text(const char *text, TimestampTz *at);

/*-- key_file.c --*/

#define KEY_FILE_MAX_BYTES (1024 * 1024)
#define KEY_FILE_ERROR_SIZE 256

/* What tells a file from others, and from itself before it was touched. */
typedef struct KeyFileVersion
{
	dev_t		device;
	ino_t		inode;
	off_t		size;
	struct timespec modified;
	struct timespec changed;
} KeyFileVersion;

/* The text of a key file; malloc'ed, and wiped before it is freed. */
typedef struct KeyText
{
	char	   *bytes;
	size_t		length;
} KeyText;

extern bool make_key_text(KeyText *text, size_t room);
extern void free_key_text(KeyText *text);
extern bool read_key_file(const char *path, KeyFileVersion *version, KeyText *text, char error[KEY_FILE_ERROR_SIZE]);
extern void key_file_version(const char *path, KeyFileVersion *version);
extern bool same_key_file(const KeyFileVersion *a, const KeyFileVersion *b);

/*-- shared_keys.c --*/

/* What the ring in use was made of. */
typedef enum KeySource
{
	KEYS_OF_NOTHING,
	KEYS_OF_ENVIRONMENT,
	KEYS_OF_FILE
} KeySource;

typedef struct KeyState
{
	KeySource	source;
	char		path[MAXPGPATH];	/* of the key file that was last tried; empty: none is named */
	char		error[KEY_FILE_ERROR_SIZE]; /* why that is not in use, or the environment's secret; empty: it is */
} KeyState;

/* Another number when the postmaster has shared anew; always 0 where it shares nothing. */
extern pg_atomic_uint32 *shared_keys_version;

extern void prepare_shared_keys(void);
extern bool keys_are_shared(void);
extern void share_keys(const KeyState *state, const KeyText *text);
extern bool copy_shared_keys(KeyState *state, KeyText *text, uint32 *version);

/*-- secrets.c --*/

extern void load_secrets(void);
extern bool check_key_file(char **value, void **extra, GucSource source);
extern void assign_key_file(const char *value, void *extra);
extern Keyring *ticket_keyring(void);
extern bool have_ticket_keyring(void);
extern void require_ticket_keyring(void);
extern bool renew_ticket_keyring(void);
extern const char *webhook_secrets(void);

/*-- spi_plan.c --*/

#define PLAN_MAX_ARGUMENTS 24

/* A statement that is planned once for the life of the backend. */
typedef struct KeptPlan
{
	const char *sql;
	int			argument_count;
	Oid			argument_types[PLAN_MAX_ARGUMENTS];
	bool		reads_much;		/* it may read whole tables */
	SPIPlanPtr	plan;
} KeptPlan;

#define KEPT_PLAN(name, statement, ...) \
	static KeptPlan name = { \
		.sql = statement, \
		.argument_count = (int) (sizeof((Oid[]){__VA_ARGS__}) / sizeof(Oid)), \
		.argument_types = {__VA_ARGS__}, \
	}

/* A statement that compares much of its tables, and not a few rows. */
#define KEPT_SURVEY(name, statement, ...) \
	static KeptPlan name = { \
		.sql = statement, \
		.argument_count = (int) (sizeof((Oid[]){__VA_ARGS__}) / sizeof(Oid)), \
		.argument_types = {__VA_ARGS__}, \
		.reads_much = true, \
	}

extern void begin_command(void);
extern int	fix_search_path(void);
extern void unfix_search_path(int nest);
extern uint64 run_latest(KeptPlan *plan, const Datum *values, const char *nulls);
extern uint64 run_stable(KeptPlan *plan, const Datum *values, const char *nulls);
extern Datum row_value(uint64 row, int column, bool *isnull);
extern Datum row_datum(uint64 row, int column);
extern bool row_is_null(uint64 row, int column);
extern char *row_text(uint64 row, int column);
extern char *row_uuid_text(uint64 row, int column);
extern void rows_to_result(FunctionCallInfo fcinfo);
extern Datum answer_rows(FunctionCallInfo fcinfo, KeptPlan *plan, const Datum *values, const char *nulls);
extern void begin_reading(void);
extern void end_reading(void);

/* A step that may have to be undone by itself: an internal subtransaction. */
typedef struct Guard
{
	MemoryContext context;
	ResourceOwner owner;
} Guard;

extern void guarded_begin(Guard *guard);
extern void guarded_commit(Guard *guard);
extern void guarded_rollback(Guard *guard);
extern char *try_step(void (*step) (void *), void *argument);
extern char *try_step_once(void (*step) (void *), void *argument);

/*-- statistics.c --*/

/* What is counted. */
enum
{
	DRAWN_FAST,					/* from the backend's home shard */
	DRAWN_STOLEN,				/* from another shard of the pool */
	DRAWN_SLOW,					/* by the slow path: carts */
	DRAWN_AGAIN,				/* rounds of the slow path that had to be repeated */
	RETURNED,					/* to one shard */
	RECLAIMED,					/* batches of dead holds taken back */
	COUNTER_REFUSED,			/* and on, by RefusalReason */
	COUNTER_COUNT = COUNTER_REFUSED + REFUSAL_REASON_COUNT
};

extern void prepare_statistics(void);
extern void count_event(int counter);

/*-- tally.c --*/

extern void tally_pool(int64 pool_id, int64 seats);
extern void tally_tier(const pg_uuid_t *ticket_type_id, int64 seats);

/*-- arguments.c --*/

extern void require_argument(FunctionCallInfo fcinfo, int number, const char *name);
extern char *text_argument(FunctionCallInfo fcinfo, int number, const char *name);
extern char *optional_text(FunctionCallInfo fcinfo, int number);
extern char *uuid_text(const pg_uuid_t *id);
extern bool uuid_from_text(const char *text, size_t length, pg_uuid_t *id);
extern pg_uuid_t *new_uuid(void);
extern Datum uuid_copy(Datum value);
extern Datum text_array(Datum *elements, int count);
extern Datum uuid_array(Datum *elements, int count);
extern Datum array_with_nulls(Datum *elements, bool *nulls, int count, Oid type);
extern int	compare_uuids(const void *a, const void *b);
extern char *sha256_hex(const void *bytes, size_t length);
extern Datum text_or_null(const char *value, char *null);

/*-- answer.c --*/

/* A JSON object that is being written. */
typedef struct Answer
{
	StringInfoData text;
	bool		empty;
} Answer;

extern void answer_begin(Answer *answer);
extern void answer_key(Answer *answer, const char *key);
extern void answer_text(Answer *answer, const char *key, const char *value);
extern void answer_int(Answer *answer, const char *key, int64 value);
extern void answer_bool(Answer *answer, const char *key, bool value);
extern void answer_uuid(Answer *answer, const char *key, const pg_uuid_t *value);
extern void answer_time(Answer *answer, const char *key, TimestampTz value);
extern void answer_row_time(Answer *answer, const char *key, uint64 row, int column);
extern void answer_null(Answer *answer, const char *key);
extern void answer_raw(Answer *answer, const char *key, const char *json);
extern const char *answer_end(Answer *answer);
extern Datum answer_jsonb(Answer *answer);
extern Datum jsonb_from_text(const char *json);
extern Jsonb *json_object_at(Jsonb *json, const char *const *path, int depth);
extern JsonbValue *json_array_at(Jsonb *json, const char *key);
extern char *json_string_at(Jsonb *json, const char *const *path, int depth);
extern bool json_int_at(Jsonb *json, const char *const *path, int depth, int64 *value);
extern bool json_bool_at(Jsonb *json, const char *const *path, int depth, bool *value);
extern Jsonb *parse_json(const char *bytes, size_t length);
extern Jsonb *parse_json_quietly(const char *bytes, size_t length);
extern Jsonb *parse_answer_quietly(const char *bytes, size_t length);

/* A path into a JSON document, as two arguments. */
#define JSON_PATH(...) (const char *const[]){__VA_ARGS__}, (int) (sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/*-- locks.c --*/

/* The order in which locks that may be waited for are taken, everywhere. */
typedef enum LockRank
{
	RANK_NONE,
	RANK_REQUEST,				/* a row of stripe_requests or stripe_inbox */
	RANK_USER,
	RANK_ORDER,
	RANK_SHAPE,
	RANK_EVENT,
	RANK_HOLD,
	RANK_SHARD,					/* and the pool's row, under its shards */
	RANK_PUBLIC
} LockRank;

extern LockRank begin_locking(LockRank rank);
extern void declare_lock(LockRank rank);

extern void lock_user(const char *user_id, int32 event_id);
extern void lock_two_users(const char *one, const char *other, int32 event_id);
extern void lock_event(int32 event_id);
extern bool try_lock_event(int32 event_id);
extern void lock_shape_shared(int32 event_id);
extern bool try_lock_shape_shared(int32 event_id);
extern void lock_shape(int32 event_id);
#define RECONCILE_ASKS 0
#define RECONCILE_COMPARES 1

extern bool try_lock_reconciliation(int part, bool for_session);
extern void unlock_reconciliation(int part);
extern bool no_relay_sleeps(void);
extern int	take_waiter_slot(void);
extern void give_back_waiter_slot(int slot);

/*-- requests.c --*/

/* A call that may be asked again under the same request id. */
typedef struct RememberedCall
{
	const char *function_name;
	const char *user_id;
	const char *request_id;		/* NULL: not remembered */
	bytea	   *arguments;		/* their SHA-256 */
} RememberedCall;

extern void remembered_call(RememberedCall *call, const char *function_name, const char *user_id,
							const char *request_id, const char *arguments);
extern bool recall_answer(RememberedCall *call, Datum *answer);
extern void remember_answer(RememberedCall *call, Datum answer);

/*-- cart.c --*/

#define CART_MAX_ITEMS 100

/* Where a pool is; pool_id 0: there is none. */
typedef struct PoolRef
{
	int64		pool_id;
	int16		shards;
} PoolRef;

typedef struct CartItem
{
	pg_uuid_t	ticket_type_id;
	int32		quantity;
	/* what the database says of the tier */
	int32		price_cents;
	char		currency[4];
	int32		max_per_user;	/* -1: no limit */
	bool		has_sale_start;
	TimestampTz sale_start;
	bool		has_sale_end;
	TimestampTz sale_end;
	bool		limited;
	PoolRef		pool;			/* none: unlimited */
} CartItem;

typedef struct Cart
{
	int32		event_id;
	int			item_count;
	CartItem   *items;			/* by ticket_type_id, each once */
	/* what the database says of the event */
	bool		ticketing_enabled;
	bool		canceled;
	bool		has_hold_ttl;
	Interval	hold_ttl;
	char	   *host_id;
	bool		event_limited;
	PoolRef		event_pool;		/* none: no capacity */
} Cart;

extern Cart *cart_parse(int32 event_id, Jsonb *items);
extern void cart_sort(Cart *cart);
extern void cart_load_latest(Cart *cart);
extern char *cart_payee(const Cart *cart, Snapshot snapshot);
extern Snapshot cart_load_for_sale(Cart *cart);
extern void cart_check_on_sale(const Cart *cart, TimestampTz now);
extern void cart_quote(const Cart *cart, FeeQuote *quote, char currency[4]);
extern void cart_answer_items(Answer *answer, const Cart *cart);
extern void quote_answer(Answer *answer, const FeeQuote *quote, const char *currency);

/*-- shards.c --*/

/* Seats of one pool that are drawn or given back together. */
typedef struct PoolMove
{
	int64		pool_id;
	int16		shards;
	bool		of_event;
	pg_uuid_t	ticket_type_id; /* of a tier's pool */
	int32		quantity;
} PoolMove;

/* How a pool stands for a draw. */
typedef enum Supply
{
	SUPPLY_NONE,				/* no shard has enough */
	SUPPLY_SCARCE,				/* some shard has enough, others may be faster */
	SUPPLY_PLENTY				/* many shards have enough: a draw will find one that is free */
} Supply;

extern bool shard_draw(const PoolMove *move);
extern bool shard_is_rich(const PoolMove *move, Snapshot snapshot);
extern Supply shard_supply(const PoolMove *move, Snapshot snapshot);
extern int64 shard_sum(const PoolMove *move, Snapshot snapshot);
extern void lock_pools(const PoolMove *moves, int count);
extern int64 locked_seats(const PoolMove *move);
extern void set_locked_seats(const PoolMove *move, int64 seats);
extern void shard_return(PoolMove *move);

/*-- shortage.c --*/

extern void refuse_if_short(int32 event_id, const PoolMove *moves, int count, TimestampTz now);

/*-- inventory.c --*/

extern int	cart_moves(const Cart *cart, PoolMove **moves);
extern void moves_settled(const PoolMove *moves, int count);
extern void stock_draw(int32 event_id, const PoolMove *moves, int count, TimestampTz now);
extern void stock_return(PoolMove *moves, int count);

/*-- reclaim.c --*/

extern int32 reclaim_dead_holds(int32 event_id, TimestampTz now, int at_most,
								PoolMove **credits, int *credit_count);

/*-- holds.c --*/

extern void check_user_limits(const Cart *cart, const char *user_id, TimestampTz now, Snapshot snapshot);
extern pg_uuid_t *hold_cart(const Cart *cart, const char *user_id, TimestampTz now,
							const Interval *ttl, Snapshot snapshot, TimestampTz *expires_at);
extern Cart *cart_of_reservation(const pg_uuid_t *reservation_id, const char *user_id,
								 int32 event_id, TimestampTz now, TimestampTz *expires_at,
								 pg_uuid_t *order_id, bool *has_order);
extern void attach_holds(const pg_uuid_t *reservation_id, const pg_uuid_t *order_id, TimestampTz until);
extern void keep_holds(const pg_uuid_t *reservation_id, TimestampTz until);
extern void return_held_seats(const pg_uuid_t *reservation_id, int32 event_id, TimestampTz now);
extern int64 convert_holds(const pg_uuid_t *reservation_id, const pg_uuid_t *order_id, TimestampTz now);

/*-- orders.c --*/

typedef struct NewOrder
{
	pg_uuid_t	order_id;
	const char *user_id;
	const Cart *cart;
	const FeeQuote *quote;
	const char *currency;
	const char *rail;
	const pg_uuid_t *reservation_id;	/* NULL: free, never held */
	const char *payee_account;
	const char *email;
	TimestampTz expires_at;		/* of the hold */
} NewOrder;

/* What a transition did. */
typedef enum OrderOutcome
{
	ORDER_MOVED,
	ORDER_STAYED,				/* known before, or of no consequence */
	ORDER_FOUND					/* recorded as a finding */
} OrderOutcome;

/* How long Stripe may take to confirm that an order can be paid no more; then its seats go back by time alone. */
#define ORDER_GRACE_SECONDS (15 * 60.0)

/* An order that is locked. */
typedef struct LockedOrder
{
	pg_uuid_t	order_id;
	OrderState	state;
	int64		seats;			/* ordered */
	bool		held;			/* false: a free one */
	pg_uuid_t	reservation_id;
	int64		seats_held;		/* fewer: some went back by time */
	int32		event_id;
	char	   *user_id;
	char	   *rail;
	TimestampTz expires_at;		/* of the buyer's time to pay; DT_NOEND: a free one */
	TimestampTz created_at;
	char	   *payment_intent_id;	/* NULL: none yet */
	char	   *checkout_session_id;
	bool		action_extended;	/* it has had its more time for 3-D Secure */
	int32		total_cents;
	int32		buyer_fee_cents;
	int32		organizer_fee_cents;
	char	   *currency;
	char	   *payee_account;	/* NULL: a free one */
	char	   *dispute;		/* open, won, lost; NULL: none */
} LockedOrder;

extern void order_make(NewOrder *order, TimestampTz now);
extern void order_log(const pg_uuid_t *order_id, const char *event, const char *from_state, const char *to_state,
					  const char *source, const char *detail_json, TimestampTz now);
extern void order_timeline(const pg_uuid_t *order_id, int count, const char *const *types, const char *const *labels, TimestampTz now);
extern void lock_order(const pg_uuid_t *order_id, LockedOrder *order);
extern OrderOutcome order_apply_locked(LockedOrder *order, OrderEvent event, const char *source,
									   const char *detail_json, TimestampTz now);
extern OrderOutcome order_apply(const pg_uuid_t *order_id, OrderEvent event, const char *source,
								const char *detail_json, TimestampTz now);
extern void show_order_again(const pg_uuid_t *order_id, TimestampTz now);
extern void record_finding(const char *kind, const char *entity, const char *detail_json,
						   TimestampTz now);

/*-- checkout_session.c --*/

/* What Stripe's payment page is told of an order. */
typedef struct CheckoutPage
{
	const pg_uuid_t *order_id;
	int32		event_id;
	const char *payee_account;
	const FeeQuote *quote;
	const char *currency;
	const char *success_url;
	const char *cancel_url;		/* NULL: none */
	const char *email;			/* NULL: unknown */
} CheckoutPage;

extern const char *checkout_session_params(const CheckoutPage *page);

/*-- order_batch.c --*/

/* Work on many orders, each locked and undone by itself. */
typedef struct OrderBatch
{
	void		(*work) (LockedOrder *order, const char *actor, TimestampTz now);
	const char *actor;			/* NULL: nobody in particular */
	const char *finding;		/* its kind, about an order whose work failed */
	void		(*put_off) (const pg_uuid_t *order_id, TimestampTz now);	/* what else is done then; may be NULL */
	TimestampTz now;
} OrderBatch;

extern int	work_through_orders(const OrderBatch *batch, uint64 rows);

/*-- order_ends.c --*/

extern void give_time_to_pay(LockedOrder *order, TimestampTz now);
extern bool take_seats_again(LockedOrder *order, TimestampTz now);
extern Cart *cart_of_order(const LockedOrder *order);
extern void end_order_now(const pg_uuid_t *order_id, TimestampTz now);
extern int	end_due_orders(int max_rows, TimestampTz now);

/*-- payments.c --*/

extern void lock_order_to_pay(const pg_uuid_t *order_id, LockedOrder *order);
extern bool cancel_payments(const LockedOrder *order, TimestampTz now);
extern bool order_of_payment(const char *object_id, pg_uuid_t *order_id);
extern OrderOutcome payment_says(const pg_uuid_t *order_id, Jsonb *object, const char *source, TimestampTz now);
extern OrderOutcome payment_failed(const pg_uuid_t *order_id, Jsonb *intent, const char *source, TimestampTz now);
extern OrderOutcome session_failed(const pg_uuid_t *order_id, Jsonb *session, const char *source, TimestampTz now);
extern pg_uuid_t *fetch_payment(const char *object_id, const pg_uuid_t *order_id, int16 lane, TimestampTz now);

/*-- ledger.c --*/

typedef struct LedgerLine
{
	LedgerKind	kind;
	int64		amount_cents;	/* 0: nothing is booked */
} LedgerLine;

extern bool ledger_book(const LockedOrder *order, const char *source, const LedgerLine *lines, int count, TimestampTz now);
extern bool ledger_book_payee(const char *payee_account, const char *currency, const char *source,
							  const LedgerLine *lines, int count, TimestampTz now);
extern void ledger_book_charge(const LockedOrder *order, const char *payment_intent_id, TimestampTz now);

/*-- settlement_match.c --*/

extern void match_balance_transactions(Datum ids, bool all_listed, TimestampTz now);
extern void judge_settlement(TimestampTz now);

/*-- refunds.c --*/

extern void refund_payment(const LockedOrder *order, const char *payment_intent_id, const char *reason, TimestampTz now);
extern void settle_refunds(LockedOrder *order, const char *what, const char *source, const char *detail_json, TimestampTz now);
extern void refunds_before_payment(LockedOrder *order, const char *source, TimestampTz now);

/*-- refund_news.c --*/

extern pg_uuid_t *fetch_refund(const char *stripe_refund_id, const pg_uuid_t *order_id, int16 lane, TimestampTz now);
extern bool hear_refund_event(Jsonb *object, bool is_charge, const char *payment_intent_id, pg_uuid_t *order_id, TimestampTz now);

/*-- disputes.c --*/

extern pg_uuid_t *fetch_dispute(const char *dispute_id, const pg_uuid_t *order_id, int16 lane, TimestampTz now);
extern int	settle_decided_disputes(int max_orders, TimestampTz now);

/*-- payouts.c --*/

extern void fetch_payout(const char *payout_id, const char *payee_account, TimestampTz now);

/*-- organizers.c --*/

extern bool is_permitted(int32 event_id, const char *actor, const char *permission);
extern void require_permission(int32 event_id, const char *actor, const char *permission);
extern Datum rows_about_event(FunctionCallInfo fcinfo, KeptPlan *plan, const char *permission);

/*-- tickets.c --*/

extern QrVerdict verify_code(const char *code, size_t length, QrPayload *payload);
extern void issue_tickets(const pg_uuid_t *order_id, TimestampTz now);
extern Datum new_ticket_payload(const pg_uuid_t *ticket_id, int32 event_id, int suite);
extern Datum new_ticket_token(void);

/*-- door_settings.c --*/

/* When an event's doors are open. */
typedef struct DoorHours
{
	bool		has_open;
	TimestampTz open;
	bool		has_close;
	TimestampTz close;
} DoorHours;

extern DoorHours row_hours(int column);
extern bool too_early(const DoorHours *hours, TimestampTz at);
extern bool too_late(const DoorHours *hours, TimestampTz at);
extern void answer_hours(Answer *answer, const DoorHours *hours, const char *open_key, const char *close_key);

/*-- door_devices.c --*/

extern char *device_argument(FunctionCallInfo fcinfo, int number);
extern bool enrol_unknown_device(int32 event_id, const char *device_id, const char *actor, TimestampTz now, TimestampTz *revoked_at);

/*-- ticket_code.c --*/

#define TICKET_CODE_MAX_BYTES 4096

/* A code that may be a ticket's. */
typedef struct TicketCode
{
	bool		is_token;		/* the rest is of a signed payload */
	pg_uuid_t	ticket_id;
	int32		event_id;
} TicketCode;

extern char *ticket_code_of(char *text);
extern const char *judge_ticket_code(const char *code, TicketCode *parsed);

/*-- ticket_seats.c --*/

extern int	suspend_tickets(int32 event_id, Datum ticket_ids, const char *reason, const char *actor, Datum *suspended, TimestampTz now);
extern bool try_end_tickets(int32 event_id, Datum ticket_ids, const char *status, const char *change, const char *actor, const char *reason, TimestampTz now);
extern void end_tickets(int32 event_id, Datum ticket_ids, const char *status, const char *change, const char *actor, const char *reason, TimestampTz now);
extern void restore_tickets(int32 event_id, Datum ticket_ids, const char *actor, TimestampTz now);

/*-- ticket_moves.c --*/

extern void adopt_scanned_tickets(Datum ticket_ids, TimestampTz now);
extern void touch_door_states(Datum ticket_ids, int32 event_id);
extern void fold_tickets(const pg_uuid_t *ticket_ids, int count);

/*-- stripe_requests.c --*/

typedef struct NewStripeRequest
{
	const char *kind;
	int16		lane;
	const char *method;
	const char *path;
	const char *params;			/* JSON object; NULL: empty */
	const char *customer_of;	/* user whose customer becomes the parameter "customer" */
	const char *account_of;		/* host whose account becomes the parameter "account" */
	const char *stripe_account; /* the connected account that is called; NULL: the platform */
	const char *api_version;	/* NULL: the setting */
	const pg_uuid_t *waits_for;
	const pg_uuid_t *order_id;
	int32		event_id;
	const char *user_id;
} NewStripeRequest;

#define STRIPE_LANE_URGENT 0
#define STRIPE_LANE_BUYER 1
#define STRIPE_LANE_RECONCILE 2

extern pg_uuid_t *enqueue_stripe_request(const NewStripeRequest *request, TimestampTz now);
extern bool is_stripe_id(const char *text);
extern const pg_uuid_t *unsent_stripe_request(const char *kind, const char *user_id);
extern char *encode_stripe_form(Jsonb *params);

/*-- stripe_buckets.c --*/

/* The calls that Stripe may still count against one limit. */
typedef struct StripeBucket
{
	const char *endpoint;		/* "": all */
	int32		held[128];		/* tokens, by the slot at whose beginning they come back; a ring */
	int64		slot;			/* up to which the ring is cleared */
	double		hold;			/* seconds that a call holds its token, of late */
	int64		calls;			/* answered so far */
	double		quickest;		/* seconds that the quickest call took, of late */
	TimestampTz paused_until;
	bool		changed;
} StripeBucket;

/* All of them, as a claim needs them. */
typedef struct StripeBuckets
{
	StripeBucket *buckets;		/* the first one is that of all calls */
	int			count;
	int			room;
	TimestampTz now;
} StripeBuckets;

extern bool open_buckets(StripeBuckets *all, TimestampTz now);
extern StripeBucket *bucket_of(StripeBuckets *all, const char *endpoint);
extern int	tokens_left(const StripeBuckets *all, const StripeBucket *bucket, int16 lane);
extern void take_token(StripeBuckets *all, StripeBucket *bucket);
extern TimestampTz next_token(const StripeBuckets *all, const StripeBucket *bucket, int16 lane);
extern void close_buckets(StripeBuckets *all);
extern void token_answered(const char *endpoint, TimestampTz leased_at, TimestampTz answered_at, double seconds);
extern void pause_endpoint(const char *endpoint, double seconds, TimestampTz now);
extern void peek_buckets(StripeBuckets *all, Datum *endpoints, int count, TimestampTz now);
extern double token_in(const StripeBuckets *all, const StripeBucket *bucket, int16 lane, double ahead);
extern double seconds_of_pause(const StripeBucket *bucket, TimestampTz now);
extern double call_seconds(const StripeBucket *bucket);

/*-- stripe_estimate.c --*/

#define STRIPE_SOON_SECONDS 2.5	/* await_stripe waits for 3; half a second is left for what the estimate does not know */

extern double stripe_ready_in(const pg_uuid_t *request_id, TimestampTz now);

/*-- stripe_effects.c --*/

/* The final answer to a request. */
typedef struct StripeAnswer
{
	const char *kind;
	const pg_uuid_t *request_id;
	const pg_uuid_t *order_id;	/* NULL: it is about no order */
	const char *user_id;
	bool		failed;			/* it never succeeds; answer is what is kept of the error */
	Jsonb	   *answer;
	TimestampTz now;			/* when its effect is applied */
} StripeAnswer;

/* What a client is handed: it stands in stripe_handoff and nowhere else. */
typedef struct Handoff
{
	const char *client_secret;
	const char *ephemeral_key;
	const char *payment_methods;	/* JSON */
	const char *url;
	TimestampTz url_expires_at;
} Handoff;

extern void apply_stripe_answer(const StripeAnswer *call);
extern Datum kinds_stored_together(void);
extern char *answer_field(const StripeAnswer *call, const char *field);
extern void keep_for_client(const StripeAnswer *call, const Handoff *handoff);
extern uint64 forget_handoffs(TimestampTz now);

/* Effects, in the files of what they are about. */
extern void payment_intent_answered(const StripeAnswer *call);
extern void payment_creation_failed(const StripeAnswer *call);
extern void payment_cancel_failed(const StripeAnswer *call);
extern void payment_fetch_failed(const StripeAnswer *call);
extern void checkout_session_answered(const StripeAnswer *call);
extern void refund_answered(const StripeAnswer *call);
extern void refunds_listed(const StripeAnswer *call);
extern void refund_creation_failed(const StripeAnswer *call);
extern void dispute_answered(const StripeAnswer *call);
extern void dispute_fetch_failed(const StripeAnswer *call);
extern void reversal_answered(const StripeAnswer *call);
extern void reversal_failed(const StripeAnswer *call);
extern void retransfer_answered(const StripeAnswer *call);
extern void retransfer_failed(const StripeAnswer *call);
extern void payout_answered(const StripeAnswer *call);
extern void payout_fetch_failed(const StripeAnswer *call);

/*-- customers.c --*/

extern char *customer_of_user(const char *user_id);
extern char *mobile_api_version_argument(FunctionCallInfo fcinfo, int number);
extern const pg_uuid_t *need_customer_and_key(const NewStripeRequest *of, const char *email,
											  const char *mobile_api_version, TimestampTz now);
extern void customer_created(const StripeAnswer *call);
extern void ephemeral_key_created(const StripeAnswer *call);

/*-- payment_methods.c --*/

extern void setup_intent_created(const StripeAnswer *call);
extern void payment_methods_listed(const StripeAnswer *call);
extern void payment_method_checked(const StripeAnswer *call);

/*-- onboarding.c --*/

extern bool payee_says(Jsonb *account, TimestampTz now);
extern char *host_of_account(const char *stripe_account_id);
extern void fetch_account(const char *stripe_account_id, TimestampTz now);
extern void payee_left(const char *stripe_account_id, TimestampTz now);
extern void account_created(const StripeAnswer *call);
extern void account_answered(const StripeAnswer *call);
extern void account_link_created(const StripeAnswer *call);

/*-- settlement.c --*/

extern void balance_page_answered(const StripeAnswer *call);
extern void balance_page_failed(const StripeAnswer *call);

/*-- backfill.c --*/

extern void events_listed(const StripeAnswer *call);
extern void event_listing_failed(const StripeAnswer *call);

/*-- relay_complete.c --*/

#define UNKNOWN_AFTER_SECONDS (23 * 3600.0) /* Stripe forgets idempotency keys after a day */

extern StripeAnswer row_call(uint64 row, int column);
extern void finish_request(StripeAnswer *call, int status, const char *stripe_request_id, TimestampTz now);
extern int	sweep_unapplied_answers(int max_rows, TimestampTz now);
extern void fail_those_waiting(const pg_uuid_t *id, Jsonb *error, TimestampTz now);

/*-- stripe_lookup.c --*/

extern void resolve_unknown_requests(TimestampTz now);
extern void listing_answered(const StripeAnswer *call);
extern void listing_failed(const StripeAnswer *call);

/*-- stripe_events.c --*/

extern void apply_parked_events(const char *object_id, TimestampTz now);
extern const char *event_type(int number, bool *connected);
extern void hear_listed_event(Jsonb *json, const char *account, TimestampTz now);
extern int	sweep_parked_events(int max_objects, TimestampTz now);

#endif							/* DVNT_TICKETING_H */
