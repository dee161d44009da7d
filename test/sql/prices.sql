-- Quotes: mixed carts, currencies, the smallest price; what an order freezes and how its fees are split.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7007);
CALL pg_temp.new_payee();
CREATE FUNCTION pg_temp.quote(event integer, VARIADIC quantities integer[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  q jsonb;
BEGIN
  q := ticketing.quote(event, pg_temp.cart(event, VARIADIC quantities));
  RETURN format('%s %s + %s = %s; platform %s, organizer %s', q ->> 'currency', q -> 'subtotal_cents', q -> 'buyer_fee_cents', q -> 'total_cents', q -> 'application_fee_cents', q -> 'transfer_cents');
EXCEPTION WHEN OTHERS THEN
  RETURN pg_temp.refusal(format('SELECT ticketing.quote(%s, %L)', event, pg_temp.cart(event, VARIADIC quantities)));
END
$$;

-- Free tickets in a paid cart carry no fee; the percentage is taken of the whole subtotal once, not line by line.
CALL pg_temp.new_event(700701);
CALL pg_temp.new_tier(700701, 1, 10, 0);
CALL pg_temp.new_tier(700701, 2, 10, 1000);
CALL pg_temp.new_tier(700701, 3, 10, 219);
CALL pg_temp.new_tier(700701, 4, 10, 333);
SELECT c.what, pg_temp.quote(700701, VARIADIC c.quantities) FROM (VALUES
  ('free', ARRAY[3]), ('paid', '{0,1}'), ('free and paid', '{5,1}'), ('219', '{0,0,1}'), ('2 x 219', '{0,0,2}'), ('3 x 333', '{0,0,0,3}'), ('all', '{1,1,1,1}')) AS c (what, quantities);
-- What is asked costs nothing and holds nothing: no stock is checked.
SELECT pg_temp.quote(700701, 0, 1000) AS more_than_there_are, (SELECT sum(held) FROM pg_temp.stock(700701)) AS held;

-- The smallest paid price is 2.00: below it the organizer would pay to sell; a negative price buys nothing.
CALL pg_temp.new_event(700702);
CALL pg_temp.new_tier(700702, 1, 10, 200);
CALL pg_temp.new_tier(700702, 2, 10, 199);
CALL pg_temp.new_tier(700702, 3, 10, 1);
CALL pg_temp.new_tier(700702, 4, 10, -1000);
SELECT c.what, pg_temp.quote(700702, VARIADIC c.quantities) FROM (VALUES
  ('200', ARRAY[1]), ('199', '{0,1}'), ('199, many', '{0,10}'), ('1', '{0,0,1}'), ('negative', '{0,0,0,1}'), ('200 and negative', '{1,0,0,1}')) AS c (what, quantities);
SELECT c.what, pg_temp.refusal(format($$SELECT ticketing.create_payment_intent('ann@7007', 700702, %L)$$, pg_temp.cart(700702, VARIADIC c.quantities))) AS paid,
       pg_temp.refusal(format($$SELECT ticketing.claim_free_tickets('ann@7007', 700702, %L)$$, pg_temp.cart(700702, VARIADIC c.quantities))) AS claimed
FROM (VALUES ('199', ARRAY[0,1]), ('negative', '{0,0,0,1}')) AS c (what, quantities);
SELECT * FROM pg_temp.stock(700702) WHERE held > 0;

-- One currency in a cart, of two decimals; upper case and NULL (which is usd) are what old rows have.
CALL pg_temp.new_event(700703);
CALL pg_temp.new_tier(700703, 1, 10, 500, currency => 'eur');
CALL pg_temp.new_tier(700703, 2, 10, 500, currency => 'EUR');
CALL pg_temp.new_tier(700703, 3, 10, 500, currency => NULL);
CALL pg_temp.new_tier(700703, 4, 10, 500, currency => 'usd');
CALL pg_temp.new_tier(700703, 5, 10, 500, currency => 'jpy');
CALL pg_temp.new_tier(700703, 6, 10, 500, currency => 'kwd');
CALL pg_temp.new_tier(700703, 7, 10, 500, currency => 'euro');
CALL pg_temp.new_tier(700703, 8, 10, 500, currency => '');
CALL pg_temp.new_tier(700703, 9, 10, 500, currency => 'é€x');
SELECT c.what, pg_temp.quote(700703, VARIADIC c.quantities) FROM (VALUES
  ('eur and EUR', ARRAY[1,1]), ('usd and NULL', '{0,0,1,1}'), ('eur and usd', '{1,0,0,1}'), ('no decimals', '{0,0,0,0,1}'), ('three decimals', '{0,0,0,0,0,1}'),
  ('four letters', '{0,0,0,0,0,0,1}'), ('empty', '{0,0,0,0,0,0,0,1}'), ('not letters', '{0,0,0,0,0,0,0,0,1}')) AS c (what, quantities);

-- An order's fees are split over its tickets to the cent, the largest remainders first, free tickets nothing; the buyer's shares and prices are what tickets say was paid.
SELECT ticketing.create_payment_intent('ann@7007', 700701, pg_temp.cart(700701, 2, 1, 2, 3)) - ARRAY['order_id', 'reservation_id', 'stripe_request_id', 'queued', 'ready_in', 'expires_at'] AS figures;
SELECT i.item, right(ticket_type_id::text, 1) AS tier, quantity, price_cents, i.buyer_fee_cents, i.organizer_fee_cents
FROM ticketing.order_items i JOIN ticketing.orders USING (order_id) WHERE event_id = 700701 ORDER BY item;
SELECT o.subtotal_cents, o.buyer_fee_cents, sum(b) AS shares, o.total_cents FROM ticketing.orders o JOIN ticketing.order_items i USING (order_id), unnest(i.buyer_fee_cents) b WHERE event_id = 700701 GROUP BY o.order_id;
-- Later prices change nothing of it.
UPDATE public.ticket_types SET price_cents = 5000 WHERE event_id = 700701;
SELECT o.total_cents, p.total_cents AS public_total, p.subtotal_cents, p.platform_fee_cents, p.type, p.status, p.currency
FROM ticketing.orders o JOIN public.orders p ON p.id = o.order_id WHERE o.event_id = 700701;

SELECT * FROM ticketing.check_invariants();
CALL pg_temp.clear_test();
