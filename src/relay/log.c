/*
 * log.c
 *	  Log lines: key=value pairs on stderr.  What is of interest only is
 *	  written once in each turn of the loop; warnings and errors at once.
 *
 *	  at=2026-11-23T09:00:00.123Z level=info event=ready account=acct_1
 *
 * Bodies and secrets are never given to these functions.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "relay.h"

static const char *const level_names[] = {"debug", "info", "warning", "error"};

static char unwritten[32 * 1024];
static size_t unwritten_length;

/* Add one character, if there is room for it and the final newline. */
static void
log_char(LogLine *line, char c)
{
	if (line->length < sizeof(line->text) - 1)
		line->text[line->length++] = c;
}

/* Add characters that need no quoting. */
static void
log_raw(LogLine *line, const char *string)
{
	while (*string)
		log_char(line, *string++);
}

/* Whether a value can stand without quotes. */
static bool
is_plain(const char *value)
{
	if (*value == '\0')
		return false;
	for (const unsigned char *c = (const unsigned char *) value; *c; c++)
	{
		if (*c <= ' ' || *c == '"' || *c == '\\' || *c == '=' || *c >= 0x7f)
			return false;
	}
	return true;
}

/* Start a line. */
void
log_begin(LogLine *line, LogLevel level, const char *event)
{
	struct timespec now;
	struct tm	utc;
	char		stamp[64];
	size_t		length;

	line->wanted = level > LOG_LEVEL_DEBUG || config.debug;
	line->urgent = level > LOG_LEVEL_INFO;
	line->length = 0;
	if (!line->wanted)
		return;

	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	length = strftime(stamp, sizeof(stamp), "at=%Y-%m-%dT%H:%M:%S", &utc);
	snprintf(stamp + length, sizeof(stamp) - length, ".%03dZ",
			 (int) (now.tv_nsec / 1000000));
	log_raw(line, stamp);
	log_raw(line, " level=");
	log_raw(line, level_names[level]);
	log_raw(line, " event=");
	log_raw(line, event);
}

/* Add a value: quoted if it needs to be, control characters escaped. */
void
log_text(LogLine *line, const char *key, const char *value)
{
	if (!line->wanted)
		return;
	log_char(line, ' ');
	log_raw(line, key);
	log_char(line, '=');
	if (is_plain(value))
	{
		log_raw(line, value);
		return;
	}

	log_char(line, '"');
	for (const unsigned char *c = (const unsigned char *) value; *c; c++)
	{
		char		escape[8];

		if (*c == '"' || *c == '\\')
			snprintf(escape, sizeof(escape), "\\%c", *c);
		else if (*c == '\n' || *c == '\t')
			snprintf(escape, sizeof(escape), *c == '\n' ? "\\n" : "\\t");
		else if (*c < ' ' || *c == 0x7f)
			snprintf(escape, sizeof(escape), "\\x%02x", *c);
		else
			snprintf(escape, sizeof(escape), "%c", *c);
		log_raw(line, escape);
	}
	log_char(line, '"');
}

/* Add a number. */
void
log_number(LogLine *line, const char *key, int64_t value)
{
	char		digits[32];

	snprintf(digits, sizeof(digits), "%lld", (long long) value);
	log_text(line, key, digits);
}

/* Write what is unwritten.  A log that cannot be written stops nothing. */
void
log_flush(void)
{
	ssize_t		written = write(STDERR_FILENO, unwritten, unwritten_length);

	(void) written;
	unwritten_length = 0;
}

/* End the line. */
void
log_end(LogLine *line)
{
	if (!line->wanted)
		return;
	line->text[line->length++] = '\n';
	if (unwritten_length + line->length > sizeof(unwritten))
		log_flush();
	memcpy(unwritten + unwritten_length, line->text, line->length);
	unwritten_length += line->length;
	if (line->urgent)
		log_flush();
}

/* A whole line with one pair, or, with key NULL, none. */
void
log_event(LogLevel level, const char *event, const char *key, const char *value)
{
	LogLine		line;

	log_begin(&line, level, event);
	if (key)
		log_text(&line, key, value);
	log_end(&line);
}
