BEGIN;
SELECT id, event_id, ticket_id, code_hash, result, direction, scanned_by, device_id, gate, scan_id, forced, scanned_at, recorded_at, answer, undone_at, undone_by, undo_reason FROM ticketing.checkins WHERE false;
SELECT event_id, user_id, role, permissions, status, invited_by, invited_at, accepted_at, removed_at FROM ticketing.event_co_organizers WHERE false;
ROLLBACK;
