BEGIN;
SELECT id, reservation_id, event_id, ticket_type_id, user_id, quantity, status, expires_at, created_at, order_id, ended_at FROM ticketing.ticket_holds WHERE false;
SELECT user_id, function_name, request_id, arguments, answer FROM ticketing.requests WHERE false;
SELECT 1 / (count(*) = 5)::integer FROM pg_trigger
WHERE tgname IN ('dvnt_guard_tier', 'dvnt_follow_tier', 'dvnt_follow_capacity', 'dvnt_stock_event', 'dvnt_stock_capacity');
ROLLBACK;
