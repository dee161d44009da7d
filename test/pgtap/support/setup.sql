-- What the tests of this folder share: \ir support/setup.sql at the start of each, ROLLBACK at its end.
-- Everything happens in one transaction on the adopted sample database; helpers live in a schema of their own.
\set ON_ERROR_STOP on
\getenv webhook_secret STRIPE_WEBHOOK_SECRET
SET client_min_messages = warning;
BEGIN;
-- pg_cron's chores wait until the end: two that update the same tiers in different orders would deadlock.
LOCK TABLE public.ticket_types IN SHARE ROW EXCLUSIVE MODE;
CREATE EXTENSION IF NOT EXISTS pgtap;
CREATE EXTENSION IF NOT EXISTS pgcrypto;
CREATE SCHEMA test;
-- Calls are answered at once and the clock may stand still: Stripe's limits are tested elsewhere.
SET LOCAL dvnt_ticketing.stripe_rate = 0;
SET LOCAL dvnt_ticketing.stripe_endpoint_rate = 0;
SET LOCAL search_path = test, public;
SELECT set_config('test.webhook_secret', split_part(:'webhook_secret', ' ', 1), true) \g /dev/null
\ir helpers.sql
