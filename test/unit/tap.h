/*
 * tap.h
 *		The least of a test library: prints TAP, counts failures.
 *
 * A description says what holds; what would be broken otherwise stands in the
 * comment above the test.
 */
#ifndef DVNT_TAP_H
#define DVNT_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static int tap_run = 0;
static int tap_failed = 0;

/* One test. */
__attribute__((format(printf, 2, 3))) static inline bool
ok(bool passed, const char *description, ...)
{
	va_list arguments;

	tap_run++;
	if (!passed)
		tap_failed++;
	printf("%sok %d - ", passed ? "" : "not ", tap_run);
	va_start(arguments, description);
	vprintf(description, arguments);
	va_end(arguments);
	putchar('\n');
	return passed;
}

/* One test: two numbers are equal. */
static inline bool
is_number(long long actual, long long expected, const char *description)
{
	bool passed = ok(actual == expected, "%s", description);

	if (!passed)
		printf("# got %lld, expected %lld\n", actual, expected);
	return passed;
}

/* One test: two texts are equal; NULL is only equal to NULL. */
static inline bool
is_text(const char *actual, const char *expected, const char *description)
{
	bool equal =
		actual == expected || (actual != NULL && expected != NULL && strcmp(actual, expected) == 0);
	bool passed = ok(equal, "%s", description);

	if (!passed)
		printf("# got      %s\n# expected %s\n", actual == NULL ? "NULL" : actual,
			   expected == NULL ? "NULL" : expected);
	return passed;
}

/* Prints the plan; the exit status of the program. */
static inline int
done_testing(void)
{
	printf("1..%d\n", tap_run);
	return tap_failed == 0 ? 0 : 1;
}

#endif /* DVNT_TAP_H */
