-- Doors: every scan is a row, the devices that scan, what they have been told, and who may do what besides the host.
BEGIN;
\ir ../lib/park.sql
\ir ../lib/own.sql
SET LOCAL lock_timeout = '2s';
-- What has changed while there was no trigger is not in door_states. Its new file is a new epoch: every device takes its manifest anew.
DO $$
BEGIN
  IF to_regclass('ticketing.door_states_parked') IS NOT NULL THEN
    ALTER TABLE ticketing.door_states_parked ALTER version TYPE integer USING version + 0;
  END IF;
END
$$;
SELECT pg_temp.unpark('ticketing', t) FROM unnest(ARRAY['checkins', 'event_gates', 'door_devices', 'door_manifests', 'door_states', 'event_co_organizers', 'co_organizer_changes']) t;

CREATE TABLE IF NOT EXISTS ticketing.checkins (
  id           uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  event_id     integer NOT NULL,
  ticket_id    uuid,
  code_hash    text NOT NULL CHECK (code_hash ~ '^[0-9a-f]{64}$'),
  result       text NOT NULL CHECK (result IN (
                 'admitted', 'already_admitted', 'malformed', 'bad_signature', 'unknown_key', 'wrong_event', 'wrong_gate', 'too_early',
                 'too_late', 'not_found', 'superseded', 'refunded', 'void', 'suspended', 'exited', 'not_inside', 'not_allowed')),
  direction    text NOT NULL CHECK (direction IN ('in', 'out')),
  scanned_by   text NOT NULL,
  device_id    text,
  gate         text,
  scan_id      uuid,
  forced       boolean NOT NULL DEFAULT false,
  scanned_at   timestamptz NOT NULL,
  happened_at  timestamptz NOT NULL,
  recorded_at  timestamptz NOT NULL,
  moved        boolean NOT NULL,
  flags        text[] NOT NULL DEFAULT '{}',
  manifest_id  uuid,
  uploaded_by  text,
  answer       jsonb,
  undone_at    timestamptz,
  undone_by    text,
  undo_reason  text
);
COMMENT ON TABLE ticketing.checkins IS 'Every scan, admitted or refused. A code is kept as its hash alone.';
COMMENT ON COLUMN ticketing.checkins.code_hash IS 'SHA-256, lower-case hex, of the scanned payload or bare token.';
COMMENT ON COLUMN ticketing.checkins.result IS 'Of a scan that moved somebody: what the fold over the ticket''s scans says today; later uploads may turn admitted into already_admitted.';
COMMENT ON COLUMN ticketing.checkins.scanned_at IS 'When the device scanned it, as the device says; recorded_at is the server''s time.';
COMMENT ON COLUMN ticketing.checkins.happened_at IS 'The scan''s time by the server''s clock: of a scan that was uploaded later, scanned_at corrected by the device''s offset.';
COMMENT ON COLUMN ticketing.checkins.moved IS 'Somebody went in or out at the door by this scan: the fold that gives a ticket its state reads these, unless they are undone.';
COMMENT ON COLUMN ticketing.checkins.flags IS 'What somebody should look at: see the function ticketing.door_conflicts.';
COMMENT ON COLUMN ticketing.checkins.uploaded_by IS 'Who brought a scan that was made offline; NULL: the scan was made online.';
COMMENT ON COLUMN ticketing.checkins.answer IS 'What the device was told at once: the same scan id is told the same again. NULL: it was told by its result.';
CREATE UNIQUE INDEX IF NOT EXISTS checkins_scan ON ticketing.checkins (scan_id) WHERE scan_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS checkins_ticket ON ticketing.checkins (ticket_id, happened_at) WHERE ticket_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS checkins_event ON ticketing.checkins (event_id, recorded_at);
CREATE INDEX IF NOT EXISTS checkins_flagged ON ticketing.checkins (event_id, recorded_at) WHERE flags <> '{}';

CREATE TABLE IF NOT EXISTS ticketing.event_gates (
  event_id        integer NOT NULL,
  gate            text NOT NULL CHECK (gate <> ''),
  ticket_type_ids uuid[],
  PRIMARY KEY (event_id, gate)
);
COMMENT ON TABLE ticketing.event_gates IS 'Gates of an event. An event without any lets every gate''s name pass; one with gates lets in by these alone.';
COMMENT ON COLUMN ticketing.event_gates.ticket_type_ids IS 'Tiers that may come in here; NULL: all.';

CREATE TABLE IF NOT EXISTS ticketing.door_devices (
  event_id    integer NOT NULL,
  device_id   text NOT NULL CHECK (device_id <> ''),
  name        text,
  enrolled_by text NOT NULL,
  enrolled_at timestamptz NOT NULL,
  revoked_at  timestamptz,
  revoked_by  text,
  PRIMARY KEY (event_id, device_id)
);
COMMENT ON TABLE ticketing.door_devices IS 'Devices that have had an event''s manifest. A revoked one gets no more, and its scans of later are flagged.';

CREATE TABLE IF NOT EXISTS ticketing.door_manifests (
  manifest_id uuid PRIMARY KEY,
  event_id    integer NOT NULL,
  device_id   text NOT NULL,
  actor       text NOT NULL,
  issued_at   timestamptz NOT NULL,
  expires_at  timestamptz NOT NULL
);
COMMENT ON TABLE ticketing.door_manifests IS 'Manifests and increments that devices were given: no scan made by one is older than it.';
CREATE INDEX IF NOT EXISTS door_manifests_device ON ticketing.door_manifests (event_id, device_id, issued_at);
CREATE INDEX IF NOT EXISTS door_manifests_age ON ticketing.door_manifests USING brin (issued_at);

CREATE TABLE IF NOT EXISTS ticketing.door_states (
  event_id   integer NOT NULL,
  ticket_id  uuid NOT NULL,
  version    integer NOT NULL,
  changed_by xid8 NOT NULL,
  PRIMARY KEY (event_id, ticket_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE ticketing.door_states IS 'Which tickets have changed for the doors, and in which transaction: what increments of the manifest are read from.';
COMMENT ON COLUMN ticketing.door_states.version IS 'Counts a ticket''s changes, so that a device can tell an older row from a newer one.';
CREATE INDEX IF NOT EXISTS door_states_changed ON ticketing.door_states (event_id, changed_by);

CREATE TABLE IF NOT EXISTS ticketing.event_co_organizers (
  event_id    integer NOT NULL,
  user_id     text NOT NULL,
  role        text NOT NULL DEFAULT 'viewer' CHECK (role IN ('viewer', 'scanner', 'editor', 'admin')),
  permissions jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(permissions) = 'object'),
  status      text NOT NULL DEFAULT 'invited' CHECK (status IN ('invited', 'accepted', 'removed')),
  invited_by  text NOT NULL,
  invited_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  accepted_at timestamptz,
  removed_at  timestamptz,
  changed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
  changed_by  text,
  PRIMARY KEY (event_id, user_id)
);
COMMENT ON TABLE ticketing.event_co_organizers IS 'Who helps the host. Only an accepted row counts.';
COMMENT ON COLUMN ticketing.event_co_organizers.permissions IS 'What the host grants or takes beside the role, e.g. {"scan": true}.';
COMMENT ON COLUMN ticketing.event_co_organizers.changed_by IS 'Who made the last change; NULL: not through the engine''s functions.';
CREATE INDEX IF NOT EXISTS event_co_organizers_user ON ticketing.event_co_organizers (user_id);

CREATE TABLE IF NOT EXISTS ticketing.co_organizer_changes (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id    integer NOT NULL,
  user_id     text NOT NULL,
  changed_at  timestamptz NOT NULL,
  changed_by  text,
  role        text,
  permissions jsonb,
  status      text
);
COMMENT ON TABLE ticketing.co_organizer_changes IS 'Every change of a co-organizer, by whoever made it: what he might do at which time. A NULL status: the row was deleted.';
CREATE INDEX IF NOT EXISTS co_organizer_changes_user ON ticketing.co_organizer_changes (event_id, user_id, changed_at);

-- What a role permits, and what the host has granted or taken beside it. The one place that says so; planned into the statements that
-- ask. Its body is parsed here and not in its callers, so that it needs no search_path of its own.
CREATE OR REPLACE FUNCTION ticketing.role_permits(role text, permissions jsonb, permission text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN permission IN ('view', 'scan', 'edit', 'admin') THEN
         CASE permissions -> permission
           WHEN 'true' THEN true
           WHEN 'false' THEN false
           ELSE CASE role
                  WHEN 'viewer' THEN permission = 'view'
                  WHEN 'scanner' THEN permission IN ('view', 'scan')
                  WHEN 'editor' THEN permission IN ('view', 'scan', 'edit')
                  WHEN 'admin' THEN true
                  ELSE false
                END
         END
       ELSE false END;
COMMENT ON FUNCTION ticketing.role_permits(text, jsonb, text) IS 'Whether a co-organizer''s role (viewer, scanner, editor, admin), or what the host has set beside it, permits view, scan, edit (tiers, doors, reissue) or admin (force, undo, tickets'' ends and owners, co-organizers). Never NULL.';

-- Whether somebody may do something at an event: the host everything, an accepted co-organizer what his role permits. For policies, too:
-- user_id NULL is the client of the claims. Who has claims of his own cannot ask for others, nor can a client without any.
CREATE OR REPLACE FUNCTION ticketing.has_event_permission(event_id integer, permission text, user_id text DEFAULT NULL) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT coalesce((
    SELECT (s.host_id = a.who AND ticketing.role_permits('admin', NULL, $2)) OR ticketing.role_permits(c.role, c.permissions, $2)
    FROM (SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub' AS sub) j
    CROSS JOIN LATERAL (SELECT CASE WHEN j.sub IS NOT NULL THEN CASE WHEN coalesce($3, j.sub) = j.sub THEN j.sub END
                                    WHEN current_setting('role') NOT IN ('anon', 'authenticated') THEN $3 END AS who) a
    JOIN ticketing.event_settings s ON s.event_id = $1
    LEFT JOIN ticketing.event_co_organizers c ON c.event_id = s.event_id AND c.user_id = a.who AND c.status = 'accepted'), false)
$$;
COMMENT ON FUNCTION ticketing.has_event_permission(integer, text, text) IS
'Whether a user may do something at an event: its host everything, an accepted co-organizer what his role permits. For row-level security policies as well as for edge functions.
Arguments: event_id; permission, one of view, scan, edit (tiers, doors, reissue), admin (force, undo, tickets'' ends and owners, co-organizers); user_id, NULL: the sub of the request''s claims. Claims with a sub answer for that user alone, and without a sub the roles anon and authenticated are nobody.
Result: boolean, false for an event that does not exist, an unknown permission and for NULL.
Errors: 22P02 (request.jwt.claims is neither empty nor JSON).';

-- Who does not say when, has changed it now. The times of a row only grow: they say what came after what.
CREATE OR REPLACE FUNCTION ticketing.stamp_co_organizer() RETURNS trigger LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NEW.changed_at <= OLD.changed_at THEN
    NEW.changed_at := greatest(clock_timestamp(), OLD.changed_at + interval '1 microsecond');
    NEW.changed_by := NULL;
  END IF;
  RETURN NEW;
END
$$;

-- Every change of a co-organizer leaves a row, whoever makes it. After it: what another trigger or ON CONFLICT has kept from
-- happening leaves none.
CREATE OR REPLACE FUNCTION ticketing.record_co_organizer() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'TRUNCATE' THEN
    INSERT INTO ticketing.co_organizer_changes (event_id, user_id, changed_at)
    SELECT event_id, user_id, greatest(clock_timestamp(), changed_at + interval '1 microsecond') FROM ticketing.event_co_organizers;
  ELSIF TG_OP = 'DELETE' THEN
    INSERT INTO ticketing.co_organizer_changes (event_id, user_id, changed_at)
    VALUES (OLD.event_id, OLD.user_id, greatest(clock_timestamp(), OLD.changed_at + interval '1 microsecond'));
  ELSE
    IF TG_OP = 'UPDATE' AND (NEW.event_id, NEW.user_id) <> (OLD.event_id, OLD.user_id) THEN
      INSERT INTO ticketing.co_organizer_changes (event_id, user_id, changed_at, changed_by) VALUES (OLD.event_id, OLD.user_id, NEW.changed_at, NEW.changed_by);
    END IF;
    INSERT INTO ticketing.co_organizer_changes (event_id, user_id, changed_at, changed_by, role, permissions, status)
    VALUES (NEW.event_id, NEW.user_id, NEW.changed_at, NEW.changed_by, NEW.role, NEW.permissions, NEW.status);
  END IF;
  RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER dvnt_stamp_change BEFORE UPDATE ON ticketing.event_co_organizers
  FOR EACH ROW EXECUTE FUNCTION ticketing.stamp_co_organizer();
CREATE OR REPLACE TRIGGER dvnt_record_change AFTER INSERT OR UPDATE OR DELETE ON ticketing.event_co_organizers
  FOR EACH ROW EXECUTE FUNCTION ticketing.record_co_organizer();
CREATE OR REPLACE TRIGGER dvnt_record_truncate BEFORE TRUNCATE ON ticketing.event_co_organizers
  FOR EACH STATEMENT EXECUTE FUNCTION ticketing.record_co_organizer();

-- A ticket has changed for the doors. No C: the application's own writes go on when the library is missing.
CREATE OR REPLACE FUNCTION ticketing.follow_door_state() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP <> 'INSERT' AND (TG_OP = 'DELETE' OR NEW.event_id <> OLD.event_id OR NEW.id <> OLD.id) THEN
    INSERT INTO ticketing.door_states AS d (event_id, ticket_id, version, changed_by) VALUES (OLD.event_id, OLD.id, 1, pg_current_xact_id())
    ON CONFLICT (event_id, ticket_id) DO UPDATE SET version = d.version + 1, changed_by = excluded.changed_by;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    INSERT INTO ticketing.door_states AS d (event_id, ticket_id, version, changed_by) VALUES (NEW.event_id, NEW.id, 1, pg_current_xact_id())
    ON CONFLICT (event_id, ticket_id) DO UPDATE SET version = d.version + 1, changed_by = excluded.changed_by;
  END IF;
  RETURN NULL;
END
$$;

SELECT pg_temp.own_tables('checkins', 'event_gates', 'door_devices', 'door_manifests', 'door_states', 'event_co_organizers', 'co_organizer_changes');
SELECT pg_temp.own_functions('role_permits(text, jsonb, text)', 'has_event_permission(integer, text, text)', 'stamp_co_organizer()',
  'record_co_organizer()', 'follow_door_state()');

-- The order of the fold (src/door_fold.c), backwards: by time, device, scan id.
CREATE OR REPLACE VIEW ticketing.last_movements WITH (security_invoker = true) AS
SELECT DISTINCT ON (c.ticket_id) c.ticket_id, c.result, c.gate
FROM ticketing.checkins c WHERE c.moved AND c.result IN ('admitted', 'exited') AND c.undone_at IS NULL
ORDER BY c.ticket_id, c.happened_at DESC, coalesce(c.device_id, '') COLLATE "C" DESC, coalesce(c.scan_id, c.id) DESC;
COMMENT ON VIEW ticketing.last_movements IS 'The last scan by which a ticket went in (admitted) or out (exited).';
ALTER VIEW ticketing.last_movements OWNER TO dvnt_ticketing_owner;

-- For people who look on. A row per gate, and one with gate NULL for the event as a whole.
CREATE OR REPLACE VIEW ticketing.door_progress WITH (security_barrier = true) AS
SELECT e.event_id, s.gate, coalesce(s.admitted, 0) AS admitted,
       CASE WHEN s.gate IS NULL THEN coalesce(t.inside, 0) END AS inside, CASE WHEN s.gate IS NULL THEN coalesce(t.remaining, 0) END AS remaining,
       coalesce(s.duplicates, 0) AS duplicates, coalesce(r.refused, '{}') AS refused, coalesce(s.scans_per_minute, 0) AS scans_per_minute, s.last_scan_at
FROM ticketing.event_settings e
LEFT JOIN LATERAL (
  SELECT c.gate, count(DISTINCT c.ticket_id) FILTER (WHERE c.result = 'admitted' AND c.undone_at IS NULL) AS admitted,
         count(*) FILTER (WHERE c.result = 'already_admitted' AND c.undone_at IS NULL) AS duplicates,
         count(*) FILTER (WHERE c.recorded_at > clock_timestamp() - interval '1 minute') AS scans_per_minute, max(c.recorded_at) AS last_scan_at
  FROM ticketing.checkins c WHERE c.event_id = e.event_id AND NOT c.flags @> '{adopted}'
  GROUP BY GROUPING SETS ((), (c.gate)) HAVING GROUPING(c.gate) = 1 OR c.gate IS NOT NULL) s ON true
LEFT JOIN LATERAL (
  SELECT jsonb_object_agg(k.result, k.scans) AS refused FROM (
    SELECT c.result, count(*) AS scans FROM ticketing.checkins c
    WHERE c.event_id = e.event_id AND (s.gate IS NULL OR c.gate = s.gate) AND c.undone_at IS NULL AND c.result NOT IN ('admitted', 'exited', 'already_admitted')
    GROUP BY c.result) k) r ON true
LEFT JOIN LATERAL (
  SELECT count(*) FILTER (WHERE k.status = 'scanned' AND NOT coalesce(k.outside, false)) AS inside, count(*) FILTER (WHERE k.status = 'active') AS remaining
  FROM (SELECT t.status, CASE WHEN e.reentry AND t.status = 'scanned' THEN (
          SELECT m.result = 'exited' FROM ticketing.last_movements m WHERE m.ticket_id = t.id) END AS outside
        FROM public.tickets t WHERE t.event_id = e.event_id AND t.status IN ('active', 'scanned') AND s.gate IS NULL) k) t ON true;
COMMENT ON VIEW ticketing.door_progress IS 'How far an event''s doors are, in all (gate NULL) and by gate: tickets admitted, now inside and still to come (of the event alone), duplicates, refused scans by reason, scans in the last minute.';
ALTER VIEW ticketing.door_progress OWNER TO dvnt_ticketing_owner;

CREATE OR REPLACE TRIGGER dvnt_follow_door AFTER INSERT OR DELETE ON public.tickets
  FOR EACH ROW EXECUTE FUNCTION ticketing.follow_door_state();
CREATE OR REPLACE TRIGGER dvnt_follow_door_change AFTER UPDATE OF status, ticket_type_id, event_id, qr_token, qr_payload, checked_in_at ON public.tickets
  FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status OR OLD.ticket_type_id IS DISTINCT FROM NEW.ticket_type_id OR OLD.event_id IS DISTINCT FROM NEW.event_id OR
    OLD.qr_token IS DISTINCT FROM NEW.qr_token OR OLD.qr_payload IS DISTINCT FROM NEW.qr_payload OR OLD.checked_in_at IS DISTINCT FROM NEW.checked_in_at)
  EXECUTE FUNCTION ticketing.follow_door_state();
COMMIT;
