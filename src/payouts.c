/*
 * payouts.c
 *		What Stripe pays out to organizers' banks: kept as it says, booked, and
 *		divided over the organizer's events, because Stripe pays an account and
 *		not an event.
 *
 * A payout leaves the balance when it is made and comes back when it fails or is
 * canceled. It pays for the oldest events first whose money is still there by
 * the ledger; what the ledger cannot explain is the newest event's. Reads and
 * writes ticketing.payouts and payout_events; reads ledger, payees,
 * event_settings, stripe_requests and public.events; writes public.payouts,
 * which shows a row for each event. Locks: the host, then rows of public.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

/* What an account is paid out is about no single event. */
#define NO_EVENT 0

KEPT_PLAN(account_of_request, "SELECT stripe_account, path FROM ticketing.stripe_requests WHERE id = $1", UUIDOID);
KEPT_PLAN(find_payout, "SELECT status FROM ticketing.payouts WHERE payout_id = $1", TEXTOID);
KEPT_PLAN(keep_payout,
		  "INSERT INTO ticketing.payouts AS p (payout_id, payee_account, host_id, amount_cents, currency, status, failure_code, arrival_date, created_at, updated_at) "
		  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) "
		  "ON CONFLICT (payout_id) DO UPDATE SET status = excluded.status, failure_code = excluded.failure_code, arrival_date = excluded.arrival_date, updated_at = excluded.updated_at",
		  TEXTOID, TEXTOID, TEXTOID, INT8OID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID);

/*
 * The events of an account's hosts, oldest first: what is left of each for the
 * organizer, the same before fees, and whether anything was ever booked for it.
 */
KEPT_PLAN(unpaid_events,
		  "SELECT e.id, coalesce(l.net, 0)::bigint - coalesce(d.net, 0)::bigint, coalesce(l.gross, 0)::bigint - coalesce(d.gross, 0)::bigint, l.net IS NOT NULL "
		  "FROM ticketing.payees p JOIN ticketing.event_settings s ON s.host_id = p.host_id JOIN public.events e ON e.id = s.event_id "
		  "CROSS JOIN LATERAL (SELECT sum(CASE k.to_account WHEN 'organizer' THEN k.amount_cents ELSE -k.amount_cents END) AS net, "
		  "    sum(CASE WHEN k.kind LIKE '%\\_fee%' THEN 0 WHEN k.to_account = 'organizer' THEN k.amount_cents ELSE -k.amount_cents END) AS gross "
		  "  FROM ticketing.ledger k WHERE k.event_id = e.id AND k.payee_account = $1 AND k.currency = $2 AND 'organizer' IN (k.from_account, k.to_account)) l "
		  "CROSS JOIN LATERAL (SELECT sum(v.amount_cents) AS net, sum(v.gross_cents) AS gross FROM ticketing.payout_events v JOIN ticketing.payouts o ON o.payout_id = v.payout_id "
		  "  WHERE v.event_id = e.id AND o.payee_account = $1 AND o.currency = $2 AND o.status NOT IN ('failed', 'canceled')) d "
		  "WHERE p.stripe_account_id = $1 ORDER BY e.start_date NULLS LAST, e.id",
		  TEXTOID, TEXTOID);
KEPT_PLAN(keep_part,
		  "INSERT INTO ticketing.payout_events (payout_id, event_id, amount_cents, gross_cents, public_id) VALUES ($1, $2, $3, $4, gen_random_uuid())",
		  TEXTOID, INT4OID, INT8OID, INT8OID);
/* Amounts that the application's column cannot hold are not shown. */
KEPT_PLAN(project_parts,
		  "INSERT INTO public.payouts (id, event_id, host_id, stripe_payout_id, status, gross_cents, net_cents, release_at, created_at) "
		  "SELECT v.public_id, v.event_id, s.host_id, v.payout_id, $2, CASE WHEN abs(v.gross_cents) < 2147483648 THEN v.gross_cents END, CASE WHEN abs(v.amount_cents) < 2147483648 THEN v.amount_cents END, $3, $4 "
		  "FROM ticketing.payout_events v JOIN ticketing.event_settings s ON s.event_id = v.event_id WHERE v.payout_id = $1",
		  TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID);
KEPT_PLAN(project_status,
		  "UPDATE public.payouts o SET status = $2, release_at = $3 FROM ticketing.payout_events v WHERE v.payout_id = $1 AND o.id = v.public_id",
		  TEXTOID, TEXTOID, TIMESTAMPTZOID);

/* Stripe's states: a payout goes on to a higher rank only. What was paid may fail yet: the bank sends it back. */
static const struct
{
	const char *status;
	int			rank;
	const char *public_status;
	bool		given_back;		/* the money is in the balance again */
}			statuses[] = {
	{"pending", 1, "pending", false},
	{"in_transit", 2, "pending", false},
	{"paid", 3, "paid", false},
	{"canceled", 4, "failed", true},
	{"failed", 4, "failed", true},
};

/* A payout as Stripe shows it. */
typedef struct Payout
{
	char	   *id;
	char	   *account;
	char	   *host_id;
	int64		amount_cents;	/* below zero: Stripe takes from the bank what the balance lacks */
	char	   *currency;
	int			status;			/* among statuses */
	char	   *failure_code;
	TimestampTz arrival_date;
	TimestampTz created_at;
} Payout;

/* Stripe says something of a payout of an organizer's account: it is asked how it stands. */
void
fetch_payout(const char *payout_id, const char *payee_account, TimestampTz now)
{
	NewStripeRequest request = {
		.kind = "get_payout", .lane = STRIPE_LANE_RECONCILE, .method = "GET", .path = psprintf("/v1/payouts/%s", payout_id), .params = "{}",
		.stripe_account = payee_account, .user_id = host_of_account(payee_account)
	};

	enqueue_stripe_request(&request, now);
}

static int
status_by_name(const char *name)
{
	for (int i = 0; i < lengthof(statuses); i++)
		if (strcmp(statuses[i].status, name) == 0)
			return i;
	ereport(ERROR, (errcode(ERRCODE_DATA_EXCEPTION), errmsg("a payout has no status \"%s\"", name)));
}

/* A share of an event's amount before fees, in proportion to what is taken of the amount after them. */
static int64
gross_of_part(int64 gross, int64 part, int64 unpaid)
{
	int64		weights[2] = {part, unpaid - part};
	int64		shares[2];

	if (gross < 0 || !largest_remainder_shares(gross, weights, 2, shares))
		return part;
	return shares[0];
}

/* A part of a payout. */
typedef struct PayoutPart
{
	int32		event_id;
	int64		unpaid;
	int64		unpaid_gross;
	bool		booked;			/* the ledger knows of the event */
	int64		amount;
	int64		gross;
} PayoutPart;

/* Divides an amount over events, oldest first; what they do not explain is the newest one's of which the ledger knows, or the newest one's. */
static void
divide(int64 amount, PayoutPart *parts, int count)
{
	int			newest = count - 1;

	for (int i = 0; i < count; i++)
	{
		if (parts[i].booked)
			newest = i;
		parts[i].amount = amount > 0 && parts[i].unpaid > 0 ? Min(amount, parts[i].unpaid) : 0;
		parts[i].gross = parts[i].amount > 0 ? gross_of_part(parts[i].unpaid_gross, parts[i].amount, parts[i].unpaid) : 0;
		amount -= parts[i].amount;
	}
	if (newest < 0)
		return;
	parts[newest].amount += amount;
	parts[newest].gross += amount;
}

/* Divides a new payout over its account's events. */
static void
divide_payout(const Payout *payout)
{
	Datum		values[4] = {CStringGetTextDatum(payout->account), CStringGetTextDatum(payout->currency)};
	int			count = (int) run_latest(&unpaid_events, values, NULL);
	PayoutPart *parts = palloc0(sizeof(PayoutPart) * (count + 1));

	for (int i = 0; i < count; i++)
		parts[i] = (PayoutPart) {
			.event_id = DatumGetInt32(row_datum(i, 1)), .unpaid = DatumGetInt64(row_datum(i, 2)),
			.unpaid_gross = DatumGetInt64(row_datum(i, 3)), .booked = DatumGetBool(row_datum(i, 4))
		};
	divide(payout->amount_cents, parts, count);
	values[0] = CStringGetTextDatum(payout->id);
	for (int i = 0; i < count; i++)
	{
		if (parts[i].amount == 0)
			continue;
		values[1] = Int32GetDatum(parts[i].event_id);
		values[2] = Int64GetDatum(parts[i].amount);
		values[3] = Int64GetDatum(parts[i].gross);
		run_latest(&keep_part, values, NULL);
	}
}

/* Books that it left the balance, and that it came back. One that takes from the bank goes the other way. */
static void
book_payout(const Payout *payout, bool given_back, TimestampTz now)
{
	LedgerKind	out = payout->amount_cents >= 0 ? LEDGER_PAYOUT : LEDGER_PAYOUT_FAILURE;
	LedgerKind	back = payout->amount_cents >= 0 ? LEDGER_PAYOUT_FAILURE : LEDGER_PAYOUT;

	int64		cents = llabs(payout->amount_cents);

	ledger_book_payee(payout->account, payout->currency, payout->id,
					  (const LedgerLine[]) {{out, cents}, {back, given_back ? cents : 0}}, 2, now);
}

static void
keep(const Payout *payout, TimestampTz now)
{
	char		nulls[11] = "          ";
	Datum		values[10] = {
		CStringGetTextDatum(payout->id), CStringGetTextDatum(payout->account), CStringGetTextDatum(payout->host_id), Int64GetDatum(payout->amount_cents),
		CStringGetTextDatum(payout->currency), CStringGetTextDatum(statuses[payout->status].status)
	};

	values[6] = text_or_null(payout->failure_code, &nulls[6]);
	values[7] = TimestampTzGetDatum(payout->arrival_date);
	values[8] = TimestampTzGetDatum(payout->created_at);
	values[9] = TimestampTzGetDatum(now);
	run_latest(&keep_payout, values, nulls);
}

/* Hears how a payout stands. The host's lock divides his payouts one after another. */
static void
hear_payout(const Payout *payout, TimestampTz now)
{
	Datum		values[4] = {
		CStringGetTextDatum(payout->id), CStringGetTextDatum(statuses[payout->status].public_status),
		TimestampTzGetDatum(payout->arrival_date), TimestampTzGetDatum(payout->created_at)
	};
	bool		is_new;

	lock_user(payout->host_id, NO_EVENT);
	is_new = run_latest(&find_payout, values, NULL) == 0;
	if (!is_new && statuses[payout->status].rank <= statuses[status_by_name(row_text(0, 1))].rank)
		return;
	if (is_new)
		divide_payout(payout);
	keep(payout, now);
	book_payout(payout, statuses[payout->status].given_back, now);
	declare_lock(RANK_PUBLIC);
	run_latest(is_new ? &project_parts : &project_status, values, NULL);
}

/* get_payout */
void
payout_answered(const StripeAnswer *call)
{
	Datum		request = UUIDPGetDatum(call->request_id);
	Payout		payout = {.id = answer_field(call, "id"), .currency = answer_field(call, "currency"), .status = status_by_name(answer_field(call, "status"))};
	int64		arrival;
	int64		created;

	if (run_latest(&account_of_request, &request, NULL) == 0 || (payout.account = row_text(0, 1)) == NULL)
		elog(ERROR, "request %s names no account", uuid_text(call->request_id));
	/* nobody's any more */
	payout.host_id = host_of_account(payout.account);
	if (payout.host_id == NULL)
		return;
	if (!json_int_at(call->answer, JSON_PATH("arrival_date"), &arrival) || !json_int_at(call->answer, JSON_PATH("created"), &created) ||
		!json_int_at(call->answer, JSON_PATH("amount"), &payout.amount_cents))
	{
		/* applied late: of the answer only some fields are left */
		fetch_payout(payout.id, payout.account, call->now);
		return;
	}
	payout.failure_code = json_string_at(call->answer, JSON_PATH("failure_code"));
	payout.arrival_date = time_t_to_timestamptz((pg_time_t) arrival);
	payout.created_at = time_t_to_timestamptz((pg_time_t) created);
	hear_payout(&payout, call->now);
}

/* Stripe will not say how a payout stands. */
void
payout_fetch_failed(const StripeAnswer *call)
{
	Datum		request = UUIDPGetDatum(call->request_id);
	const char *path = run_latest(&account_of_request, &request, NULL) > 0 ? row_text(0, 2) : "/v1/payouts/";

	record_finding("payout_not_readable", psprintf("payouts/%s", path + strlen("/v1/payouts/")), JsonbToCString(NULL, &call->answer->root, VARSIZE(call->answer)), call->now);
}
