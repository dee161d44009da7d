/*
 * checkout_session.c
 *		What Stripe's own payment page is told of an order.
 *
 * Reads ticketing.order_items, public.ticket_types and events. Takes no lock.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

KEPT_PLAN(lines_of_order,
		  "SELECT concat_ws(', ', nullif(e.title, ''), nullif(t.name, '')), i.quantity, i.price_cents "
		  "FROM ticketing.order_items i JOIN public.ticket_types t ON t.id = i.ticket_type_id JOIN public.events e ON e.id = t.event_id WHERE i.order_id = $1 ORDER BY i.item",
		  UUIDOID);

/* Appends a line to an array of them. */
static void
add_line(StringInfo lines, const char *name, const char *currency, int32 unit_amount, int32 quantity)
{
	Answer		line;
	Answer		price;
	Answer		product;

	answer_begin(&product);
	answer_text(&product, "name", *name != '\0' ? name : "Ticket");
	answer_begin(&price);
	answer_text(&price, "currency", currency);
	answer_int(&price, "unit_amount", unit_amount);
	answer_raw(&price, "product_data", answer_end(&product));
	answer_begin(&line);
	answer_raw(&line, "price_data", answer_end(&price));
	answer_int(&line, "quantity", quantity);
	appendStringInfo(lines, "%s%s", lines->len > 1 ? ", " : "", answer_end(&line));
}

/* The page's lines: a line per tier that costs something, and the buyer's fee. */
static const char *
page_lines(const CheckoutPage *page)
{
	Datum		id = UUIDPGetDatum(page->order_id);
	uint64		rows = run_latest(&lines_of_order, &id, NULL);
	StringInfoData lines;

	initStringInfo(&lines);
	appendStringInfoChar(&lines, '[');
	for (uint64 row = 0; row < rows; row++)
		if (DatumGetInt32(row_datum(row, 3)) > 0)
			add_line(&lines, row_text(row, 1), page->currency, DatumGetInt32(row_datum(row, 3)), DatumGetInt32(row_datum(row, 2)));
	if (page->quote->buyer_fee_cents > 0)
		add_line(&lines, "Service fee", page->currency, page->quote->buyer_fee_cents, 1);
	appendStringInfoChar(&lines, ']');
	return lines.data;
}

/* The parameters of a Checkout Session that ends in a destination charge; when it ends is written when it is sent. */
const char *
checkout_session_params(const CheckoutPage *page)
{
	Answer		params;
	Answer		payment;
	Answer		nested;
	const char *metadata;

	answer_begin(&nested);
	answer_uuid(&nested, "order_id", page->order_id);
	answer_text(&nested, "event_id", psprintf("%d", page->event_id));
	metadata = answer_end(&nested);
	answer_begin(&nested);
	answer_text(&nested, "destination", page->payee_account);
	answer_begin(&payment);
	answer_int(&payment, "application_fee_amount", page->quote->application_fee_cents);
	answer_raw(&payment, "transfer_data", answer_end(&nested));
	answer_raw(&payment, "metadata", metadata);
	if (page->email != NULL)
		answer_text(&payment, "receipt_email", page->email);

	answer_begin(&params);
	answer_text(&params, "mode", "payment");
	answer_text(&params, "client_reference_id", uuid_text(page->order_id));
	answer_raw(&params, "line_items", page_lines(page));
	answer_raw(&params, "payment_intent_data", answer_end(&payment));
	answer_raw(&params, "metadata", metadata);
	answer_text(&params, "success_url", page->success_url);
	if (page->cancel_url != NULL)
		answer_text(&params, "cancel_url", page->cancel_url);
	return answer_end(&params);
}
