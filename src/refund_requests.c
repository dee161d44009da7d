/*
 * refund_requests.c
 *		Buyers ask for their money back; organizers approve or deny it, within the
 *		event's refund policy.
 *
 * Reads and writes ticketing.refund_requests, projected onto
 * public.refund_requests under the same id, and the policy in event_settings.
 * Locks: the actor, the order, then what refund_orders.c takes.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"
#include "refunds.h"

#define MAX_HOURS_BEFORE 87600

KEPT_PLAN(order_of_user,
		  "SELECT event_id FROM ticketing.orders WHERE order_id = $1 AND user_id = $2", UUIDOID, TEXTOID);
KEPT_PLAN(read_policy,
		  "SELECT s.refund_policy, coalesce(s.doors_open, e.start_date) FROM ticketing.event_settings s LEFT JOIN public.events e ON e.id = s.event_id WHERE s.event_id = $1", INT4OID);
KEPT_PLAN(write_policy,
		  "UPDATE ticketing.event_settings SET refund_policy = $2 WHERE event_id = $1", INT4OID, JSONBOID);
/* What of the tickets asked for could be given back, and what stands in the way. */
KEPT_PLAN(asked_tickets,
		  "SELECT array_agg(k.ticket_id ORDER BY k.ticket_id), coalesce(sum(i.price_cents + i.buyer_fee_cents[k.ordinal]), 0)::integer, "
		  "  bool_or(EXISTS (SELECT FROM public.tickets t WHERE t.id = k.ticket_id AND t.status = 'scanned') "
		  "    OR EXISTS (SELECT FROM ticketing.checkins c WHERE c.ticket_id = k.ticket_id AND c.moved AND c.undone_at IS NULL)), "
		  "  bool_or(EXISTS (SELECT FROM ticketing.refund_tickets r WHERE r.ticket_id = k.ticket_id AND NOT r.failed)), count(*) "
		  "FROM ticketing.order_tickets k JOIN ticketing.order_items i USING (order_id, item) "
		  "WHERE k.order_id = $1 AND ($2 IS NULL AND NOT EXISTS (SELECT FROM ticketing.refund_tickets r WHERE r.ticket_id = k.ticket_id AND NOT r.failed) OR k.ticket_id = ANY ($2))",
		  UUIDOID, UUIDARRAYOID);
KEPT_PLAN(asked_before,
		  "SELECT refund_request_id FROM ticketing.refund_requests WHERE order_id = $1 AND state = 'pending' AND ticket_ids && $2", UUIDOID, UUIDARRAYOID);
KEPT_PLAN(insert_request,
		  "WITH made AS (INSERT INTO ticketing.refund_requests (refund_request_id, order_id, event_id, user_id, ticket_ids, reason, notes, amount_cents, created_at) "
		  "  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)) "
		  "INSERT INTO public.refund_requests (id, order_id, user_id, status, reason, notes, amount_cents, created_at) VALUES ($1, $2, $4, 'pending', $6, $7, $8, $9)",
		  UUIDOID, UUIDOID, INT4OID, TEXTOID, UUIDARRAYOID, TEXTOID, TEXTOID, INT4OID, TIMESTAMPTZOID);
KEPT_PLAN(find_request,
		  "SELECT order_id, state, ticket_ids, reason, amount_cents FROM ticketing.refund_requests WHERE refund_request_id = $1", UUIDOID);
KEPT_PLAN(request_of_before,
		  "SELECT r.status FROM public.refund_requests r WHERE r.id = $1", UUIDOID);
KEPT_PLAN(decide,
		  "WITH decided AS (UPDATE ticketing.refund_requests SET state = $2, refund_id = $3, decided_by = $4, decision = $5, decided_at = $6 WHERE refund_request_id = $1) "
		  "UPDATE public.refund_requests SET status = $2, resolved_at = CASE WHEN $2 <> 'approved' THEN $6 END WHERE id = $1",
		  UUIDOID, TEXTOID, UUIDOID, TEXTOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(list_requests,
		  "SELECT refund_request_id, order_id, user_id, ticket_ids, reason, notes, amount_cents, state, refund_id, decided_by, decision, created_at, decided_at "
		  "FROM ticketing.refund_requests WHERE event_id = $1 ORDER BY created_at, refund_request_id",
		  INT4OID);

/* An event's policy. */
typedef struct RefundPolicy
{
	bool		requests;		/* buyers may ask */
	bool		at_once;		/* what they may ask for is approved at once */
	TimestampTz deadline;		/* DT_NOEND: none */
} RefundPolicy;

static void
refuse_policy(const char *what)
{
	refuse(BAD_REQUEST, "\"argument\": \"policy\"",
		   "policy is {\"requests\": boolean, \"automatic\": boolean, \"hours_before\": whole number from 0, \"until\": a time}, each optional.", "%s", what);
}

/* Refuses what is no policy. */
static void
check_policy(Jsonb *policy)
{
	JsonbIterator *iterator;
	JsonbValue	value;
	JsonbIteratorToken token;
	const char *member = NULL;
	int64		hours;
	TimestampTz at;

	if (!JB_ROOT_IS_OBJECT(policy))
		refuse_policy("policy is not an object");
	iterator = JsonbIteratorInit(&policy->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			member = pnstrdup(value.val.string.val, value.val.string.len);
		if (token != WJB_VALUE)
			continue;
		if (strcmp(member, "requests") == 0 || strcmp(member, "automatic") == 0)
		{
			if (value.type != jbvBool)
				refuse_policy(psprintf("\"%s\" is not a boolean", member));
		}
		else if (strcmp(member, "hours_before") == 0)
		{
			if (!json_int_at(policy, &member, 1, &hours) || hours < 0 || hours > MAX_HOURS_BEFORE)
				refuse_policy("\"hours_before\" is not a whole number of hours up to ten years");
		}
		else if (strcmp(member, "until") == 0)
		{
			if (value.type != jbvString || !time_from_text(pnstrdup(value.val.string.val, value.val.string.len), &at))
				refuse_policy("\"until\" is not a time");
		}
		else
			refuse_policy(psprintf("policy has an unknown member \"%s\"", member));
	}
}

/* An event's policy: buyers may ask until the doors open, unless it says otherwise. */
static RefundPolicy
policy_of_event(int32 event_id)
{
	RefundPolicy policy = {.requests = true, .deadline = DT_NOEND};
	Datum		event = Int32GetDatum(event_id);
	Jsonb	   *json;
	char	   *until;
	int64		hours = 0;
	TimestampTz at;

	if (run_latest(&read_policy, &event, NULL) == 0)
		return policy;
	if (!row_is_null(0, 2))
		policy.deadline = DatumGetTimestampTz(row_datum(0, 2));
	json = DatumGetJsonbPCopy(row_datum(0, 1));
	if (!JB_ROOT_IS_OBJECT(json))
		return policy;
	(void) json_bool_at(json, JSON_PATH("requests"), &policy.requests);
	(void) json_bool_at(json, JSON_PATH("automatic"), &policy.at_once);
	if (json_int_at(json, JSON_PATH("hours_before"), &hours) && policy.deadline != DT_NOEND)
		policy.deadline = add_seconds(policy.deadline, -3600.0 * hours);
	until = json_string_at(json, JSON_PATH("until"));
	if (until != NULL && time_from_text(until, &at))
		policy.deadline = Min(policy.deadline, at);
	return policy;
}

/* A request as it is decided. */
typedef struct RefundRequest
{
	pg_uuid_t	id;
	pg_uuid_t	order_id;
	char	   *state;
	ArrayType  *ticket_ids;
	char	   *reason;
	int32		amount_cents;
} RefundRequest;

static Datum
write_decision(const RefundRequest *request, const char *state, const pg_uuid_t *refund_id, const char *actor, const char *note, TimestampTz now)
{
	char		nulls[7] = "      ";
	Datum		values[6] = {UUIDPGetDatum(&request->id), CStringGetTextDatum(state), UUIDPGetDatum(refund_id), CStringGetTextDatum(actor), text_or_null(note, &nulls[4]), TimestampTzGetDatum(now)};

	nulls[2] = refund_id ? ' ' : 'n';
	declare_lock(RANK_PUBLIC);
	run_latest(&decide, values, nulls);
	return values[0];
}

/* Makes the refund of a request and notes it there. */
static void
approve(LockedOrder *order, RefundRequest *request, const char *actor, const char *note, bool force, RefundMade *made, TimestampTz now)
{
	/* a request because it was paid twice is a request like another: payments that came twice are given back by themselves */
	const char *reason = strcmp(request->reason, "duplicate") == 0 ? "requested_by_customer" : request->reason;

	refund_tickets(order, request->ticket_ids, reason, actor, force, made, now);
	/* free tickets are given back already */
	write_decision(request, strcmp(made->state, "succeeded") == 0 ? "processed" : "approved", &made->refund_id, actor, note, now);
}

static Datum
request_answer(const RefundRequest *request, const LockedOrder *order, const char *state, const RefundMade *made)
{
	Answer		answer;
	Answer		refund;

	answer_begin(&answer);
	answer_uuid(&answer, "refund_request_id", &request->id);
	answer_uuid(&answer, "order_id", &order->order_id);
	answer_text(&answer, "state", state);
	answer_int(&answer, "amount_cents", made ? made->amount_cents : request->amount_cents);
	answer_text(&answer, "currency", order->currency);
	if (made != NULL)
	{
		answer_begin(&refund);
		answer_refund(&refund, order, made);
		answer_raw(&answer, "refund", answer_end(&refund));
	}
	return answer_jsonb(&answer);
}

/* Refuses what the policy forbids, or what makes no sense. */
static void
check_request(const LockedOrder *order, const RefundPolicy *policy, RefundRequest *request, ArrayType *ticket_ids, TimestampTz now)
{
	char	   *figures = psprintf("\"order_id\": \"%s\"", uuid_text(&order->order_id));
	Datum		values[2] = {UUIDPGetDatum(&order->order_id), PointerGetDatum(ticket_ids)};

	if (order->state != ORDER_PAID && order->state != ORDER_PARTIALLY_REFUNDED && order->state != ORDER_REFUND_FAILED)
		refuse(order->state == ORDER_REFUNDED || order->state == ORDER_REFUNDING ? ALREADY_DONE : WRONG_STATE,
			   psprintf("%s, \"state\": \"%s\"", figures, order_state_name(order->state)), NULL, "order %s has nothing to be refunded", uuid_text(&order->order_id));
	if (!policy->requests)
		refuse(NOT_ALLOWED, figures, "Ask the organizer.", "event %d takes no refund requests", order->event_id);
	if (now >= policy->deadline)
		refuse(NOT_ALLOWED, psprintf("%s, \"deadline\": \"%s\"", figures, timestamptz_to_str(policy->deadline)), "Ask the organizer.",
			   "the time to ask for a refund of event %d is over", order->event_id);
	run_latest(&asked_tickets, values, ticket_ids ? NULL : " n");
	if (ticket_ids != NULL && DatumGetInt64(row_datum(0, 5)) != ArrayGetNItems(ARR_NDIM(ticket_ids), ARR_DIMS(ticket_ids)))
		refuse(NOT_FOUND, figures, "Name tickets of this order, each once.", "some of the tickets are not of order %s", uuid_text(&order->order_id));
	if (row_is_null(0, 1) || DatumGetBool(row_datum(0, 4)))
		refuse(ALREADY_DONE, figures, NULL, "the tickets are refunded or about to be");
	if (DatumGetBool(row_datum(0, 3)))
		refuse(NOT_ALLOWED, psprintf("%s, \"checked_in\": true", figures), "Ask the organizer.", "a ticket that has been checked in is not refunded");
	request->ticket_ids = DatumGetArrayTypePCopy(row_datum(0, 1));
	request->amount_cents = DatumGetInt32(row_datum(0, 2));
	values[1] = PointerGetDatum(request->ticket_ids);
	if (run_latest(&asked_before, values, NULL) > 0)
		refuse(ALREADY_DONE, psprintf("%s, \"refund_request_id\": \"%s\"", figures, row_uuid_text(0, 1)), NULL, "a refund of the tickets is asked for already");
}

PG_FUNCTION_INFO_V1(dvnt_request_refund);

/* request_refund(order_id, user_id, ticket_ids, reason, notes, request_id) → jsonb */
Datum
dvnt_request_refund(PG_FUNCTION_ARGS)
{
	static const char *const reasons[] = {"duplicate", "fraudulent", "requested_by_customer", "other"};
	char	   *user_id = text_argument(fcinfo, 1, "user_id");
	ArrayType  *ticket_ids = ticket_ids_argument(fcinfo, 2);
	char	   *notes = optional_text(fcinfo, 4);
	RefundRequest request = {.id = *new_uuid(), .reason = text_argument(fcinfo, 3, "reason")};
	RememberedCall remembered;
	LockedOrder order;
	RefundPolicy policy;
	RefundMade	made;
	Datum		values[9];
	bool		known = false;
	TimestampTz now;
	Datum		result;

	require_argument(fcinfo, 0, "order_id");
	for (int i = 0; i < lengthof(reasons); i++)
		known |= strcmp(reasons[i], request.reason) == 0;
	if (!known)
		refuse(BAD_REQUEST, "\"argument\": \"reason\"", "Use duplicate, fraudulent, requested_by_customer or other.", "reason \"%s\" is unknown", request.reason);
	request.order_id = *PG_GETARG_UUID_P(0);
	begin_command();
	remembered_call(&remembered, "request_refund", user_id, optional_text(fcinfo, 5),
					psprintf("%s %s %s %s", uuid_text(&request.order_id), ticket_ids_text(ticket_ids), request.reason, notes ? notes : ""));
	values[0] = UUIDPGetDatum(&request.order_id);
	values[1] = CStringGetTextDatum(user_id);
	if (run_latest(&order_of_user, values, NULL) == 0)
		refuse(NOT_FOUND, psprintf("\"order_id\": \"%s\"", uuid_text(&request.order_id)), NULL, "order %s does not exist", uuid_text(&request.order_id));
	lock_user(user_id, DatumGetInt32(row_datum(0, 1)));
	lock_order(&request.order_id, &order);
	if (!recall_answer(&remembered, &result))
	{
		char		nulls[10] = "         ";

		now = engine_now();
		policy = policy_of_event(order.event_id);
		check_request(&order, &policy, &request, ticket_ids, now);
		values[0] = UUIDPGetDatum(&request.id);
		values[1] = UUIDPGetDatum(&order.order_id);
		values[2] = Int32GetDatum(order.event_id);
		values[3] = CStringGetTextDatum(user_id);
		values[4] = PointerGetDatum(request.ticket_ids);
		values[5] = CStringGetTextDatum(request.reason);
		values[6] = text_or_null(notes, &nulls[6]);
		values[7] = Int32GetDatum(request.amount_cents);
		values[8] = TimestampTzGetDatum(now);
		run_latest(&insert_request, values, nulls);
		if (policy.at_once)
			approve(&order, &request, user_id, "automatic", false, &made, now);
		result = request_answer(&request, &order, policy.at_once ? "approved" : "pending", policy.at_once ? &made : NULL);
		remember_answer(&remembered, result);
	}
	result = SPI_datumTransfer(result, false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/* Finds the request that is to be decided; its order is locked, and the actor may decide. */
static void
lock_request(const pg_uuid_t *id, const char *actor, RefundRequest *request, LockedOrder *order)
{
	Datum		value = UUIDPGetDatum(id);
	char	   *figures = psprintf("\"refund_request_id\": \"%s\"", uuid_text(id));

	request->id = *id;
	if (run_latest(&find_request, &value, NULL) == 0)
	{
		if (run_latest(&request_of_before, &value, NULL) > 0)
			refuse(WRONG_STATE, figures, "It was not made by request_refund: decide about the order itself, with refund_order, or at Stripe if the order is from before the engine.",
				   "refund request %s is not the engine's", uuid_text(id));
		refuse(NOT_FOUND, figures, NULL, "refund request %s does not exist", uuid_text(id));
	}
	request->order_id = *DatumGetUUIDP(row_datum(0, 1));
	lock_order_of_event(&request->order_id, actor, order);
	run_latest(&find_request, &value, NULL);
	request->state = row_text(0, 2);
	request->ticket_ids = DatumGetArrayTypePCopy(row_datum(0, 3));
	request->reason = row_text(0, 4);
	request->amount_cents = DatumGetInt32(row_datum(0, 5));
	if (strcmp(request->state, "pending") != 0)
		refuse(ALREADY_DONE, psprintf("%s, \"state\": \"%s\"", figures, request->state), NULL, "refund request %s is %s", uuid_text(id), request->state);
}

PG_FUNCTION_INFO_V1(dvnt_approve_refund);

/* approve_refund(refund_request_id, actor, note, force) → jsonb */
Datum
dvnt_approve_refund(PG_FUNCTION_ARGS)
{
	char	   *actor = text_argument(fcinfo, 1, "actor");
	RefundRequest request = {0};
	LockedOrder order;
	RefundMade	made;
	Datum		result;

	require_argument(fcinfo, 0, "refund_request_id");
	begin_command();
	lock_request(PG_GETARG_UUID_P(0), actor, &request, &order);
	approve(&order, &request, actor, optional_text(fcinfo, 2), !PG_ARGISNULL(3) && PG_GETARG_BOOL(3), &made, engine_now());
	result = SPI_datumTransfer(request_answer(&request, &order, strcmp(made.state, "succeeded") == 0 ? "processed" : "approved", &made), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

PG_FUNCTION_INFO_V1(dvnt_deny_refund);

/* deny_refund(refund_request_id, actor, note) → jsonb */
Datum
dvnt_deny_refund(PG_FUNCTION_ARGS)
{
	char	   *actor = text_argument(fcinfo, 1, "actor");
	RefundRequest request = {0};
	LockedOrder order;
	Datum		result;

	require_argument(fcinfo, 0, "refund_request_id");
	begin_command();
	lock_request(PG_GETARG_UUID_P(0), actor, &request, &order);
	write_decision(&request, "denied", NULL, actor, optional_text(fcinfo, 2), engine_now());
	result = SPI_datumTransfer(request_answer(&request, &order, "denied", NULL), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

PG_FUNCTION_INFO_V1(dvnt_refund_requests);

/* refund_requests(event_id, actor) → rows */
Datum
dvnt_refund_requests(PG_FUNCTION_ARGS)
{
	return rows_about_event(fcinfo, &list_requests, "view");
}

PG_FUNCTION_INFO_V1(dvnt_save_refund_policy);

/* save_refund_policy(event_id, actor, policy) → jsonb */
Datum
dvnt_save_refund_policy(PG_FUNCTION_ARGS)
{
	char	   *actor = text_argument(fcinfo, 1, "actor");
	Datum		values[2];
	Datum		result;

	require_argument(fcinfo, 0, "event_id");
	require_argument(fcinfo, 2, "policy");
	check_policy(PG_GETARG_JSONB_P(2));
	begin_command();
	require_permission(PG_GETARG_INT32(0), actor, "admin");
	values[0] = PG_GETARG_DATUM(0);
	values[1] = PG_GETARG_DATUM(2);
	if (run_latest(&write_policy, values, NULL) == 0)
		refuse_unknown_event(PG_GETARG_INT32(0));
	result = SPI_datumTransfer(values[1], false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
