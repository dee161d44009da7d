/*
 * clock.c
 *		What time it is, for every part of the engine, and small conversions of
 *		times.
 *
 * Tests can shift the clock and let it run faster: the fast clock is anchored
 * at the start of the server, so that all backends agree.
 *
 * Reads and writes no table, takes no lock.
 */
#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "dvnt_ticketing.h"

/* Now; to be asked after the locks are taken. */
TimestampTz
engine_now(void)
{
	TimestampTz now = GetCurrentTimestamp();

	if (test_clock_rate != 1.0)
		now += (TimestampTz) ((double) (now - PgStartTime) * (test_clock_rate - 1.0));
	if (test_clock_offset != 0.0)
		now += (TimestampTz) (test_clock_offset * 1000.0);
	return now;
}

/* A timestamp as whole seconds since 1970. */
int64
unix_seconds(TimestampTz at)
{
	return at / USECS_PER_SEC +
		(int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
}

/* A timestamp so many seconds later. */
TimestampTz
add_seconds(TimestampTz at, double seconds)
{
	return at + (TimestampTz) (seconds * USECS_PER_SEC);
}

/* An interval in seconds, months as 30 days. */
double
interval_seconds(const Interval *interval)
{
	return (double) interval->time / USECS_PER_SEC +
		((double) interval->month * DAYS_PER_MONTH + interval->day) * SECS_PER_DAY;
}

PG_FUNCTION_INFO_V1(dvnt_clock);

/* clock(): now, as the engine sees it. */
Datum
dvnt_clock(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(engine_now());
}

/* Reads a time as timestamptz would, but says false where that would raise an error; infinity is no time. */
bool
time_from_text(const char *text, TimestampTz *at)
{
	char		buffer[MAXDATELEN + MAXDATEFIELDS];
	char	   *fields[MAXDATEFIELDS];
	int			field_types[MAXDATEFIELDS];
	int			field_count;
	int			kind;
	struct pg_tm parts;
	fsec_t		fraction;
	int			zone;

	return ParseDateTime(text, buffer, sizeof(buffer), fields, field_types, MAXDATEFIELDS, &field_count) == 0 &&
		decode_date_time(fields, field_types, field_count, &kind, &parts, &fraction, &zone) == 0 &&
		kind == DTK_DATE && tm2timestamp(&parts, fraction, &zone, at) == 0;
}
