/*
 * rows.c
 *		Single rows of a few known tables, read and written without a statement:
 *		for the path of a sale, where starting an executor costs more than the
 *		work.
 *
 * Constraints are the caller's to keep (his values come from our own code);
 * indexes are maintained. Takes the table locks that a statement would take,
 * and never waits for a row.
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_am.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "rows.h"

#define MAX_KNOWN_TABLES 16

static KnownTable *found_tables[MAX_KNOWN_TABLES];
static int	found_count = 0;

/* A table changed: what we know of it is to be found again. */
static void
forget_table(Datum argument, Oid relation_id)
{
	for (int i = 0; i < found_count; i++)
		if (relation_id == InvalidOid || found_tables[i]->relation_id == relation_id)
			found_tables[i]->relation_id = InvalidOid;
}

/* Hears of changes to the table from now on. */
static void
watch_table(KnownTable *table)
{
	if (found_count == 0)
		CacheRegisterRelcacheCallback(forget_table, (Datum) 0);
	for (int i = 0; i < found_count; i++)
		if (found_tables[i] == table)
			return;
	if (found_count == MAX_KNOWN_TABLES)
		elog(ERROR, "too many known tables");
	found_tables[found_count++] = table;
}

/* An index of the application's that serves lookups by the column, or none. */
static Oid
find_leading_index(Relation relation, AttrNumber attribute)
{
	List	   *indexes = RelationGetIndexList(relation);
	ListCell   *cell;
	Oid			best = InvalidOid;

	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;

		if (index->rd_rel->relam == BTREE_AM_OID && form->indisvalid && !form->indcheckxmin &&
			form->indkey.values[0] == attribute && heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
			(best == InvalidOid || form->indnkeyatts == 1))
			best = RelationGetRelid(index);
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
	return best;
}

/* Finds the table's columns and indexes. */
static void
find_table(KnownTable *table)
{
	Oid			schema_id = get_namespace_oid(table->schema, false);
	Oid			relation_id = get_relname_relid(table->name, schema_id);
	Relation	relation;

	if (!OidIsValid(relation_id))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist", table->schema, table->name)));
	watch_table(table);
	relation = table_open(relation_id, AccessShareLock);
	for (int i = 0; i < KNOWN_MAX_COLUMNS && table->columns[i] != NULL; i++)
	{
		table->attributes[i] = get_attnum(relation_id, table->columns[i]);
		if (table->attributes[i] == InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_COLUMN),
					 errmsg("column \"%s\" of relation \"%s.%s\" does not exist", table->columns[i], table->schema, table->name)));
	}
	for (int i = 0; i < KNOWN_MAX_INDEXES && table->indexes[i] != NULL; i++)
	{
		const char *name = table->indexes[i];

		table->index_ids[i] = name[0] == '='
			? find_leading_index(relation, get_attnum(relation_id, name + 1))
			: get_relname_relid(name, schema_id);
		if (name[0] != '=' && !OidIsValid(table->index_ids[i]))
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("index \"%s.%s\" does not exist", table->schema, name),
					 errhint("Create it as the migrations do.")));
	}
	table->relation_id = relation_id;
	table_close(relation, NoLock);
}

/* Opens the table; what we know of it is right once the lock is held. */
static Relation
open_known(KnownTable *table, LOCKMODE mode)
{
	for (;;)
	{
		Relation	relation;

		if (!OidIsValid(table->relation_id))
			find_table(table);
		relation = try_relation_open(table->relation_id, mode);
		if (relation != NULL && OidIsValid(table->relation_id))
			return relation;
		if (relation != NULL)
			table_close(relation, mode);
		table->relation_id = InvalidOid;
	}
}

void
row_scan_begin(RowScan *scan, KnownTable *table, int index, Snapshot snapshot, const RowKey *keys, int key_count)
{
	ScanKeyData scan_keys[KNOWN_MAX_COLUMNS];

	scan->table = table;
	scan->relation = open_known(table, AccessShareLock);
	for (int i = 0; i < key_count; i++)
	{
		AttrNumber	attribute = table->attributes[keys[i].column];
		bool		is_null = !OidIsValid(keys[i].comparison);

		ScanKeyEntryInitialize(&scan_keys[i], is_null ? SK_ISNULL | SK_SEARCHNULL : 0, attribute,
							   is_null ? InvalidStrategy : keys[i].strategy ? keys[i].strategy : BTEqualStrategyNumber, InvalidOid,
							   TupleDescAttr(RelationGetDescr(scan->relation), attribute - 1)->attcollation,
							   keys[i].comparison, keys[i].value);
	}
	scan->scan = systable_beginscan(scan->relation, table->index_ids[index], OidIsValid(table->index_ids[index]),
									snapshot, key_count, scan_keys);
	scan->row = NULL;
}

bool
row_scan_next(RowScan *scan)
{
	scan->row = systable_getnext(scan->scan);
	return HeapTupleIsValid(scan->row);
}

Datum
row_scan_value(const RowScan *scan, int column, bool *isnull)
{
	return heap_getattr(scan->row, scan->table->attributes[column], RelationGetDescr(scan->relation), isnull);
}

Datum
row_scan_datum(const RowScan *scan, int column)
{
	bool		isnull;
	Datum		value = row_scan_value(scan, column, &isnull);

	if (isnull)
		elog(ERROR, "unexpected NULL in column \"%s\" of \"%s\"", scan->table->columns[column], scan->table->name);
	return value;
}

void
row_scan_end(RowScan *scan)
{
	systable_endscan(scan->scan);
	table_close(scan->relation, AccessShareLock);
}

/* Makes the index entries of a row version that has none. */
static void
insert_index_entries(Relation relation, TupleTableSlot *slot, bool is_update)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *target = makeNode(ResultRelInfo);

	InitResultRelInfo(target, relation, 0, NULL, 0);
	ExecOpenIndices(target, false);
	(void) exec_insert_index_tuples(target, slot, estate, is_update);
	ExecCloseIndices(target);
	FreeExecutorState(estate);
}

/*
 * Whether this transaction may hold the present row locked itself, which an
 * update that does not wait takes for somebody else's lock. If so the lock is
 * taken once more, without waiting, and the update may go on.
 */
static bool
is_locked_by_us(RowScan *scan, Relation relation)
{
	HeapTupleHeader header = scan->row->t_data;
	TupleTableSlot *slot;
	TM_FailureData failure;
	TM_Result	result;

	if ((header->t_infomask & HEAP_XMAX_IS_MULTI) == 0 &&
		!TransactionIdIsCurrentTransactionId(HeapTupleHeaderGetRawXmax(header)))
		return false;
	slot = table_slot_create(relation, NULL);
	result = table_tuple_lock(relation, &scan->row->t_self, GetActiveSnapshot(), slot, GetCurrentCommandId(true),
							  LockTupleNoKeyExclusive, LockWaitSkip, 0, &failure);
	ExecDropSingleTupleTableSlot(slot);
	return result == TM_Ok;
}

bool
row_try_update(RowScan *scan, int column, Datum value)
{
	Relation	relation = table_open(RelationGetRelid(scan->relation), RowExclusiveLock);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), &TTSOpsHeapTuple);
	int			attribute = scan->table->attributes[column];
	bool		isnull = false;
	HeapTuple	changed = heap_modify_tuple_by_cols(scan->row, RelationGetDescr(relation), 1, &attribute, &value, &isnull);
	LockTupleMode mode;
	TM_FailureData failure;
	UpdateIndexes update_indexes;
	TM_Result	result;
	bool		wait = false;

	PreventCommandIfReadOnly("UPDATE");
	changed->t_tableOid = RelationGetRelid(relation);
	ExecStoreHeapTuple(changed, slot, false);
	do
		result = table_tuple_update(relation, &scan->row->t_self, slot, GetCurrentCommandId(true),
									GetActiveSnapshot(), InvalidSnapshot, wait, &failure, &mode, &update_indexes);
	while (result == TM_BeingModified && !wait && (wait = is_locked_by_us(scan, relation)));
	if (result == TM_Ok && needs_index_entries(update_indexes))
		insert_index_entries(relation, slot, true);
	ExecDropSingleTupleTableSlot(slot);
	heap_freetuple(changed);
	table_close(relation, NoLock);
	if (result == TM_Ok)
		CommandCounterIncrement();
	return result == TM_Ok;
}

void
row_insert(KnownTable *table, const Datum *values, const bool *nulls)
{
	Relation	relation = open_known(table, RowExclusiveLock);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(RelationGetDescr(relation), table_slot_callbacks(relation));

	PreventCommandIfReadOnly("INSERT");
	ExecClearTuple(slot);
	for (int i = 0; i < RelationGetDescr(relation)->natts; i++)
		slot->tts_isnull[i] = true;
	for (int i = 0; i < KNOWN_MAX_COLUMNS && table->columns[i] != NULL; i++)
	{
		slot->tts_values[table->attributes[i] - 1] = values[i];
		slot->tts_isnull[table->attributes[i] - 1] = nulls != NULL && nulls[i];
	}
	ExecStoreVirtualTuple(slot);
	table_tuple_insert(relation, slot, GetCurrentCommandId(true), 0, NULL);
	insert_index_entries(relation, slot, false);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
	CommandCounterIncrement();
}
