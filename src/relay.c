/*
 * relay.c
 *		The database's side of the relay: it proves where it is, and how it
 *		does. What it may send is relay_claim.c's, what it brings back
 *		relay_complete.c's.
 *
 * Reads and writes ticketing.installation and stripe_requests.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "catalog/pg_type.h"
#include "commands/dbcommands.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

KEPT_PLAN(read_installation,
		  "SELECT stripe_account_id, livemode, system_identifier, database_name, name FROM ticketing.installation");
KEPT_PLAN(record_installation,
		  "INSERT INTO ticketing.installation (stripe_account_id, livemode, system_identifier, database_name, name) "
		  "VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
		  TEXTOID, BOOLOID, INT8OID, TEXTOID, TEXTOID);
PG_FUNCTION_INFO_V1(dvnt_relay_start);

/* relay_start(account_id, livemode, installation) → jsonb */
Datum
dvnt_relay_start(PG_FUNCTION_ARGS)
{
	char	   *account = text_argument(fcinfo, 0, "account_id");
	bool		livemode;
	char	   *name = optional_text(fcinfo, 2);
	Datum		values[5];
	const char *differs = NULL;
	Answer		answer;
	Datum		result;

	require_argument(fcinfo, 1, "livemode");
	livemode = PG_GETARG_BOOL(1);
	begin_command();
	values[0] = CStringGetTextDatum(account);
	values[1] = BoolGetDatum(livemode);
	values[2] = Int64GetDatum((int64) GetSystemIdentifier());
	values[3] = CStringGetTextDatum(get_database_name(MyDatabaseId));
	values[4] = CStringGetTextDatum(name ? name : "");
	run_latest(&record_installation, values, NULL);
	if (run_latest(&read_installation, NULL, NULL) != 1)
		elog(ERROR, "the installation could not be recorded");
	if (strcmp(row_text(0, 1), account) != 0)
		differs = "stripe_account_id";
	else if (DatumGetBool(row_datum(0, 2)) != livemode)
		differs = "livemode";
	else if (DatumGetInt64(row_datum(0, 3)) != DatumGetInt64(values[2]))
		differs = "system_identifier";
	else if (strcmp(row_text(0, 4), get_database_name(MyDatabaseId)) != 0)
		differs = "database_name";
	else if (strcmp(row_text(0, 5), name ? name : "") != 0)
		differs = "name";

	answer_begin(&answer);
	answer_bool(&answer, "armed", differs == NULL);
	if (differs != NULL)
	{
		answer_text(&answer, "differs", differs);
		answer_text(&answer, "reason", psprintf("%s is not that of the installation which this database belongs to; if this copy is meant to call Stripe, call ticketing.rearm_relay", differs));
	}
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

KEPT_PLAN(forget_installation, "DELETE FROM ticketing.installation");
KEPT_PLAN(drop_pending,
		  "UPDATE ticketing.stripe_requests SET state = 'failed', applied = true, body = NULL, error = $1, completed_at = $2, lease_token = NULL, lease_expires_at = NULL "
		  "WHERE state IN ('ready', 'leased', 'unknown')",
		  JSONBOID, TIMESTAMPTZOID);

PG_FUNCTION_INFO_V1(dvnt_rearm_relay);

/* rearm_relay(database, pending) → jsonb */
Datum
dvnt_rearm_relay(PG_FUNCTION_ARGS)
{
	char	   *database = text_argument(fcinfo, 0, "database");
	char	   *pending = text_argument(fcinfo, 1, "pending");
	bool		drops = strcmp(pending, "drop") == 0;
	Datum		values[2];
	uint64		dropped = 0;
	Answer		answer;
	Datum		result;

	if (strcmp(database, get_database_name(MyDatabaseId)) != 0)
		refuse(BAD_REQUEST, "\"argument\": \"database\"", "Name the database that you are connected to.",
			   "this is not database \"%s\"", database);
	if (!drops && strcmp(pending, "send") != 0)
		refuse(BAD_REQUEST, "\"argument\": \"pending\"", "Say send or drop.", "pending is \"%s\"", pending);
	begin_command();
	run_latest(&forget_installation, NULL, NULL);
	if (drops)
	{
		values[0] = jsonb_from_text("{\"http_status\": 0, \"message\": \"dropped when the relay was armed for another installation\"}");
		values[1] = TimestampTzGetDatum(engine_now());
		dropped = run_latest(&drop_pending, values, NULL);
	}
	answer_begin(&answer);
	answer_int(&answer, "dropped", (int64) dropped);
	result = SPI_datumTransfer(answer_jsonb(&answer), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}

/* What is wrong, the worst first; created_at and completed_at are the engine's time. */
KEPT_PLAN(find_trouble,
		  "SELECT reason FROM (VALUES "
		  "  (1, NOT EXISTS (SELECT FROM ticketing.installation), 'no relay has recorded whose database this is'), "
		  "  (2, NOT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'dvnt_stripe_relay' AND datname = current_database()), 'no relay is connected'), "
		  "  (3, EXISTS (SELECT FROM ticketing.stripe_requests WHERE state = 'leased' AND lease_expires_at < $1 - interval '1 minute'), 'leases have run out and nobody claims'), "
		  "  (4, EXISTS (SELECT FROM ticketing.stripe_requests WHERE state = 'ready' AND runnable AND lane = 0 AND created_at < $1 - interval '1 minute'), 'a refund or cancel has waited for more than a minute'), "
		  "  (5, EXISTS (SELECT FROM ticketing.stripe_requests WHERE state = 'ready' AND runnable AND lane = 1 AND created_at < $1 - interval '15 minutes'), 'a buyer has waited for more than 15 minutes'), "
		  "  (6, EXISTS (SELECT FROM ticketing.stripe_requests WHERE state IN ('done', 'failed') AND NOT applied AND completed_at < $1 - interval '5 minutes'), 'an answer could not be applied for more than 5 minutes'), "
		  "  (7, EXISTS (SELECT FROM ticketing.stripe_requests WHERE state = 'unknown' AND lookup_id = id), 'of a request only a person can tell whether it happened'), "
		  "  (8, EXISTS (SELECT FROM ticketing.stripe_buckets WHERE paused_until > $1 AND pauses >= 4), 'Stripe keeps saying 429')) "
		  "AS t (rank, is_so, reason) WHERE is_so ORDER BY rank LIMIT 1",
		  TIMESTAMPTZOID);

PG_FUNCTION_INFO_V1(dvnt_relay_health);

/* relay_health() → healthy, reason */
Datum
dvnt_relay_health(PG_FUNCTION_ARGS)
{
	TupleDesc	description;
	Datum		now = TimestampTzGetDatum(engine_now());
	Datum		values[2] = {BoolGetDatum(true), (Datum) 0};
	bool		nulls[2] = {false, true};
	Datum		result;

	if (get_call_result_type(fcinfo, NULL, &description) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "relay_health returns no row");
	description = BlessTupleDesc(description);
	begin_command();
	if (run_stable(&find_trouble, &now, NULL) > 0)
	{
		values[0] = BoolGetDatum(false);
		values[1] = CStringGetTextDatum(row_text(0, 1));
		nulls[1] = false;
	}
	result = SPI_datumTransfer(HeapTupleGetDatum(heap_form_tuple(description, values, nulls)), false, -1);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
