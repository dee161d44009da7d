CREATE FUNCTION ticketing.add_co_organizer(event_id integer, actor text, user_id text, role text DEFAULT 'viewer', permissions jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_add_co_organizer';
COMMENT ON FUNCTION ticketing.add_co_organizer(integer, text, text, text, jsonb) IS
'Invites somebody to help the host; it counts when he has accepted. Who was removed, left or declined is invited anew, and nothing of before comes back.
Arguments: event_id; actor, who invites: the host, or an accepted co-organizer with the permission admin, who may invite viewers, scanners and editors; user_id, who is invited, 1 to 255 bytes; role, viewer (permits view), scanner (view and scan), editor (view, scan and edit) or admin (all, with co-organizers); permissions, the host''s alone: what is granted or taken beside the role, of view, scan, edit and admin, each true or false, every one for itself.
Result: event_id; user_id; role; permissions; status, invited; invited_by; invited_at; accepted_at and removed_at, NULL; changed_at; changed_by.
Errors: PT400 bad_request (an argument is NULL or empty, user_id is too long, role is unknown, permissions has another key or a value that is no boolean); PT403 not_allowed (actor has not the permission admin; or it is the host''s alone, with permission host: an admin, an override, somebody from whom the host had taken a permission); PT404 not_found (event); PT409 already_done (invited or accepted on these terms, with status, role, permissions); PT409 wrong_state (invited or accepted on other terms, with the same: use update_co_organizer; or user_id is the host); 40001, 40P01: try again.';

CREATE FUNCTION ticketing.accept_co_organizer(event_id integer, user_id text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_accept_co_organizer';
COMMENT ON FUNCTION ticketing.accept_co_organizer(integer, text) IS
'Accepts an invitation as it stands. From its commit on it counts. To decline: remove_co_organizer.
Arguments: event_id; user_id, who was invited.
Result: as of add_co_organizer, with status accepted and accepted_at.
Errors: PT400 bad_request (an argument is NULL, or user_id empty); PT404 not_found (event, or never invited); PT409 already_done (accepted before, with status, role, permissions); PT409 wrong_state (removed meanwhile, with the same; or user_id is the host); 40001, 40P01: try again.';

CREATE FUNCTION ticketing.update_co_organizer(event_id integer, actor text, user_id text, role text DEFAULT NULL, permissions jsonb DEFAULT NULL) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_update_co_organizer';
COMMENT ON FUNCTION ticketing.update_co_organizer(integer, text, text, text, jsonb) IS
'Changes what a co-organizer may do, or what somebody is invited to do. The host changes everything; an accepted co-organizer with the permission admin changes the roles of viewers, scanners and editors, up to editor, and may lower his own.
Arguments: event_id; actor, who changes it; user_id, whose terms change; role, as of add_co_organizer (NULL: stays); permissions, the whole override, the host''s alone (NULL: stays).
Result: as of add_co_organizer, with the status as it was.
Errors: PT400 bad_request (event_id, actor or user_id is NULL or empty, role and permissions are both NULL, role is unknown, permissions is malformed); PT403 not_allowed (actor has not the permission admin; or it is the host''s alone, with permission host: an admin by role or override, a new admin, another override, to raise oneself); PT404 not_found (event, or never invited); PT409 already_done (nothing would change, with status, role, permissions); PT409 wrong_state (removed, with the same: invite again); 40001, 40P01: try again.';

CREATE FUNCTION ticketing.remove_co_organizer(event_id integer, actor text, user_id text) RETURNS jsonb
LANGUAGE c SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_remove_co_organizer';
COMMENT ON FUNCTION ticketing.remove_co_organizer(integer, text, text) IS
'Ends a co-organizer''s rights, or an invitation. Everybody may remove himself: that is how one leaves or declines. Scans that he has made before stay valid.
Arguments: event_id; actor, who removes: the host, user_id himself, or an accepted co-organizer with the permission admin, who may remove viewers, scanners and editors; user_id, who is removed.
Result: as of add_co_organizer, with status removed and removed_at; role and permissions are those of before.
Errors: PT400 bad_request (an argument is NULL or empty); PT403 not_allowed (actor has not the permission admin; or user_id is an admin by role or override, which is the host''s alone, with permission host); PT404 not_found (event, or never invited); PT409 already_done (removed before, with status, role, permissions); 40001, 40P01: try again.';

CREATE FUNCTION ticketing.list_co_organizers(event_id integer, actor text)
RETURNS TABLE (user_id text, role text, permissions jsonb, status text, invited_by text, invited_at timestamptz, accepted_at timestamptz, changed_at timestamptz, changed_by text)
LANGUAGE c STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS 'MODULE_PATHNAME', 'dvnt_list_co_organizers';
COMMENT ON FUNCTION ticketing.list_co_organizers(integer, text) IS
'Who helps at an event and who is invited, by user_id; those removed are left out.
Arguments: event_id; actor, who asks: the host, or an accepted co-organizer with the permission view.
Result: user_id; role; permissions, what the host has granted or taken beside it; status, invited or accepted; invited_by; invited_at; accepted_at (NULL: not yet); changed_at; changed_by (NULL: changed by hand).
Errors: PT400 bad_request (an argument is NULL, or actor empty); PT403 not_allowed (actor has not the permission view); PT404 not_found (event).';
