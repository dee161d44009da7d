-- Who may call what.
BEGIN;
\ir ../lib/grants.sql
COMMIT;
