-- What the scenarios share: events and tiers by number, and carts of one tier.
CREATE SCHEMA bench;

CREATE FUNCTION bench.tier(number bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN ('00000000-0000-4000-8000-' || lpad(to_hex(number), 12, '0'))::uuid;

CREATE FUNCTION bench.cart(tier bigint, seats integer) RETURNS jsonb LANGUAGE sql IMMUTABLE
RETURN jsonb_build_array(jsonb_build_object('ticket_type_id', bench.tier(tier), 'quantity', seats));

-- An event with one tier of the same number.
CREATE FUNCTION bench.make_event(number integer, seats integer, places integer DEFAULT NULL) RETURNS void LANGUAGE sql AS $$
  INSERT INTO public.events (id, host_id, title, max_attendees) VALUES (number, 'host', 'event ' || number, places);
  INSERT INTO public.ticket_types (id, event_id, name, price_cents, quantity_total, max_per_user)
  VALUES (bench.tier(number), number, 'tier', 2500, seats, NULL);
$$;
