/*
 * fuzz.h
 *		What the fuzz targets share: a check that ends the run, copies that end
 *		where the text ends, and a count of what the run has met.
 *
 * A target compares the code with a plain reading of the same rules.  It names
 * the outcomes that a run must meet; test/fuzz/run fails if one was not, since
 * a run that never came as far as a signature says nothing about it.
 */
#ifndef DVNT_FUZZ_H
#define DVNT_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The keys of the targets and the seeds: 200 signs, 1 is the older one. */
#define OLD_KEY "1:Y29ycmVjdCBob3JzZSBiYXR0ZXJ5IHN0YXBsZSAzMisgYnl0ZXM=\n"
#define NEW_KEY "200:YW5vdGhlciBzZWNyZXQgb2YgMzIgYnl0ZXMgb3Igc28hIQ==\n"

/* libFuzzer's side. */
extern int    LLVMFuzzerInitialize(int *argc, char ***argv);
extern int    LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
extern size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
extern size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size,
									  unsigned int seed);

/* Ends the run with a finding unless this holds. */
#define require(condition, what)                                                                   \
	do                                                                                             \
	{                                                                                              \
		if (!(condition))                                                                          \
		{                                                                                          \
			fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, what);               \
			abort();                                                                               \
		}                                                                                          \
	} while (0)

/* A copy in memory of exactly this size: one byte beyond it is a fault.  The caller frees it. */
static inline char *
exact_copy(const void *bytes, size_t length)
{
	char *copy = malloc(length);

	require(copy != NULL || length == 0, "there is memory");
	if (length > 0)
		memcpy(copy, bytes, length);
	return copy;
}

#define MAX_OUTCOMES 8

static const char *outcome_names[MAX_OUTCOMES];
static uint64_t    outcome_counts[MAX_OUTCOMES];

/* Prints how often each outcome was met, for test/fuzz/run. */
static void
print_outcomes(void)
{
	for (int i = 0; i < MAX_OUTCOMES && outcome_names[i] != NULL; i++)
		fprintf(stderr, "outcome: %llu %s\n", (unsigned long long) outcome_counts[i],
				outcome_names[i]);
}

/* Names the outcomes that a run must meet; they are then counted by their place. */
static inline void
expect_outcomes(const char *const *names, int count)
{
	require(count <= MAX_OUTCOMES, "so many outcomes have a place");
	for (int i = 0; i < count; i++)
		outcome_names[i] = names[i];
	atexit(print_outcomes);
}

/* What libFuzzer calls first, where there is nothing more to prepare than the outcomes. */
#define FUZZ_EXPECTS(outcomes)                                                                     \
	int LLVMFuzzerInitialize(int *argc, char ***argv)                                              \
	{                                                                                              \
		(void) argc;                                                                               \
		(void) argv;                                                                               \
		expect_outcomes(outcomes, sizeof(outcomes) / sizeof(outcomes[0]));                         \
		return 0;                                                                                  \
	}

#endif /* DVNT_FUZZ_H */
