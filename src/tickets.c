/*
 * tickets.c
 *		Tickets: issuing those of an order, and the SQL face of their signed
 *		codes.
 *
 * Reads ticketing.orders, order_items and event_settings; writes
 * public.tickets and ticketing.order_tickets. verify_ticket, is_genuine_ticket
 * and sign_ticket read no table. The caller of issue_tickets holds the order's
 * lock.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "dvnt_ticketing.h"

KEPT_PLAN(read_items,
		  "SELECT i.item, i.ticket_type_id, i.quantity, i.price_cents, i.buyer_fee_cents, o.event_id, coalesce(s.suite, 1::smallint) "
		  "FROM ticketing.order_items i JOIN ticketing.orders o USING (order_id) "
		  "LEFT JOIN ticketing.event_settings s ON s.event_id = o.event_id "
		  "WHERE i.order_id = $1 ORDER BY i.item",
		  UUIDOID);
KEPT_PLAN(insert_tickets,
		  "WITH issued AS ("
		  "  INSERT INTO public.tickets (id, event_id, ticket_type_id, user_id, status, qr_token, stripe_checkout_session_id, stripe_payment_intent_id, "
		  "                              purchase_amount_cents, created_at, qr_payload) "
		  "  SELECT u.id, o.event_id, u.tier, o.user_id, 'active', u.token, o.checkout_session_id, o.payment_intent_id, u.amount, $8, u.payload "
		  "  FROM ticketing.orders o, unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::integer[]) AS u (id, tier, token, payload, amount) "
		  "  WHERE o.order_id = $1) "
		  "INSERT INTO ticketing.order_tickets (ticket_id, order_id, item, ordinal) "
		  "SELECT u.id, $1, u.item, row_number() OVER (PARTITION BY u.item ORDER BY u.position) "
		  "FROM unnest($2::uuid[], $7::smallint[]) WITH ORDINALITY AS u (id, item, position)",
		  UUIDOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID, INT2ARRAYOID, TIMESTAMPTZOID);

/* The tickets of an order as columns. */
typedef struct TicketColumns
{
	int			count;
	Datum	   *ids;
	Datum	   *tiers;
	Datum	   *tokens;
	Datum	   *payloads;
	Datum	   *amounts;
	Datum	   *items;
} TicketColumns;

/* Random bytes, or an error. */
static void
draw_random(void *bytes, size_t length)
{
	if (!pg_strong_random(bytes, length))
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random values")));
}

/* Signs, or refuses because no secret is configured. */
static text *
sign_payload(int suite, const pg_uuid_t *ticket_id, int32 event_id, const uint8_t nonce[QR_NONCE_BYTES])
{
	char		payload[QR_PAYLOAD_MAX_CHARS + 1];
	const char *error = NULL;

	require_ticket_keyring();
	if (qr_payload_sign(ticket_keyring(), suite, ticket_id->data, event_id, nonce, payload, &error) != QR_VALID)
		elog(ERROR, "could not sign ticket %s: %s", uuid_text(ticket_id), error ? error : "unknown error");
	return cstring_to_text(payload);
}

/* A new token: 64 random hex characters, which scanners of before know. */
Datum
new_ticket_token(void)
{
	uint8		bytes[32];
	char		hex[65];

	draw_random(bytes, sizeof(bytes));
	for (int i = 0; i < 32; i++)
		sprintf(hex + 2 * i, "%02x", bytes[i]);
	return CStringGetTextDatum(hex);
}

/* A new signed code of a ticket. */
Datum
new_ticket_payload(const pg_uuid_t *ticket_id, int32 event_id, int suite)
{
	uint8_t		nonce[QR_NONCE_BYTES];

	draw_random(nonce, sizeof(nonce));
	return PointerGetDatum(sign_payload(suite, ticket_id, event_id, nonce));
}

/* Makes up one ticket. */
static void
add_ticket(TicketColumns *columns, int16 item, const pg_uuid_t *tier, int32 event_id, int suite, int32 amount)
{
	pg_uuid_t  *id = new_uuid();
	int			n = columns->count++;

	columns->payloads[n] = new_ticket_payload(id, event_id, suite);
	columns->tokens[n] = new_ticket_token();
	columns->ids[n] = UUIDPGetDatum(id);
	columns->tiers[n] = UUIDPGetDatum(tier);
	columns->amounts[n] = Int32GetDatum(amount);
	columns->items[n] = Int16GetDatum(item);
}

/* Issues every ticket of an order. A second time is impossible: order_tickets is unique per place. */
void
issue_tickets(const pg_uuid_t *order_id, TimestampTz now)
{
	Datum		id = UUIDPGetDatum(order_id);
	uint64		rows = run_latest(&read_items, &id, NULL);
	TicketColumns columns = {0};
	int64		total = 0;
	Datum		values[8];

	require_ticket_keyring();
	for (uint64 row = 0; row < rows; row++)
		total += DatumGetInt32(row_datum(row, 3));
	columns.ids = palloc(sizeof(Datum) * total);
	columns.tiers = palloc(sizeof(Datum) * total);
	columns.tokens = palloc(sizeof(Datum) * total);
	columns.payloads = palloc(sizeof(Datum) * total);
	columns.amounts = palloc(sizeof(Datum) * total);
	columns.items = palloc(sizeof(Datum) * total);
	for (uint64 row = 0; row < rows; row++)
	{
		ArrayType  *fees = DatumGetArrayTypePCopy(row_datum(row, 5));
		int32	   *fee = (int32 *) ARR_DATA_PTR(fees);

		tally_tier(DatumGetUUIDP(row_datum(row, 2)), DatumGetInt32(row_datum(row, 3)));
		for (int k = 0; k < DatumGetInt32(row_datum(row, 3)); k++)
			add_ticket(&columns, DatumGetInt16(row_datum(row, 1)), DatumGetUUIDP(row_datum(row, 2)),
					   DatumGetInt32(row_datum(row, 6)), DatumGetInt16(row_datum(row, 7)),
					   DatumGetInt32(row_datum(row, 4)) + fee[k]);
	}
	values[0] = id;
	values[1] = uuid_array(columns.ids, columns.count);
	values[2] = uuid_array(columns.tiers, columns.count);
	values[3] = text_array(columns.tokens, columns.count);
	values[4] = text_array(columns.payloads, columns.count);
	values[5] = PointerGetDatum(construct_array(columns.amounts, columns.count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
	values[6] = PointerGetDatum(construct_array(columns.items, columns.count, INT2OID, sizeof(int16), true, TYPALIGN_SHORT));
	values[7] = TimestampTzGetDatum(now);
	run_latest(&insert_tickets, values, NULL);
}

/* The verdict on a code, without any table; refuses because no secret is configured. */
QrVerdict
verify_code(const char *code, size_t length, QrPayload *payload)
{
	QrVerdict	verdict;

	require_ticket_keyring();
	verdict = qr_payload_verify(ticket_keyring(), code, length, payload);
	if (verdict == QR_UNKNOWN_KEY && renew_ticket_keyring())
		verdict = qr_payload_verify(ticket_keyring(), code, length, payload);
	if (verdict == QR_FAILED)
		elog(ERROR, "could not verify a ticket's signature");
	return verdict;
}

static QrVerdict
judge(text *code, QrPayload *payload)
{
	return verify_code(VARDATA_ANY(code), VARSIZE_ANY_EXHDR(code), payload);
}

PG_FUNCTION_INFO_V1(dvnt_verify_ticket);

/* verify_ticket(payload) → valid, reason, ticket_id, event_id, key_id, suite */
Datum
dvnt_verify_ticket(PG_FUNCTION_ARGS)
{
	TupleDesc	description;
	QrPayload	payload;
	QrVerdict	verdict = QR_MALFORMED;
	Datum		values[6] = {0};
	bool		nulls[6] = {false, false, true, true, true, true};

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (!PG_ARGISNULL(0))
		verdict = judge(PG_GETARG_TEXT_PP(0), &payload);
	values[0] = BoolGetDatum(verdict == QR_VALID);
	if (verdict == QR_VALID)
	{
		pg_uuid_t  *id = palloc(sizeof(pg_uuid_t));

		memcpy(id->data, payload.ticket_id, UUID_LEN);
		nulls[1] = true;
		nulls[2] = nulls[3] = nulls[4] = nulls[5] = false;
		values[2] = UUIDPGetDatum(id);
		values[3] = Int32GetDatum(payload.event_id);
		values[4] = Int32GetDatum(payload.key_id);
		values[5] = Int32GetDatum(payload.suite);
	}
	else
		values[1] = CStringGetTextDatum(qr_verdict_name(verdict));
	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(description), values, nulls)));
}

PG_FUNCTION_INFO_V1(dvnt_is_genuine_ticket);

/* is_genuine_ticket(payload) → boolean; strict */
Datum
dvnt_is_genuine_ticket(PG_FUNCTION_ARGS)
{
	QrPayload	payload;

	PG_RETURN_BOOL(judge(PG_GETARG_TEXT_PP(0), &payload) == QR_VALID);
}

PG_FUNCTION_INFO_V1(dvnt_sign_ticket);

/* sign_ticket(ticket_id, event_id, nonce, suite) → text */
Datum
dvnt_sign_ticket(PG_FUNCTION_ARGS)
{
	bytea	   *nonce;
	int32		suite;

	require_argument(fcinfo, 0, "ticket_id");
	require_argument(fcinfo, 1, "event_id");
	require_argument(fcinfo, 2, "nonce");
	require_argument(fcinfo, 3, "suite");
	nonce = PG_GETARG_BYTEA_PP(2);
	suite = PG_GETARG_INT32(3);
	if (VARSIZE_ANY_EXHDR(nonce) != QR_NONCE_BYTES)
		refuse(BAD_REQUEST, "\"argument\": \"nonce\"", "Use gen_random_bytes(8) or the like.",
			   "nonce has %d bytes, not %d", (int) VARSIZE_ANY_EXHDR(nonce), QR_NONCE_BYTES);
	if (suite != QR_SUITE_HMAC && suite != QR_SUITE_ED25519)
		refuse(BAD_REQUEST, "\"argument\": \"suite\"", "1 is HMAC-SHA-256, 2 is Ed25519.",
			   "suite %d is unknown", suite);
	PG_RETURN_TEXT_P(sign_payload(suite, PG_GETARG_UUID_P(0), PG_GETARG_INT32(1),
								  (const uint8_t *) VARDATA_ANY(nonce)));
}
