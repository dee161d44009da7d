/*
 * rows.c
 *		Single rows of a few known tables, read and written without a statement:
 *		for the path of a sale, where starting an executor costs more than the
 *		work.
 *
 * Constraints are the caller's to keep (his values come from our own code), and
 * no trigger fires; indexes are maintained. Takes the table locks that a statement
 * would take, and never waits for a row.
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
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

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
		{
			found_tables[i]->relation_id = InvalidOid;
			memset(found_tables[i]->hints, 0, sizeof(found_tables[i]->hints));
		}
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

/* Whether entries in an index are made from columns alone, for every row that we insert. */
static bool
plan_entry(KnownTable *table, Relation index, IndexEntry *entry)
{
	Form_pg_index form = index->rd_index;
	bool		known = false;

	for (int i = 0; i < KNOWN_MAX_INDEXES && table->indexes[i] != NULL; i++)
		known |= table->index_ids[i] == RelationGetRelid(index);
	if (index->rd_rel->relam != BTREE_AM_OID || !form->indisready || !form->indimmediate || form->indisexclusion ||
		!heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL) ||
		(!known && !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL)))
		return false;
	entry->index_id = RelationGetRelid(index);
	entry->unique = form->indisunique;
	entry->column_count = form->indnatts;
	memcpy(entry->attributes, form->indkey.values, sizeof(AttrNumber) * form->indnatts);
	return true;
}

/* Plans how a row gets its index entries. */
static void
plan_entries(KnownTable *table, Relation relation)
{
	List	   *indexes = RelationGetIndexList(relation);
	ListCell   *cell;

	table->entry_count = 0;
	foreach(cell, indexes)
	{
		Relation	index = index_open(lfirst_oid(cell), AccessShareLock);

		if (table->entry_count >= 0 && table->entry_count < KNOWN_MAX_ENTRIES &&
			plan_entry(table, index, &table->entries[table->entry_count]))
			table->entry_count++;
		else
			table->entry_count = -1;
		index_close(index, AccessShareLock);
	}
	list_free(indexes);
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
	plan_entries(table, relation);
	table->relation_id = relation_id;
	table_close(relation, NoLock);
}

/* Opens the table, with a lock that lasts as a statement's does; what we know of it is right once that is held. */
static Relation
open_known(KnownTable *table, LOCKMODE mode)
{
	for (;;)
	{
		Oid			relation_id;

		if (!OidIsValid(table->relation_id))
			find_table(table);
		relation_id = table->relation_id;
		LockRelationOid(relation_id, mode);
		if (table->relation_id == relation_id)
			return table_open(relation_id, NoLock);
		UnlockRelationOid(relation_id, mode);
	}
}

/* Our keys as PostgreSQL's. */
static void
make_scan_keys(ScanKey scan_keys, KnownTable *table, Relation relation, const RowKey *keys, int key_count)
{
	for (int i = 0; i < key_count; i++)
	{
		AttrNumber	attribute = table->attributes[keys[i].column];
		bool		is_null = !OidIsValid(keys[i].comparison);

		ScanKeyEntryInitialize(&scan_keys[i], is_null ? SK_ISNULL | SK_SEARCHNULL : 0, attribute,
							   is_null ? InvalidStrategy : keys[i].strategy ? keys[i].strategy : BTEqualStrategyNumber, InvalidOid,
							   TupleDescAttr(RelationGetDescr(relation), attribute - 1)->attcollation,
							   keys[i].comparison, keys[i].value);
	}
}

/* Begins the index scan of a relation that is open. */
static void
begin_index_scan(RowScan *scan, int index, Snapshot snapshot, const RowKey *keys, int key_count)
{
	ScanKeyData scan_keys[KNOWN_MAX_COLUMNS];
	Oid			index_id = scan->table->index_ids[index];

	make_scan_keys(scan_keys, scan->table, scan->relation, keys, key_count);
	scan->scan = systable_beginscan(scan->relation, index_id, OidIsValid(index_id), snapshot, key_count, scan_keys);
	scan->row = NULL;
}

void
row_scan_begin(RowScan *scan, KnownTable *table, int index, Snapshot snapshot, const RowKey *keys, int key_count)
{
	scan->table = table;
	scan->relation = open_known(table, AccessShareLock);
	begin_index_scan(scan, index, snapshot, keys, key_count);
}

/* A hash of keys that are numbers and uuids. */
static uint64
hash_keys(const RowKey *keys, int key_count)
{
	uint64		hash = 0;

	for (int i = 0; i < key_count; i++)
	{
		uint64		parts[2] = {(uint64) keys[i].value, 0};

		if (keys[i].comparison == F_UUID_EQ)
			memcpy(parts, DatumGetUUIDP(keys[i].value)->data, UUID_LEN);
		for (int k = 0; k < 2; k++)
		{
			hash = (hash ^ parts[k]) * UINT64CONST(0x9E3779B97F4A7C15);
			hash ^= hash >> 32;
		}
	}
	return hash;
}

/* Whether a value is that of a key. */
static bool
is_equal(const RowKey *key, Datum value)
{
	switch (key->comparison)
	{
		case F_INT2EQ:
			return DatumGetInt16(value) == DatumGetInt16(key->value);
		case F_INT4EQ:
			return DatumGetInt32(value) == DatumGetInt32(key->value);
		case F_INT8EQ:
			return DatumGetInt64(value) == DatumGetInt64(key->value);
		case F_UUID_EQ:
			return memcmp(DatumGetUUIDP(value)->data, DatumGetUUIDP(key->value)->data, UUID_LEN) == 0;
		default:
			elog(ERROR, "function %u does not compare a key", key->comparison);
	}
}

/* Whether a row has the keys. */
static bool
has_keys(RowScan *scan, const RowKey *keys, int key_count)
{
	for (int i = 0; i < key_count; i++)
	{
		bool		isnull;
		Datum		value = row_scan_value(scan, keys[i].column, &isnull);

		if (isnull != !OidIsValid(keys[i].comparison) || (!isnull && !is_equal(&keys[i], value)))
			return false;
	}
	return true;
}

/* Looks for the row where it was the last time. */
static bool
find_by_hint(RowScan *scan, const RowHint *hint, Snapshot snapshot, const RowKey *keys, int key_count)
{
	ItemPointerData position = hint->root;
	bool		found;

	if (!ItemPointerIsValid(&position) ||
		!ReadRecentBuffer(relation_locator(scan->relation), MAIN_FORKNUM, ItemPointerGetBlockNumber(&position), hint->buffer))
		return false;
	scan->buffer = hint->buffer;
	/* an index scan would clean up the page, too; here not every time, but while there is room */
	if (PageGetHeapFreeSpace(BufferGetPage(scan->buffer)) < BLCKSZ / 2)
		heap_page_prune_opt(scan->relation, scan->buffer);
	LockBuffer(scan->buffer, BUFFER_LOCK_SHARE);
	found = heap_hot_search_buffer(&position, scan->relation, scan->buffer, snapshot, &scan->hinted, NULL, true);
	LockBuffer(scan->buffer, BUFFER_LOCK_UNLOCK);
	scan->row = &scan->hinted;
	if (found && has_keys(scan, keys, key_count))
		return true;
	ReleaseBuffer(scan->buffer);
	return false;
}

/* Remembers where the present row is: the first version of its chain on the page, which is what an index points to. */
static void
remember_row(RowScan *scan, RowHint *hint, uint64 hash)
{
	OffsetNumber roots[MaxHeapTuplesPerPage];

	hint->hash = hash;
	hint->root = scan->row->t_self;
	hint->buffer = ReadBuffer(scan->relation, ItemPointerGetBlockNumber(&hint->root));
	if (HeapTupleIsHeapOnly(scan->row))
	{
		LockBuffer(hint->buffer, BUFFER_LOCK_SHARE);
		heap_get_root_tuples(BufferGetPage(hint->buffer), roots);
		LockBuffer(hint->buffer, BUFFER_LOCK_UNLOCK);
		ItemPointerSetOffsetNumber(&hint->root, roots[ItemPointerGetOffsetNumber(&hint->root) - 1]);
	}
	ReleaseBuffer(hint->buffer);
}

/*
 * Finds the one row with the keys, a unique key of the table: numbers and
 * uuids. False: there is none. To be ended with row_scan_end in either case.
 */
bool
row_find(RowScan *scan, KnownTable *table, int index, Snapshot snapshot, const RowKey *keys, int key_count)
{
	uint64		hash = hash_keys(keys, key_count);
	RowHint    *hint = &table->hints[hash % KNOWN_HINTS];

	scan->table = table;
	scan->relation = open_known(table, AccessShareLock);
	scan->scan = NULL;
	if (hint->hash == hash && find_by_hint(scan, hint, snapshot, keys, key_count))
		return true;
	begin_index_scan(scan, index, snapshot, keys, key_count);
	if (!row_scan_next(scan))
		return false;
	if (scan->relation->rd_rel->relam == HEAP_TABLE_AM_OID)
		remember_row(scan, hint, hash);
	return true;
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
	if (scan->scan != NULL)
		systable_endscan(scan->scan);
	else
		ReleaseBuffer(scan->buffer);
	table_close(scan->relation, NoLock);
}

/* Makes the index entries of a row version that has none, in whatever indexes there are. */
static void
execute_index_entries(Relation relation, TupleTableSlot *slot, bool is_update)
{
	EState	   *estate = CreateExecutorState();
	ResultRelInfo *target = makeNode(ResultRelInfo);

	InitResultRelInfo(target, relation, 0, NULL, 0);
	ExecOpenIndices(target, false);
	(void) exec_insert_index_tuples(target, slot, estate, is_update);
	ExecCloseIndices(target);
	FreeExecutorState(estate);
}

/* Makes the index entries of a new row, as planned. */
static void
make_index_entries(KnownTable *table, Relation relation, TupleTableSlot *slot)
{
	IndexInfo  *info = makeNode(IndexInfo);

	for (int i = 0; i < table->entry_count; i++)
	{
		const IndexEntry *entry = &table->entries[i];
		Relation	index = index_open(entry->index_id, RowExclusiveLock);
		Datum		values[INDEX_MAX_KEYS];
		bool		nulls[INDEX_MAX_KEYS];

		for (int k = 0; k < entry->column_count; k++)
			values[k] = slot_getattr(slot, entry->attributes[k], &nulls[k]);
		(void) index_insert(index, values, nulls, &slot->tts_tid, relation,
							entry->unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, false, info);
		index_close(index, NoLock);
	}
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
		execute_index_entries(relation, slot, true);
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
	if (table->entry_count >= 0)
		make_index_entries(table, relation, slot);
	else
		execute_index_entries(relation, slot, false);
	ExecDropSingleTupleTableSlot(slot);
	table_close(relation, NoLock);
	CommandCounterIncrement();
}
