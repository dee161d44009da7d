BEGIN;
SELECT id, event_id, ticket_id, code_hash, result, direction, scanned_by, device_id, gate, scan_id, forced, scanned_at, happened_at, recorded_at, moved, flags, manifest_id,
       uploaded_by, answer, undone_at, undone_by, undo_reason FROM ticketing.checkins WHERE false;
SELECT event_id, gate, ticket_type_ids FROM ticketing.event_gates WHERE false;
SELECT event_id, device_id, name, enrolled_by, enrolled_at, revoked_at, revoked_by FROM ticketing.door_devices WHERE false;
SELECT manifest_id, event_id, device_id, actor, issued_at, expires_at FROM ticketing.door_manifests WHERE false;
SELECT ticket_id, event_id, version, changed_by FROM ticketing.door_states WHERE false;
SELECT event_id, user_id, role, permissions, status, invited_by, invited_at, accepted_at, removed_at, changed_at, changed_by FROM ticketing.event_co_organizers WHERE false;
SELECT id, event_id, user_id, changed_at, changed_by, role, permissions, status FROM ticketing.co_organizer_changes WHERE false;
SELECT 1 / count(*) FROM pg_trigger WHERE tgrelid = 'public.tickets'::regclass AND tgname = 'dvnt_follow_door';
SELECT 1 / count(*) FROM pg_trigger WHERE tgrelid = 'public.tickets'::regclass AND tgname = 'dvnt_follow_door_change';
SELECT 1 / (count(*) = 3)::integer FROM pg_trigger WHERE tgrelid = 'ticketing.event_co_organizers'::regclass AND tgname IN ('dvnt_stamp_change', 'dvnt_record_change', 'dvnt_record_truncate');
SELECT event_id, gate, admitted, inside, remaining, duplicates, refused, scans_per_minute, last_scan_at FROM ticketing.door_progress WHERE false;
SELECT ticket_id, result, gate FROM ticketing.last_movements WHERE false;
ROLLBACK;
