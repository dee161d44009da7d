BEGIN;
-- Nothing of the engine is open to everybody, and anon gets only what is public.
SELECT 1 / (count(*) = 0)::integer FROM pg_proc p
WHERE p.pronamespace = 'ticketing'::regnamespace AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0);
SELECT 1 / (count(*) = 2)::integer FROM pg_proc p
WHERE p.pronamespace = 'ticketing'::regnamespace AND has_function_privilege('anon', p.oid, 'EXECUTE');
-- No table of the engine can be read or written around it.
SELECT 1 / (count(*) = 0)::integer FROM pg_class c CROSS JOIN unnest(ARRAY['anon', 'authenticated', 'service_role']) AS r
WHERE c.relnamespace = 'ticketing'::regnamespace AND c.relkind IN ('r', 'v') AND has_table_privilege(r, c.oid, 'SELECT, INSERT, UPDATE, DELETE');
-- Everything belongs to the engine's owner; a restore without owners would have lost that.
SELECT 1 / (count(*) = 0)::integer FROM pg_class WHERE relnamespace = 'ticketing'::regnamespace AND relkind IN ('r', 'v', 'S') AND relowner <> 'dvnt_ticketing_owner'::regrole;
SELECT 1 / (count(*) = 0)::integer FROM pg_proc WHERE pronamespace = 'ticketing'::regnamespace AND proowner <> 'dvnt_ticketing_owner'::regrole;
SELECT 1 / has_function_privilege('service_role', 'ticketing.hold_tickets(text, integer, jsonb, interval, text)', 'EXECUTE')::integer;
SELECT 1 / has_function_privilege('dvnt_ticketing_relay', 'ticketing.relay_claim(integer, interval)', 'EXECUTE')::integer;
ROLLBACK;
