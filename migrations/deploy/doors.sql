-- Doors: every scan is a row, and who may scan besides the host.
BEGIN;
\ir ../lib/park.sql
SET LOCAL lock_timeout = '2s';
SELECT pg_temp.unpark('ticketing', t) FROM unnest(ARRAY['checkins', 'event_co_organizers']) t;

CREATE TABLE IF NOT EXISTS ticketing.checkins (
  id          uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  event_id    integer NOT NULL,
  ticket_id   uuid,
  code_hash   text NOT NULL CHECK (code_hash ~ '^[0-9a-f]{64}$'),
  result      text NOT NULL CHECK (result IN (
                'admitted', 'already_admitted', 'malformed', 'bad_signature', 'unknown_key', 'wrong_event', 'wrong_gate', 'too_early',
                'too_late', 'not_found', 'superseded', 'refunded', 'void', 'suspended', 'exited', 'not_inside', 'not_allowed')),
  direction   text NOT NULL CHECK (direction IN ('in', 'out')),
  scanned_by  text NOT NULL,
  device_id   text,
  gate        text,
  scan_id     uuid,
  forced      boolean NOT NULL DEFAULT false,
  scanned_at  timestamptz NOT NULL,
  recorded_at timestamptz NOT NULL,
  answer      jsonb NOT NULL,
  undone_at   timestamptz,
  undone_by   text,
  undo_reason text
);
COMMENT ON TABLE ticketing.checkins IS 'Every scan, admitted or refused. A code is kept as its hash alone.';
COMMENT ON COLUMN ticketing.checkins.code_hash IS 'SHA-256, lower-case hex, of the scanned payload or bare token.';
COMMENT ON COLUMN ticketing.checkins.scanned_at IS 'When the device scanned it, as the device says; recorded_at is the server''s time.';
COMMENT ON COLUMN ticketing.checkins.answer IS 'What the device was told: the same scan id is told the same again.';
CREATE UNIQUE INDEX IF NOT EXISTS checkins_scan ON ticketing.checkins (scan_id) WHERE scan_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS checkins_ticket ON ticketing.checkins (ticket_id, recorded_at) WHERE ticket_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS checkins_event ON ticketing.checkins (event_id, recorded_at);

CREATE TABLE IF NOT EXISTS ticketing.event_co_organizers (
  event_id    integer NOT NULL,
  user_id     text NOT NULL,
  role        text NOT NULL DEFAULT 'viewer' CHECK (role IN ('viewer', 'scanner', 'editor', 'admin')),
  permissions jsonb NOT NULL DEFAULT '{}',
  status      text NOT NULL DEFAULT 'invited' CHECK (status IN ('invited', 'accepted', 'removed')),
  invited_by  text NOT NULL,
  invited_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  accepted_at timestamptz,
  removed_at  timestamptz,
  PRIMARY KEY (event_id, user_id)
);
COMMENT ON TABLE ticketing.event_co_organizers IS 'Who helps the host. Only an accepted row counts.';
COMMENT ON COLUMN ticketing.event_co_organizers.permissions IS 'Overrides that the host grants or takes, e.g. {"scan": true}.';

ALTER TABLE ticketing.checkins OWNER TO dvnt_ticketing_owner;
ALTER TABLE ticketing.event_co_organizers OWNER TO dvnt_ticketing_owner;
ALTER TABLE ticketing.checkins ENABLE ROW LEVEL SECURITY;
ALTER TABLE ticketing.event_co_organizers ENABLE ROW LEVEL SECURITY;
COMMIT;
