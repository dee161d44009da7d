/*
 * organizers.c
 *		Co-organizers: who helps the host of an event, and with what.
 *
 * What a role permits is said by ticketing.role_permits alone. Reads
 * ticketing.event_settings; reads and writes ticketing.event_co_organizers,
 * whose trigger keeps the log of its changes. Locks: the row of who acts,
 * shared, so that what he does by a right commits before that right can be
 * taken, and the row that he changes; the lesser user id first.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define USER_ID_MAX_BYTES 255

/* What a command answers, and in which order. */
#define ROW_COLUMNS "user_id, role, permissions, status, invited_by, invited_at, accepted_at, removed_at, changed_at, changed_by"
/* What is judged: role, permissions, status, whether he leads (is admin by his role or by what the host has set). */
#define JUDGED_COLUMNS "role, permissions, status, role = 'admin' OR ticketing.role_permits(role, permissions, 'admin'), " \
	"status = 'accepted' AND ticketing.role_permits(role, permissions, 'admin')"
/* The times of a row only grow. */
#define CHANGED_AT(now) "changed_at = greatest(" now ", changed_at + interval '1 microsecond')"

KEPT_PLAN(read_host,
		  "SELECT host_id FROM ticketing.event_settings WHERE event_id = $1", INT4OID);
KEPT_PLAN(read_permission,
		  "SELECT coalesce(s.host_id = $2, false) OR ticketing.role_permits(c.role, c.permissions, $3) "
		  "FROM ticketing.event_settings s "
		  "LEFT JOIN ticketing.event_co_organizers c ON c.event_id = s.event_id AND c.user_id = $2 AND c.status = 'accepted' "
		  "WHERE s.event_id = $1",
		  INT4OID, TEXTOID, TEXTOID);
KEPT_PLAN(lock_shared,
		  "SELECT " JUDGED_COLUMNS " FROM ticketing.event_co_organizers WHERE event_id = $1 AND user_id = $2 FOR SHARE",
		  INT4OID, TEXTOID);
KEPT_PLAN(lock_for_change,
		  "SELECT " JUDGED_COLUMNS " FROM ticketing.event_co_organizers WHERE event_id = $1 AND user_id = $2 FOR UPDATE",
		  INT4OID, TEXTOID);
KEPT_PLAN(invite,
		  "INSERT INTO ticketing.event_co_organizers (event_id, user_id, role, permissions, status, invited_by, invited_at, changed_at, changed_by) "
		  "VALUES ($1, $2, $3, $4, 'invited', $5, $6, $6, $5) ON CONFLICT (event_id, user_id) DO NOTHING RETURNING " ROW_COLUMNS,
		  INT4OID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(invite_again,
		  "UPDATE ticketing.event_co_organizers SET role = $3, permissions = $4, status = 'invited', invited_by = $5, invited_at = $6, "
		  "accepted_at = NULL, removed_at = NULL, changed_by = $5, " CHANGED_AT("$6")
		  " WHERE event_id = $1 AND user_id = $2 RETURNING " ROW_COLUMNS,
		  INT4OID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(set_terms,
		  "UPDATE ticketing.event_co_organizers SET role = $3, permissions = $4, changed_by = $5, " CHANGED_AT("$6")
		  " WHERE event_id = $1 AND user_id = $2 RETURNING " ROW_COLUMNS,
		  INT4OID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(set_accepted,
		  "UPDATE ticketing.event_co_organizers SET status = 'accepted', accepted_at = $3, changed_by = $2, " CHANGED_AT("$3")
		  " WHERE event_id = $1 AND user_id = $2 RETURNING " ROW_COLUMNS,
		  INT4OID, TEXTOID, TIMESTAMPTZOID);
KEPT_PLAN(set_removed,
		  "UPDATE ticketing.event_co_organizers SET status = 'removed', removed_at = $3, changed_by = $4, " CHANGED_AT("$3")
		  " WHERE event_id = $1 AND user_id = $2 RETURNING " ROW_COLUMNS,
		  INT4OID, TEXTOID, TIMESTAMPTZOID, TEXTOID);
KEPT_PLAN(read_team,
		  "SELECT user_id, role, permissions, status, invited_by, invited_at, accepted_at, changed_at, changed_by "
		  "FROM ticketing.event_co_organizers WHERE event_id = $1 AND status <> 'removed' ORDER BY user_id",
		  INT4OID);

/* From the least to the most. */
static const char *const roles[] = {"viewer", "scanner", "editor", "admin"};
static const char *const permission_names[] = {"view", "scan", "edit", "admin"};

/* A co-organizer's row, which is locked. */
typedef struct CoOrganizer
{
	bool		exists;
	char	   *role;
	Jsonb	   *permissions;
	char	   *status;
	bool		leads;			/* is meant to be an admin, accepted or not */
	bool		may_manage;		/* has accepted, and has the permission admin */
} CoOrganizer;

/* A change of a co-organizer that is asked for, and what decides about it. */
typedef struct TeamChange
{
	int32		event_id;
	char	   *actor;
	char	   *user_id;
	bool		by_host;
	bool		of_host;
	bool		of_himself;
	CoOrganizer acting;			/* the actor's row */
	CoOrganizer row;			/* the one to be changed */
} TeamChange;

/* The place of a role in the ladder, -1: there is no such role. */
static int
role_rank(const char *role)
{
	for (int rank = 0; rank < lengthof(roles); rank++)
		if (strcmp(roles[rank], role) == 0)
			return rank;
	return -1;
}

static void
require_role(const char *role)
{
	if (role_rank(role) < 0)
		refuse(BAD_REQUEST, "\"argument\": \"role\"", "Use viewer, scanner, editor or admin.", "there is no such role");
}

static bool
is_permission_name(const JsonbValue *key)
{
	for (int i = 0; i < lengthof(permission_names); i++)
		if (key->val.string.len == strlen(permission_names[i]) &&
			memcmp(key->val.string.val, permission_names[i], key->val.string.len) == 0)
			return true;
	return false;
}

/* Whether this says of permissions alone that they are granted or taken. */
static bool
is_override(Jsonb *permissions)
{
	JsonbIterator *iterator;
	JsonbIteratorToken token;
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(permissions))
		return false;
	iterator = JsonbIteratorInit(&permissions->root);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY && !is_permission_name(&value))
			return false;
		if (token == WJB_VALUE && value.type != jbvBool)
			return false;
	}
	return true;
}

static Jsonb *
permissions_argument(FunctionCallInfo fcinfo, int number)
{
	Jsonb	   *permissions = PG_GETARG_JSONB_P(number);

	if (!is_override(permissions))
		refuse(BAD_REQUEST, "\"argument\": \"permissions\"",
			   "Use an object whose keys are of view, scan, edit and admin, each true or false.",
			   "permissions are malformed");
	return permissions;
}

static bool
same_permissions(Jsonb *one, Jsonb *other)
{
	return compareJsonbContainers(&one->root, &other->root) == 0;
}

/* Whether an override takes something away. */
static bool
takes_something(Jsonb *permissions)
{
	for (int i = 0; i < lengthof(permission_names); i++)
	{
		bool		granted;

		if (json_bool_at(permissions, JSON_PATH(permission_names[i]), &granted) && !granted)
			return true;
	}
	return false;
}

static _Noreturn void
refuse_permission(int32 event_id, const char *permission)
{
	refuse(NOT_ALLOWED, psprintf("\"event_id\": %d, \"permission\": \"%s\"", event_id, permission), NULL,
		   "user has not the permission %s at event %d", permission, event_id);
}

static _Noreturn void
refuse_to_all_but_host(const TeamChange *change, const char *what)
{
	refuse(NOT_ALLOWED, psprintf("\"event_id\": %d, \"permission\": \"host\"", change->event_id), "Ask the host to do it.",
		   "%s is the host's alone at event %d", what, change->event_id);
}

static _Noreturn void
refuse_uninvited(const TeamChange *change)
{
	refuse(NOT_FOUND, psprintf("\"event_id\": %d", change->event_id), NULL,
		   "user was never invited to event %d", change->event_id);
}

/* Refuses because of the state of the row; the figures say what that is. */
static _Noreturn void
refuse_row(const TeamChange *change, RefusalReason reason, const char *hint)
{
	const CoOrganizer *row = &change->row;

	refuse(reason,
		   psprintf("\"event_id\": %d, \"status\": \"%s\", \"role\": \"%s\", \"permissions\": %s", change->event_id, row->status, row->role,
					JsonbToCString(NULL, &row->permissions->root, VARSIZE(row->permissions))),
		   hint, "co-organizer is %s as %s at event %d", row->status, row->role, change->event_id);
}

static _Noreturn void
refuse_host(const TeamChange *change)
{
	refuse(WRONG_STATE, psprintf("\"event_id\": %d", change->event_id), "The host may do everything already.",
		   "user is the host of event %d", change->event_id);
}

/* Locks a user's row, if there is one, and reads it as it is now. */
static void
lock_row(KeptPlan *lock, const TeamChange *change, const char *user_id, CoOrganizer *row)
{
	Datum		values[2] = {Int32GetDatum(change->event_id), CStringGetTextDatum(user_id)};

	memset(row, 0, sizeof(CoOrganizer));
	row->exists = run_latest(lock, values, NULL) == 1;
	if (!row->exists)
		return;
	row->role = row_text(0, 1);
	row->permissions = DatumGetJsonbP(row_datum(0, 2));
	row->status = row_text(0, 3);
	row->leads = DatumGetBool(row_datum(0, 4));
	row->may_manage = DatumGetBool(row_datum(0, 5));
}

/* Locks the rows of a change; then reads whose event it is, and refuses one that there is not. */
static void
begin_change(TeamChange *change)
{
	Datum		event_id = Int32GetDatum(change->event_id);
	int			order = strcmp(change->actor, change->user_id);
	char	   *host_id;

	if (order < 0)
		lock_row(&lock_shared, change, change->actor, &change->acting);
	lock_row(&lock_for_change, change, change->user_id, &change->row);
	if (order > 0)
		lock_row(&lock_shared, change, change->actor, &change->acting);
	change->of_himself = order == 0;
	if (change->of_himself)
		change->acting = change->row;

	if (run_latest(&read_host, &event_id, NULL) == 0)
		refuse_unknown_event(change->event_id);
	host_id = row_text(0, 1);
	change->by_host = host_id != NULL && strcmp(host_id, change->actor) == 0;
	change->of_host = host_id != NULL && strcmp(host_id, change->user_id) == 0;
}

/* Refuses whoever is neither the host nor an accepted admin. */
static void
require_manager(const TeamChange *change)
{
	if (!change->by_host && !change->acting.may_manage)
		refuse_permission(change->event_id, "admin");
}

/* The changed row, which the last statement has returned. */
static Datum
change_answer(const TeamChange *change)
{
	Jsonb	   *permissions = DatumGetJsonbP(row_datum(0, 3));
	Answer		answer;

	answer_begin(&answer);
	answer_int(&answer, "event_id", change->event_id);
	answer_text(&answer, "user_id", row_text(0, 1));
	answer_text(&answer, "role", row_text(0, 2));
	answer_raw(&answer, "permissions", JsonbToCString(NULL, &permissions->root, VARSIZE(permissions)));
	answer_text(&answer, "status", row_text(0, 4));
	answer_text(&answer, "invited_by", row_text(0, 5));
	answer_time(&answer, "invited_at", DatumGetTimestampTz(row_datum(0, 6)));
	answer_row_time(&answer, "accepted_at", 0, 7);
	answer_row_time(&answer, "removed_at", 0, 8);
	answer_row_time(&answer, "changed_at", 0, 9);
	answer_text(&answer, "changed_by", row_text(0, 10));
	return answer_jsonb(&answer);
}

/* Refuses an invitation that the actor may not make, or that there is already. */
static void
judge_invitation(const TeamChange *change, const char *role, Jsonb *permissions)
{
	const CoOrganizer *row = &change->row;

	require_manager(change);
	if (!change->by_host && strcmp(role, "admin") == 0)
		refuse_to_all_but_host(change, "to make somebody an admin");
	if (!change->by_host && JB_ROOT_COUNT(permissions) > 0)
		refuse_to_all_but_host(change, "to grant or take permissions beside the role");
	if (change->of_host)
		refuse_host(change);
	if (!row->exists)
		return;
	if (strcmp(row->status, "removed") != 0)
	{
		if (strcmp(row->role, role) == 0 && same_permissions(row->permissions, permissions))
			refuse_row(change, ALREADY_DONE, NULL);
		refuse_row(change, WRONG_STATE, "Use update_co_organizer to change the terms.");
	}
	/* else a new invitation would give back what the host had taken */
	if (!change->by_host && takes_something(row->permissions))
		refuse_to_all_but_host(change, "to invite somebody from whom a permission was taken");
}

PG_FUNCTION_INFO_V1(dvnt_add_co_organizer);

/* add_co_organizer(event_id, actor, user_id, role, permissions) → jsonb */
Datum
dvnt_add_co_organizer(PG_FUNCTION_ARGS)
{
	TeamChange	change = {0};
	char	   *role;
	Jsonb	   *permissions;
	Datum		values[6];
	uint64		rows;
	Datum		result;

	require_argument(fcinfo, 0, "event_id");
	change.event_id = PG_GETARG_INT32(0);
	change.actor = text_argument(fcinfo, 1, "actor");
	change.user_id = text_argument(fcinfo, 2, "user_id");
	if (strlen(change.user_id) > USER_ID_MAX_BYTES)
		refuse(BAD_REQUEST, "\"argument\": \"user_id\"", NULL, "user_id is longer than %d bytes", USER_ID_MAX_BYTES);
	role = text_argument(fcinfo, 3, "role");
	require_role(role);
	require_argument(fcinfo, 4, "permissions");
	permissions = permissions_argument(fcinfo, 4);

	begin_command();
	do
	{
		begin_change(&change);
		judge_invitation(&change, role, permissions);
		values[0] = Int32GetDatum(change.event_id);
		values[1] = CStringGetTextDatum(change.user_id);
		values[2] = CStringGetTextDatum(role);
		values[3] = JsonbPGetDatum(permissions);
		values[4] = CStringGetTextDatum(change.actor);
		values[5] = TimestampTzGetDatum(engine_now());
		rows = run_latest(change.row.exists ? &invite_again : &invite, values, NULL);
	} while (rows == 0);		/* somebody else has invited him meanwhile */
	result = SPI_datumTransfer(change_answer(&change), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

PG_FUNCTION_INFO_V1(dvnt_accept_co_organizer);

/* accept_co_organizer(event_id, user_id) → jsonb */
Datum
dvnt_accept_co_organizer(PG_FUNCTION_ARGS)
{
	TeamChange	change = {0};
	Datum		values[3];
	Datum		result;

	require_argument(fcinfo, 0, "event_id");
	change.event_id = PG_GETARG_INT32(0);
	change.user_id = text_argument(fcinfo, 1, "user_id");
	change.actor = change.user_id;

	begin_command();
	begin_change(&change);
	if (!change.row.exists)
		refuse_uninvited(&change);
	if (strcmp(change.row.status, "removed") == 0)
		refuse_row(&change, WRONG_STATE, "Ask to be invited again.");
	if (strcmp(change.row.status, "accepted") == 0)
		refuse_row(&change, ALREADY_DONE, NULL);
	if (change.of_host)
		refuse_host(&change);
	values[0] = Int32GetDatum(change.event_id);
	values[1] = CStringGetTextDatum(change.user_id);
	values[2] = TimestampTzGetDatum(engine_now());
	run_latest(&set_accepted, values, NULL);
	result = SPI_datumTransfer(change_answer(&change), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/* Refuses a change of terms that the actor may not make, or that would change nothing. */
static void
judge_update(const TeamChange *change, const char *role, Jsonb *permissions)
{
	const CoOrganizer *row = &change->row;
	bool		other_permissions;
	bool		upwards;

	require_manager(change);
	if (!row->exists)
		refuse_uninvited(change);
	if (strcmp(row->status, "removed") == 0)
		refuse_row(change, WRONG_STATE, "Invite the user again.");
	other_permissions = !same_permissions(row->permissions, permissions);
	upwards = role_rank(role) > role_rank(row->role);
	if (!change->by_host)
	{
		if (row->leads && !change->of_himself)
			refuse_to_all_but_host(change, "to change an admin");
		if (other_permissions)
			refuse_to_all_but_host(change, "to grant or take permissions beside the role");
		if (upwards && change->of_himself)
			refuse_to_all_but_host(change, "to raise the one who asks");
		if (upwards && strcmp(role, "admin") == 0)
			refuse_to_all_but_host(change, "to make somebody an admin");
	}
	if (!other_permissions && strcmp(row->role, role) == 0)
		refuse_row(change, ALREADY_DONE, NULL);
}

PG_FUNCTION_INFO_V1(dvnt_update_co_organizer);

/* update_co_organizer(event_id, actor, user_id, role, permissions) → jsonb */
Datum
dvnt_update_co_organizer(PG_FUNCTION_ARGS)
{
	TeamChange	change = {0};
	char	   *role;
	Jsonb	   *permissions = NULL;
	Datum		values[6];
	Datum		result;

	require_argument(fcinfo, 0, "event_id");
	change.event_id = PG_GETARG_INT32(0);
	change.actor = text_argument(fcinfo, 1, "actor");
	change.user_id = text_argument(fcinfo, 2, "user_id");
	role = optional_text(fcinfo, 3);
	if (role != NULL)
		require_role(role);
	if (!PG_ARGISNULL(4))
		permissions = permissions_argument(fcinfo, 4);
	if (role == NULL && permissions == NULL)
		refuse(BAD_REQUEST, "\"argument\": \"role\"", "Give role or permissions a value.", "nothing to change");

	begin_command();
	begin_change(&change);
	if (change.row.exists)
	{
		role = role ? role : change.row.role;
		permissions = permissions ? permissions : change.row.permissions;
	}
	judge_update(&change, role, permissions);
	values[0] = Int32GetDatum(change.event_id);
	values[1] = CStringGetTextDatum(change.user_id);
	values[2] = CStringGetTextDatum(role);
	values[3] = JsonbPGetDatum(permissions);
	values[4] = CStringGetTextDatum(change.actor);
	values[5] = TimestampTzGetDatum(engine_now());
	run_latest(&set_terms, values, NULL);
	result = SPI_datumTransfer(change_answer(&change), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/* Refuses a removal that the actor may not make, or that has happened. */
static void
judge_removal(const TeamChange *change)
{
	if (!change->of_himself)
		require_manager(change);
	if (!change->row.exists)
		refuse_uninvited(change);
	if (strcmp(change->row.status, "removed") == 0)
		refuse_row(change, ALREADY_DONE, NULL);
	if (change->row.leads && !change->by_host && !change->of_himself)
		refuse_to_all_but_host(change, "to remove an admin");
}

PG_FUNCTION_INFO_V1(dvnt_remove_co_organizer);

/* remove_co_organizer(event_id, actor, user_id) → jsonb */
Datum
dvnt_remove_co_organizer(PG_FUNCTION_ARGS)
{
	TeamChange	change = {0};
	Datum		values[4];
	Datum		result;

	require_argument(fcinfo, 0, "event_id");
	change.event_id = PG_GETARG_INT32(0);
	change.actor = text_argument(fcinfo, 1, "actor");
	change.user_id = text_argument(fcinfo, 2, "user_id");

	begin_command();
	begin_change(&change);
	judge_removal(&change);
	values[0] = Int32GetDatum(change.event_id);
	values[1] = CStringGetTextDatum(change.user_id);
	values[2] = TimestampTzGetDatum(engine_now());
	values[3] = CStringGetTextDatum(change.actor);
	run_latest(&set_removed, values, NULL);
	result = SPI_datumTransfer(change_answer(&change), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/* Whether the actor has the permission now; known says whether there is such an event. */
static bool
has_permission(int32 event_id, const char *actor, const char *permission, bool *known)
{
	Datum		values[3] = {Int32GetDatum(event_id), CStringGetTextDatum(actor), CStringGetTextDatum(permission)};

	*known = run_latest(&read_permission, values, NULL) == 1;
	return *known && DatumGetBool(row_datum(0, 1));
}

/*
 * Whether somebody may do something at an event: its host everything, an
 * accepted co-organizer what his role and the host's override permit.
 */
bool
is_permitted(int32 event_id, const char *actor, const char *permission)
{
	bool		known;

	return has_permission(event_id, actor, permission, &known);
}

/* Refuses an unknown event, and an actor who has not the permission at it. */
void
require_permission(int32 event_id, const char *actor, const char *permission)
{
	bool		known;
	bool		permitted = has_permission(event_id, actor, permission, &known);

	if (!known)
		refuse_unknown_event(event_id);
	if (!permitted)
		refuse_permission(event_id, permission);
}

/* The rows of a statement by event_id, the first argument, for an actor, the second, who needs a permission. */
Datum
rows_about_event(FunctionCallInfo fcinfo, KeptPlan *plan, const char *permission)
{
	char	   *actor = text_argument(fcinfo, 1, "actor");
	Datum		event_id;

	require_argument(fcinfo, 0, "event_id");
	event_id = Int32GetDatum(PG_GETARG_INT32(0));
	InitMaterializedSRF(fcinfo, 0);
	begin_command();
	begin_reading();
	require_permission(PG_GETARG_INT32(0), actor, permission);
	run_stable(plan, &event_id, NULL);
	rows_to_result(fcinfo);
	end_reading();
	SPI_finish();
	return (Datum) 0;
}

PG_FUNCTION_INFO_V1(dvnt_list_co_organizers);

/* list_co_organizers(event_id, actor) → rows */
Datum
dvnt_list_co_organizers(PG_FUNCTION_ARGS)
{
	return rows_about_event(fcinfo, &read_team, "view");
}
