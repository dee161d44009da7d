-- Every table is there, with the columns that the engine reads or writes.
BEGIN;
\ir ../lib/columns.sql
ROLLBACK;
