/*
 * door_fold.c
 *		Owns what a ticket's scans come to: which one admitted, which ones were
 *		duplicates, and whether the ticket is inside.
 *
 * Tables: none.  Locks: none.
 */
#include "door_fold.h"

#include <string.h>

int
door_move_compare(const void *a, const void *b)
{
	const DoorMove *left = a;
	const DoorMove *right = b;
	int             order;

	if (left->happened_at != right->happened_at)
		return left->happened_at < right->happened_at ? -1 : 1;
	order = strcmp(left->device_id ? left->device_id : "", right->device_id ? right->device_id : "");
	if (order != 0)
		return order;
	return memcmp(left->scan_id, right->scan_id, sizeof(left->scan_id));
}

DoorState
door_fold(DoorMove *moves, size_t count)
{
	DoorState state = {false, NULL};

	for (size_t i = 0; i < count; i++)
	{
		DoorMove *move = &moves[i];

		if (move->out)
		{
			move->result = state.inside ? MOVE_EXITED : MOVE_NOT_INSIDE;
			state.inside = false;
		}
		else if (state.inside)
			move->result = MOVE_ALREADY_ADMITTED;
		else
		{
			move->result = MOVE_ADMITTED;
			state.inside = true;
			state.admission = move;
		}
	}
	return state;
}

const char *
move_result_name(MoveResult result)
{
	switch (result)
	{
		case MOVE_ADMITTED:
			return "admitted";
		case MOVE_ALREADY_ADMITTED:
			return "already_admitted";
		case MOVE_EXITED:
			return "exited";
		case MOVE_NOT_INSIDE:
			return "not_inside";
	}
	return "not_inside";
}
