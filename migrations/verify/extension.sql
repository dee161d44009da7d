BEGIN;
SELECT 1 / count(*) FROM pg_extension WHERE extname = 'dvnt_ticketing';
SELECT 1 / has_schema_privilege('service_role', 'ticketing', 'USAGE')::integer;
ROLLBACK;
