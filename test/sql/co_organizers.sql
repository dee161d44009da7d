-- Co-organizers: what each role permits with every override, who may change whom, what is refused, and the log of it all.
\getenv folder PG_ABS_SRCDIR
\set helpers :folder /sql/helpers.psql
\i :helpers
CALL pg_temp.begin_test(7050);
CALL pg_temp.new_event(705001);
CALL pg_temp.new_event(705002);
-- What a statement would do: 'ok' or its refusal, and all is as before.
CREATE FUNCTION pg_temp.would(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  said text;
BEGIN
  said := pg_temp.refusal(statement);
  RAISE SQLSTATE 'UNDO0';
EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
  RETURN replace(said, 'no error', 'ok');
END
$$;
-- A co-organizer as he stands, and as the log has him, oldest first.
CREATE FUNCTION pg_temp.row_of(who text, event integer DEFAULT 705001) RETURNS text LANGUAGE sql AS $$
  SELECT format('%s %s %s', status, role, permissions) FROM ticketing.event_co_organizers WHERE event_id = event AND user_id = who || '@7050'
$$;
CREATE FUNCTION pg_temp.log_of(who text, OUT at text, OUT by text, OUT entry text) RETURNS SETOF record LANGUAGE sql AS $$
  SELECT to_char(changed_at, 'HH24:MI:SS.US'), changed_by, concat_ws(' ', status, role, permissions)
  FROM ticketing.co_organizer_changes WHERE event_id = 705001 AND user_id = who || '@7050' ORDER BY changed_at, id
$$;

-- ---- From an invitation to the end

-- Invited, he may do nothing; accepted, he has exactly what he was invited to.
SELECT ticketing.add_co_organizer(705001, 'host@7050', 'ann@7050');
SELECT ticketing.has_event_permission(705001, 'view', 'ann@7050') AS invited_views;
CALL pg_temp.later('1 min');
SELECT ticketing.accept_co_organizer(705001, 'ann@7050');
SELECT ticketing.has_event_permission(705001, 'view', 'ann@7050') AS views, ticketing.has_event_permission(705001, 'scan', 'ann@7050') AS scans, ticketing.has_event_permission(705002, 'view', 'ann@7050') AS elsewhere;
CALL pg_temp.later('1 min');
SELECT ticketing.update_co_organizer(705001, 'host@7050', 'ann@7050', 'scanner');
SELECT ticketing.update_co_organizer(705001, 'host@7050', 'ann@7050', permissions => '{"edit": true, "scan": false}') -> 'permissions' AS override;
SELECT ticketing.update_co_organizer(705001, 'host@7050', 'ann@7050', 'editor', '{"admin": true}') - '{invited_at,invited_by}'::text[] AS both;
CALL pg_temp.later('1 min');
-- He leaves. Nothing counts any more; what he was stays readable in the row.
SELECT ticketing.remove_co_organizer(705001, 'ann@7050', 'ann@7050');
SELECT ticketing.has_event_permission(705001, 'view', 'ann@7050') AS views, ticketing.has_event_permission(705001, 'admin', 'ann@7050') AS administers;
CALL pg_temp.later('1 min');
-- Invited again: the override of before does not come back, nor does having accepted.
SELECT ticketing.add_co_organizer(705001, 'host@7050', 'ann@7050', 'scanner');
SELECT ticketing.accept_co_organizer(705001, 'ann@7050') ->> 'permissions' AS nothing_of_before;
SELECT ticketing.has_event_permission(705001, 'admin', 'ann@7050') AS administers, ticketing.has_event_permission(705001, 'scan', 'ann@7050') AS scans;
-- Invited and declined.
SELECT ticketing.add_co_organizer(705001, 'host@7050', 'bob@7050', 'admin', '{"scan": false}') ->> 'status' AS status;
SELECT ticketing.remove_co_organizer(705001, 'bob@7050', 'bob@7050') ->> 'status' AS declined, pg_temp.refusal($$SELECT ticketing.accept_co_organizer(705001, 'bob@7050')$$) AS too_late;
-- The log has each step; two at one instant are still one after the other.
SELECT * FROM pg_temp.log_of('ann');
SELECT * FROM pg_temp.log_of('bob');

-- ---- The ladder

-- Without an override.
SELECT role, string_agg(permission, ' ' ORDER BY n) FILTER (WHERE ticketing.role_permits(role, '{}', permission)) AS permits
FROM unnest(ARRAY['viewer', 'scanner', 'editor', 'admin', 'owner', NULL]) WITH ORDINALITY r (role, rank), unnest(ARRAY['view', 'scan', 'edit', 'admin', 'Admin', '', NULL]) WITH ORDINALITY p (permission, n) GROUP BY role, rank ORDER BY rank;
-- A co-organizer for each role with each override of the four permissions: unset, true, false. 324 of each status, at an event of their own.
CALL pg_temp.new_event(705003);
CREATE TEMP TABLE ladder AS
SELECT role, rank, jsonb_strip_nulls(jsonb_build_object('view', v, 'scan', s, 'edit', e, 'admin', a)) AS permissions, format('%s %s %s %s %s@7050', role, v, s, e, a) AS who
FROM unnest(ARRAY['viewer', 'scanner', 'editor', 'admin']) WITH ORDINALITY r (role, rank),
     unnest(ARRAY[NULL, true, false]) v, unnest(ARRAY[NULL, true, false]) s, unnest(ARRAY[NULL, true, false]) e, unnest(ARRAY[NULL, true, false]) a;
INSERT INTO ticketing.event_co_organizers (event_id, user_id, role, permissions, status, invited_by)
SELECT 705003, CASE status WHEN 'accepted' THEN '' ELSE status || ' ' END || who, role, permissions, status, 'host@7050' FROM ladder, unnest(ARRAY['invited', 'accepted', 'removed']) status;
-- An override decides about its own permission and no other; else it is the role. Nothing else, nothing of who has not accepted.
SELECT count(*) AS cases, count(*) FILTER (WHERE ticketing.has_event_permission(705003, permission, who) IS DISTINCT FROM coalesce((permissions -> permission)::boolean, n <= rank)) AS wrong,
       count(*) FILTER (WHERE ticketing.has_event_permission(705003, permission, 'invited ' || who) OR ticketing.has_event_permission(705003, permission, 'removed ' || who)) AS not_accepted
FROM ladder, unnest(ARRAY['view', 'scan', 'edit', 'admin']) WITH ORDINALITY p (permission, n);
-- The functions of the engine see it the same way: view is what listing takes, admin what inviting takes.
SELECT count(*) FILTER (WHERE (list = 'ok') <> ticketing.has_event_permission(705003, 'view', who) OR list NOT IN ('ok', 'PT403 not_allowed {"event_id": 705003, "permission": "view"}')) AS wrong_lists,
       count(*) FILTER (WHERE (add = 'ok') <> ticketing.has_event_permission(705003, 'admin', who) OR add NOT IN ('ok', 'PT403 not_allowed {"event_id": 705003, "permission": "admin"}')) AS wrong_invitations,
       count(*) AS cases, count(*) FILTER (WHERE list = 'ok') AS list, count(*) FILTER (WHERE add = 'ok') AS invite
FROM (SELECT status || l.who AS who, pg_temp.would(format('SELECT ticketing.list_co_organizers(705003, %L)', status || l.who)) AS list, pg_temp.would(format('SELECT ticketing.add_co_organizer(705003, %L, %L)', status || l.who, 'new@7050')) AS add
      FROM ladder l, unnest(ARRAY['', 'invited ', 'removed ']) status) t;
SELECT count(*) AS listed FROM ticketing.list_co_organizers(705003, 'host@7050');
-- The host may do everything, at his event, and has no row. What is no permission, nobody has.
SELECT permission, event, ticketing.has_event_permission(event, permission, 'host@7050') AS host, ticketing.has_event_permission(event, permission, 'stranger@7050') AS stranger, ticketing.has_event_permission(event, permission, NULL) AS nobody
FROM unnest(ARRAY['view', 'scan', 'edit', 'admin', 'Admin', '', NULL]) permission, unnest(ARRAY[705001, 705099, NULL]) event ORDER BY event, permission;
INSERT INTO ticketing.event_co_organizers (event_id, user_id, role, permissions, status, invited_by) VALUES (705001, 'odd@7050', 'viewer', '{"fly": true, "view": "yes", "scan": 1, "edit": null, "admin": "true"}', 'accepted', 'x');
SELECT permission, ticketing.has_event_permission(705001, permission, 'odd@7050') AS by_the_role_alone FROM unnest(ARRAY['view', 'scan', 'edit', 'admin', 'fly']) permission;
-- Whose event it is, is said by the engine's own copy: a client may rewrite public.events.
UPDATE public.events SET host_id = 'thief@7050' WHERE id = 705001;
SELECT ticketing.has_event_permission(705001, 'admin', 'thief@7050') AS thief, ticketing.has_event_permission(705001, 'admin', 'host@7050') AS host, pg_temp.would($$SELECT ticketing.add_co_organizer(705001, 'thief@7050', 'eve@7050', 'admin')$$) AS thief_invites;
-- An event without a host has nobody who may, not even NULL.
INSERT INTO public.events (id, title) VALUES (705004, 'Of nobody');
SELECT ticketing.has_event_permission(705004, 'view', NULL) AS nobody, ticketing.has_event_permission(705004, 'view', '') AS empty, pg_temp.would($$SELECT ticketing.add_co_organizer(705004, 'host@7050', 'eve@7050')$$) AS add;

-- ---- Who may change whom

CALL pg_temp.new_event(705005);
CREATE TEMP TABLE team (who text, role text, permissions jsonb, status text);
INSERT INTO team VALUES ('viewer', 'viewer', '{}', 'accepted'), ('scanner', 'scanner', '{"edit": true}', 'accepted'), ('editor', 'editor', '{"scan": false}', 'accepted'), ('admin', 'admin', '{}', 'accepted'), ('admin2', 'admin', '{}', 'accepted'),
  ('leader', 'viewer', '{"admin": true}', 'accepted'), ('barred', 'admin', '{"admin": false}', 'accepted'), ('asked', 'scanner', '{}', 'invited'), ('asked admin', 'admin', '{}', 'invited'), ('gone', 'editor', '{"admin": true}', 'removed'), ('gone barred', 'editor', '{"edit": false}', 'removed'), ('gone admin', 'admin', '{}', 'removed');
INSERT INTO ticketing.event_co_organizers (event_id, user_id, role, permissions, status, invited_by) SELECT 705005, who || '@7050', role, permissions, status, 'host@7050' FROM team;
CREATE TEMP VIEW actors AS SELECT who FROM team UNION ALL VALUES ('host'), ('stranger');
-- Each action on each co-organizer by each actor but himself: who may; all the others are refused.
CREATE TEMP TABLE tried AS
SELECT n, action, target.who AS target, a.who AS actor, pg_temp.would(format(statement, a.who || '@7050', target.who || '@7050')) AS said
FROM (VALUES (1, 'remove', 'SELECT ticketing.remove_co_organizer(705005, %L, %L)'),
  (2, 'to viewer', 'SELECT ticketing.update_co_organizer(705005, %L, %L, ''viewer'')'), (3, 'to scanner', 'SELECT ticketing.update_co_organizer(705005, %L, %L, ''scanner'')'),
  (4, 'to editor', 'SELECT ticketing.update_co_organizer(705005, %L, %L, ''editor'')'), (5, 'to admin', 'SELECT ticketing.update_co_organizer(705005, %L, %L, ''admin'')'),
  (6, 'grant', 'SELECT ticketing.update_co_organizer(705005, %L, %L, permissions => ''{"view": true}'')'), (7, 'role and grant', 'SELECT ticketing.update_co_organizer(705005, %L, %L, ''viewer'', ''{"view": true}'')'),
  (8, 'invite', 'SELECT ticketing.add_co_organizer(705005, %L, %L, ''editor'')'), (9, 'invite admin', 'SELECT ticketing.add_co_organizer(705005, %L, %L, ''admin'')'),
  (10, 'invite and grant', 'SELECT ticketing.add_co_organizer(705005, %L, %L, ''viewer'', ''{"scan": true}'')')) act (n, action, statement),
  actors a, (SELECT who FROM team UNION ALL VALUES ('new')) target WHERE a.who <> target.who;
SELECT action, target, string_agg(actor, ', ' ORDER BY actor) FILTER (WHERE said = 'ok') AS may, string_agg(DISTINCT split_part(said, ' {', 1), ', ') FILTER (WHERE said <> 'ok' AND actor = 'host') AS to_the_host,
       string_agg(DISTINCT said, ', ') FILTER (WHERE said <> 'ok' AND actor = 'admin') AS to_an_admin
FROM tried GROUP BY n, action, target ORDER BY n, target;
-- Who manages nothing is told that, whatever he asks and whomever it is about, so that he learns nothing.
SELECT actor, said, count(*) FROM tried WHERE actor NOT IN ('host', 'admin', 'admin2', 'leader') GROUP BY 1, 2 ORDER BY 1;
-- What an admin changes keeps its override; what he invites has none.
BEGIN;
SELECT ticketing.update_co_organizer(705005, 'admin@7050', 'scanner@7050', 'viewer') -> 'permissions' AS kept, ticketing.update_co_organizer(705005, 'admin@7050', 'editor@7050', 'scanner', '{"scan": false}') -> 'permissions' AS given_as_it_was,
       ticketing.add_co_organizer(705005, 'admin@7050', 'gone@7050', 'scanner') -> 'permissions' AS invited_again;
ROLLBACK;

-- Nobody raises himself: every call that he can make for himself, by everybody but the host.
CREATE TEMP TABLE own_ways AS
SELECT format('SELECT ticketing.update_co_organizer(705005, %%1$L, %%1$L, %L, %L)', role, permissions) AS statement FROM unnest(ARRAY['viewer', 'scanner', 'editor', 'admin', NULL]) role, unnest(ARRAY[NULL, '{}', '{"admin": true}', '{"view": true, "scan": true, "edit": true, "admin": true}']) permissions
UNION ALL SELECT format('SELECT ticketing.add_co_organizer(705005, %%1$L, %%1$L, %L, %L)', role, permissions) FROM unnest(ARRAY['viewer', 'scanner', 'editor', 'admin']) role, unnest(ARRAY['{}', '{"admin": true}']) permissions
UNION ALL VALUES ('SELECT ticketing.remove_co_organizer(705005, %1$L, %1$L)');
CREATE FUNCTION pg_temp.rights(who text) RETURNS text[] LANGUAGE sql AS $$ SELECT array_agg(p) FROM unnest(ARRAY['view', 'scan', 'edit', 'admin']) p WHERE ticketing.has_event_permission(705005, p, who || '@7050') $$;
-- What he has gained after some of them, or after he accepts; of one who is invited, beyond what he is invited to.
CREATE FUNCTION pg_temp.gained(who text, VARIADIC ways text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
  invited boolean := EXISTS (SELECT FROM ticketing.event_co_organizers WHERE event_id = 705005 AND user_id = who || '@7050' AND status = 'invited');
  before text[] := CASE WHEN invited THEN (SELECT array_agg(p) FROM unnest(ARRAY['view', 'scan', 'edit', 'admin']) p, team t WHERE t.who = gained.who AND ticketing.role_permits(t.role, t.permissions, p)) ELSE pg_temp.rights(who) END;
  gain text;
  way text;
BEGIN
  FOREACH way IN ARRAY ways || 'SELECT ticketing.accept_co_organizer(705005, %1$L)'::text LOOP
    PERFORM pg_temp.refusal(format(way, who || '@7050'));
    SELECT coalesce(gain, string_agg(p, ' ')) INTO gain FROM unnest(pg_temp.rights(who)) p WHERE p <> ALL (coalesce(before, '{}'));
  END LOOP;
  RAISE SQLSTATE 'UNDO0';
EXCEPTION WHEN SQLSTATE 'UNDO0' THEN
  RETURN gain;
END
$$;
SELECT count(*) AS ways, count(pg_temp.gained(who, statement)) AS gains FROM actors, own_ways WHERE who <> 'host';
-- Two after one another: where the first is refused, the second has been tried alone.
CREATE TEMP TABLE first_steps AS SELECT who, statement FROM actors, own_ways WHERE who NOT IN ('host', 'admin2') AND pg_temp.would(format(statement, who || '@7050')) = 'ok';
SELECT who, count(DISTINCT one.statement) AS first_steps, count(*) AS ways, count(pg_temp.gained(who, one.statement, two.statement)) AS gains FROM first_steps one, own_ways two GROUP BY 1 ORDER BY 1;
-- (A gain is seen where there is one: the host raises him.)
SELECT pg_temp.gained('viewer', 'SELECT ticketing.update_co_organizer(705005, ''host@7050'', %1$L, ''editor'')') AS by_the_host;
-- An admin may lower himself, and is none then.
BEGIN;
SELECT ticketing.update_co_organizer(705005, 'admin@7050', 'admin@7050', 'editor') ->> 'role' AS lowered;
SELECT pg_temp.rights('admin') AS has;
SELECT pg_temp.refusal($$SELECT ticketing.update_co_organizer(705005, 'admin@7050', 'admin@7050', 'admin')$$) AS back, pg_temp.refusal($$SELECT ticketing.add_co_organizer(705005, 'admin@7050', 'new@7050')$$) AS invites;
ROLLBACK;
SELECT pg_temp.would($$SELECT ticketing.update_co_organizer(705005, 'leader@7050', 'leader@7050', 'scanner')$$) AS leader_raises_his_role, pg_temp.would($$SELECT ticketing.update_co_organizer(705005, 'leader@7050', 'leader@7050', 'viewer', '{"admin": true, "edit": true}')$$) AS his_override;
-- Everybody who is one or is asked to be may leave.
SELECT who, pg_temp.would(format('SELECT ticketing.remove_co_organizer(705005, %1$L, %1$L)', who || '@7050')) AS leaves FROM actors ORDER BY 1;
-- The host is none, neither by his own invitation nor by an admin's, and accepts nothing.
SELECT pg_temp.would(format('SELECT ticketing.add_co_organizer(705005, %L, ''host@7050'', ''viewer'')', who)) AS host_invited FROM unnest(ARRAY['host@7050', 'admin@7050']) who;
INSERT INTO ticketing.event_co_organizers (event_id, user_id, invited_by) VALUES (705005, 'host@7050', 'x');
SELECT pg_temp.would($$SELECT ticketing.accept_co_organizer(705005, 'host@7050')$$) AS host_accepts;
DELETE FROM ticketing.event_co_organizers WHERE event_id = 705005 AND user_id = 'host@7050';
-- What the host had taken from somebody is not given back by an admin's new invitation, also when the somebody left to get one.
SELECT pg_temp.would($$SELECT ticketing.remove_co_organizer(705005, 'editor@7050', 'editor@7050'), ticketing.add_co_organizer(705005, 'admin@7050', 'editor@7050', 'editor')$$) AS admin,
       pg_temp.would($$SELECT ticketing.remove_co_organizer(705005, 'editor@7050', 'editor@7050'), ticketing.add_co_organizer(705005, 'host@7050', 'editor@7050', 'editor')$$) AS host;

-- ---- What is refused

CREATE TEMP TABLE before AS SELECT pg_temp.everything() AS everything;
-- Values that are missing or wrong.
SELECT call, pg_temp.refusal('SELECT ticketing.' || call) FROM unnest(ARRAY[
  $$add_co_organizer(NULL, 'host@7050', 'a@7050')$$, $$add_co_organizer(705005, NULL, 'a@7050')$$, $$add_co_organizer(705005, '', 'a@7050')$$, $$add_co_organizer(705005, 'host@7050', NULL)$$, $$add_co_organizer(705005, 'host@7050', '')$$,
  $$add_co_organizer(705005, 'host@7050', repeat('x', 256))$$, $$add_co_organizer(705005, 'host@7050', 'a@7050', NULL)$$, $$add_co_organizer(705005, 'host@7050', 'a@7050', '')$$, $$add_co_organizer(705005, 'host@7050', 'a@7050', 'owner')$$,
  $$add_co_organizer(705005, 'host@7050', 'a@7050', 'Admin')$$, $$add_co_organizer(705005, 'host@7050', 'a@7050', 'admin ')$$, $$add_co_organizer(705005, 'host@7050', 'a@7050', permissions => NULL)$$,
  $$accept_co_organizer(NULL, 'a@7050')$$, $$accept_co_organizer(705005, NULL)$$, $$accept_co_organizer(705005, '')$$,
  $$update_co_organizer(NULL, 'host@7050', 'viewer@7050', 'editor')$$, $$update_co_organizer(705005, NULL, 'viewer@7050', 'editor')$$, $$update_co_organizer(705005, 'host@7050', NULL, 'editor')$$, $$update_co_organizer(705005, 'host@7050', 'viewer@7050')$$,
  $$update_co_organizer(705005, 'host@7050', 'viewer@7050', '')$$, $$update_co_organizer(705005, 'host@7050', 'viewer@7050', 'owner')$$,
  $$remove_co_organizer(NULL, 'host@7050', 'viewer@7050')$$, $$remove_co_organizer(705005, NULL, 'viewer@7050')$$, $$remove_co_organizer(705005, 'host@7050', NULL)$$, $$remove_co_organizer(705005, '', '')$$,
  $$list_co_organizers(NULL, 'host@7050')$$, $$list_co_organizers(705005, NULL)$$, $$list_co_organizers(705005, '')$$]) call;
SELECT permissions, pg_temp.refusal(format($$SELECT ticketing.add_co_organizer(705005, 'host@7050', 'a@7050', 'viewer', %L)$$, permissions)) AS add, pg_temp.refusal(format($$SELECT ticketing.update_co_organizer(705005, 'host@7050', 'viewer@7050', permissions => %L)$$, permissions)) AS update
FROM unnest(ARRAY['null', 'true', '"scan"', '[]', '["scan"]', '[{"scan": true}]', '{"scan": null}', '{"scan": "true"}', '{"scan": 1}', '{"scan": {}}', '{"scan": {"scan": true}}', '{"scan": []}', '{"Scan": true}', '{"scan ": true}', '{"": true}', '{"view": true, "host": true}', '{"scanner": true}', '{"sca": true}']) permissions;
-- Events and people that there are not, and what has happened already.
SELECT call, pg_temp.refusal('SELECT ticketing.' || call) FROM unnest(ARRAY[
  $$add_co_organizer(705099, 'host@7050', 'a@7050')$$, $$accept_co_organizer(705099, 'a@7050')$$, $$update_co_organizer(705099, 'host@7050', 'a@7050', 'viewer')$$, $$remove_co_organizer(705099, 'host@7050', 'a@7050')$$, $$remove_co_organizer(705099, 'a@7050', 'a@7050')$$, $$list_co_organizers(705099, 'host@7050')$$,
  $$accept_co_organizer(705005, 'new@7050')$$, $$update_co_organizer(705005, 'host@7050', 'new@7050', 'viewer')$$, $$remove_co_organizer(705005, 'host@7050', 'new@7050')$$, $$remove_co_organizer(705005, 'new@7050', 'new@7050')$$, $$remove_co_organizer(705005, 'host@7050', 'host@7050')$$,
  $$accept_co_organizer(705005, 'scanner@7050')$$, $$accept_co_organizer(705005, 'gone@7050')$$,
  $$add_co_organizer(705005, 'host@7050', 'asked@7050', 'scanner')$$, $$add_co_organizer(705005, 'host@7050', 'asked@7050', 'viewer')$$, $$add_co_organizer(705005, 'host@7050', 'asked@7050', 'scanner', '{"edit": true}')$$,
  $$add_co_organizer(705005, 'host@7050', 'scanner@7050', 'scanner', '{"edit": true}')$$, $$add_co_organizer(705005, 'host@7050', 'scanner@7050', 'scanner')$$,
  $$update_co_organizer(705005, 'host@7050', 'scanner@7050', 'scanner')$$, $$update_co_organizer(705005, 'host@7050', 'scanner@7050', permissions => '{"edit": true}')$$, $$update_co_organizer(705005, 'host@7050', 'gone@7050', 'viewer')$$,
  $$remove_co_organizer(705005, 'host@7050', 'gone@7050')$$, $$remove_co_organizer(705005, 'gone@7050', 'gone@7050')$$,
  $$list_co_organizers(705005, 'stranger@7050')$$, $$list_co_organizers(705005, 'asked@7050')$$, $$list_co_organizers(705005, 'gone@7050')$$]) call;
SELECT everything = pg_temp.everything() AS nothing_changed FROM before;
-- The list: who helps or is asked to. Of its own event alone.
SELECT user_id, role, permissions, status, invited_by, accepted_at, changed_by FROM ticketing.list_co_organizers(705005, 'viewer@7050');
SELECT count(*) AS of_another_event FROM ticketing.list_co_organizers(705002, 'host@7050');

-- ---- By hand

-- Each change has its row in the log, with its time and nobody's name, unless it says when and who.
DELETE FROM ticketing.event_co_organizers WHERE event_id = 705001;
DELETE FROM ticketing.co_organizer_changes WHERE event_id = 705001;
SELECT ticketing.add_co_organizer(705001, 'host@7050', 'cat@7050', 'editor') ->> 'changed_by' AS by_function;
UPDATE ticketing.event_co_organizers SET role = 'admin' WHERE event_id = 705001;
SELECT changed_by, changed_at > ticketing.clock() AS later FROM ticketing.event_co_organizers WHERE event_id = 705001;
CALL pg_temp.later('1 min');
SELECT ticketing.accept_co_organizer(705001, 'cat@7050') ->> 'changed_by' AS by_function;
UPDATE ticketing.event_co_organizers SET role = 'viewer', changed_at = ticketing.clock() + interval '1 s', changed_by = 'dba' WHERE event_id = 705001;
UPDATE ticketing.event_co_organizers SET role = 'admin', changed_at = ticketing.clock() - interval '1 day', changed_by = 'backdated' WHERE event_id = 705001;
UPDATE ticketing.event_co_organizers SET user_id = 'dog@7050' WHERE event_id = 705001;
-- What does not happen leaves nothing in the log.
INSERT INTO ticketing.event_co_organizers (event_id, user_id, role, status, invited_by) VALUES (705001, 'dog@7050', 'admin', 'accepted', 'x') ON CONFLICT DO NOTHING;
INSERT INTO ticketing.event_co_organizers (event_id, user_id, role, invited_by) VALUES (705001, 'dog@7050', 'editor', 'x') ON CONFLICT (event_id, user_id) DO UPDATE SET role = excluded.role;
DELETE FROM ticketing.event_co_organizers WHERE event_id = 705001;
SELECT * FROM pg_temp.log_of('cat');
SELECT * FROM pg_temp.log_of('dog');
BEGIN;
SELECT count(*) AS rows FROM ticketing.event_co_organizers WHERE event_id = 705005 \gset
DELETE FROM ticketing.co_organizer_changes WHERE event_id = 705005;
TRUNCATE ticketing.event_co_organizers;
SELECT count(*) = :rows AS each_is_logged, bool_and(status IS NULL AND changed_by IS NULL) AS as_deleted FROM ticketing.co_organizer_changes WHERE event_id = 705005;
ROLLBACK;

-- ---- Claims

-- A client is who his claims say, and asks for nobody else; without claims, or with PostgREST's empty string, the argument says who it is.
CREATE FUNCTION pg_temp.asks(claims text, as_role text, who text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
  answer boolean;
BEGIN
  PERFORM set_config('request.jwt.claims', claims, true), set_config('role', as_role, true);
  answer := ticketing.has_event_permission(705005, 'scan', who);
  PERFORM set_config('role', 'none', true);
  RETURN answer;
END
$$;
SELECT as_role, claims, pg_temp.asks(claims, as_role, NULL) AS himself, pg_temp.asks(claims, as_role, 'scanner@7050') AS scanner, pg_temp.asks(claims, as_role, 'host@7050') AS host, pg_temp.asks(claims, as_role, 'viewer@7050') AS viewer
FROM (VALUES ('authenticated', '{"sub": "scanner@7050", "role": "authenticated"}'), ('authenticated', '{"sub": "viewer@7050", "role": "authenticated"}'), ('authenticated', '{"sub": "host@7050"}'), ('authenticated', '{"sub": "host@7050", "role": "service_role"}'), ('authenticated', '{"sub": ""}'),
  ('authenticated', '{"sub": null}'), ('authenticated', '{"role": "service_role"}'), ('authenticated', '[]'), ('authenticated', ''),
  ('service_role', '{"role": "service_role"}'), ('service_role', ''), ('service_role', '{"sub": "viewer@7050"}'), ('none', '')) c (as_role, claims);
SELECT pg_temp.refusal($$SELECT pg_temp.asks('no JSON', 'authenticated', NULL)$$) AS no_json;

-- ---- In a policy of the application

BEGIN;
CREATE TABLE public.notes_7050 (event_id integer, note text);
INSERT INTO public.notes_7050 VALUES (705001, 'one'), (705005, 'five'), (705099, 'of no event'), (NULL, 'of none');
ALTER TABLE public.notes_7050 ENABLE ROW LEVEL SECURITY;
GRANT SELECT, UPDATE ON public.notes_7050 TO anon, authenticated;
CREATE POLICY team_reads ON public.notes_7050 FOR SELECT TO authenticated USING (ticketing.has_event_permission(event_id, 'view'));
CREATE POLICY team_edits ON public.notes_7050 FOR UPDATE TO authenticated USING (ticketing.has_event_permission(event_id, 'edit'));
CREATE FUNCTION pg_temp.sees(who text, as_role text DEFAULT 'authenticated', OUT notes text, OUT edited bigint) LANGUAGE plpgsql AS $$
BEGIN
  PERFORM set_config('request.jwt.claims', CASE WHEN who <> '' THEN json_build_object('sub', who || '@7050', 'role', as_role)::text ELSE '' END, true), set_config('role', as_role, true);
  SELECT string_agg(note, ', ' ORDER BY note) INTO notes FROM public.notes_7050;
  UPDATE public.notes_7050 SET note = note;
  GET DIAGNOSTICS edited = ROW_COUNT;
  PERFORM set_config('role', 'none', true);
END
$$;
SELECT who, s.* FROM unnest(ARRAY['host', 'admin', 'editor', 'scanner', 'viewer', 'asked', 'gone', 'stranger', '']) WITH ORDINALITY w (who, n), pg_temp.sees(who) s ORDER BY n;
SELECT * FROM pg_temp.sees('host', 'anon');
-- Removed, he sees nothing from the next statement on.
SELECT ticketing.remove_co_organizer(705005, 'host@7050', 'editor@7050') ->> 'status' AS editor;
SELECT * FROM pg_temp.sees('editor');
ROLLBACK;

-- ---- Transactions

-- At REPEATABLE READ a command decides by what is so now, not by what was when the transaction began, and sees its own work.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM ticketing.list_co_organizers(705005, 'host@7050');
SELECT ticketing.add_co_organizer(705005, 'host@7050', 'late@7050') ->> 'status' AS status;
SELECT ticketing.accept_co_organizer(705005, 'late@7050') ->> 'status' AS status;
SELECT status FROM ticketing.list_co_organizers(705005, 'late@7050') WHERE user_id = 'late@7050';
ROLLBACK;
SELECT pg_temp.row_of('late', 705005) AS undone;

SELECT * FROM ticketing.check_invariants();
CALL pg_temp.clear_test();
