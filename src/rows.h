/*
 * rows.h
 *		Single rows of a few known tables, read and written without a statement.
 */
#ifndef DVNT_ROWS_H
#define DVNT_ROWS_H

#include "postgres.h"

#include "access/genam.h"
#include "access/stratnum.h"
#include "access/htup.h"
#include "storage/buf.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#define KNOWN_MAX_COLUMNS 16
#define KNOWN_MAX_INDEXES 2
#define KNOWN_HINTS 32			/* a power of two */
#define KNOWN_MAX_ENTRIES 8

/* An index into which a row is entered without asking: no expression, no condition but one that our rows fulfil. */
typedef struct IndexEntry
{
	Oid			index_id;
	bool		unique;
	int			column_count;
	AttrNumber	attributes[INDEX_MAX_KEYS];
} IndexEntry;

/* Where a row was found the last time: looked at first, believed only if it is the row. */
typedef struct RowHint
{
	uint64		hash;			/* of the keys */
	ItemPointerData root;		/* of its chain of versions on a page */
	Buffer		buffer;			/* which held that page */
} RowHint;

/* A table that the hot path knows. Columns and indexes are found by name, once, and again when the table changes. */
typedef struct KnownTable
{
	const char *schema;
	const char *name;
	const char *columns[KNOWN_MAX_COLUMNS];

	/*
	 * What a scan may go by: the name of one of our indexes, which must be
	 * there (some are partial: their condition is part of what is read, and
	 * fulfilled by every row that row_insert is given), or "=column" for any index of the application's that begins with the column.
	 * Without such a one the table is read whole.
	 */
	const char *indexes[KNOWN_MAX_INDEXES];

	/* found */
	Oid			relation_id;
	AttrNumber	attributes[KNOWN_MAX_COLUMNS];
	Oid			index_ids[KNOWN_MAX_INDEXES];
	RowHint		hints[KNOWN_HINTS];
	int			entry_count;	/* of all the table's indexes; -1: one of them is not that simple */
	IndexEntry	entries[KNOWN_MAX_ENTRIES];
} KnownTable;

/* Rows whose columns match the keys, in the order of the index. */
typedef struct RowScan
{
	KnownTable *table;
	Relation	relation;
	SysScanDesc scan;			/* NULL: the row was found by its hint */
	HeapTuple	row;			/* the present one */
	HeapTupleData hinted;		/* of a hint: the row, and the page that is pinned for it */
	Buffer		buffer;
} RowScan;

typedef struct RowKey
{
	int			column;
	RegProcedure comparison;	/* e.g. F_INT4EQ; 0: the column is NULL */
	Datum		value;
	StrategyNumber strategy;	/* 0: equal */
} RowKey;

extern void row_scan_begin(RowScan *scan, KnownTable *table, int index, Snapshot snapshot,
						   const RowKey *keys, int key_count);
extern bool row_find(RowScan *scan, KnownTable *table, int index, Snapshot snapshot,
					 const RowKey *keys, int key_count);
extern bool row_scan_next(RowScan *scan);
extern Datum row_scan_value(const RowScan *scan, int column, bool *isnull);
extern Datum row_scan_datum(const RowScan *scan, int column);
extern void row_scan_end(RowScan *scan);

/* Updates one column of the present row, or does nothing because somebody else has it locked or changed. */
extern bool row_try_update(RowScan *scan, int column, Datum value);

/* Inserts a row; values and nulls are in the order of the known columns, other columns get NULL. */
extern void row_insert(KnownTable *table, const Datum *values, const bool *nulls);

#endif							/* DVNT_ROWS_H */
