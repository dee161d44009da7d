/*
 * door_fold.h
 *		A ticket's state as a pure fold over the scans that moved somebody.
 *
 * The order is (time, device, scan id): whatever order the scans arrived in,
 * the state is the same. The first way in is the admission; another one while
 * inside is a duplicate; after a way out the next way in admits again.
 *
 * This file is pure C: no backend symbol, no catalog, no SPI.
 */
#ifndef DVNT_DOOR_FOLD_H
#define DVNT_DOOR_FOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum MoveResult
{
	MOVE_ADMITTED,
	MOVE_ALREADY_ADMITTED, /* in, but inside already */
	MOVE_EXITED,
	MOVE_NOT_INSIDE /* out, but not inside */
} MoveResult;

/* One scan that let somebody in or out. */
typedef struct DoorMove
{
	int64_t     happened_at; /* microseconds, by the server's clock */
	const char *device_id;   /* NULL comes first */
	uint8_t     scan_id[16];
	bool        out;
	void       *owner;  /* the caller's */
	MoveResult  result; /* found by door_fold */
} DoorMove;

typedef struct DoorState
{
	bool            inside;
	const DoorMove *admission; /* the last one; NULL: never admitted */
} DoorState;

/* For qsort: by time, device, scan id. */
extern int door_move_compare(const void *a, const void *b);

/* Finds the result of each of one ticket's moves, which are sorted, and the ticket's state after them. */
extern DoorState door_fold(DoorMove *moves, size_t count);

/* "admitted", "already_admitted", "exited", "not_inside" */
extern const char *move_result_name(MoveResult result);

#endif /* DVNT_DOOR_FOLD_H */
