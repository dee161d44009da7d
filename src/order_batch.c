/*
 * order_batch.c
 *		The same work on many orders: one that cannot be done is undone, found,
 *		and does not hold up the others.
 *
 * Writes findings. Locks: each order, then what the work takes.
 */
#include "postgres.h"

#include "dvnt_ticketing.h"

/* For try_step. */
typedef struct Task
{
	const OrderBatch *batch;
	pg_uuid_t	order_id;
} Task;

static void
do_task(void *argument)
{
	Task	   *task = argument;
	LockedOrder order;

	lock_order(&task->order_id, &order);
	task->batch->work(&order, task->batch->actor, task->batch->now);
}

static void
note_failure(const Task *task, const char *failure)
{
	Answer		detail;

	if (task->batch->put_off)
		task->batch->put_off(&task->order_id, task->batch->now);
	answer_begin(&detail);
	answer_text(&detail, "error", failure);
	record_finding(task->batch->finding, psprintf("orders/%s", uuid_text(&task->order_id)), answer_end(&detail), task->batch->now);
}

/* Works on the orders whose ids are the first column of the last statement's rows. Returns how many there were. */
int
work_through_orders(const OrderBatch *batch, uint64 rows)
{
	Task	   *tasks = palloc(sizeof(Task) * (rows + 1));

	for (uint64 row = 0; row < rows; row++)
		tasks[row] = (Task) {batch, *DatumGetUUIDP(row_datum(row, 1))};
	for (uint64 row = 0; row < rows; row++)
	{
		char	   *failure = try_step(do_task, &tasks[row]);

		if (failure != NULL)
			note_failure(&tasks[row], failure);
	}
	return (int) rows;
}
