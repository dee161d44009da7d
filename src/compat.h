/*
 * compat.h
 *		Differences between the PostgreSQL versions that we build on (15 to 18).
 */
#ifndef DVNT_COMPAT_H
#define DVNT_COMPAT_H

#include "postgres.h"
#include "access/tableam.h"
#include "executor/executor.h"
#include "storage/proc.h"
#include "utils/datetime.h"
#include "utils/guc_tables.h"
#include "utils/numeric.h"

#if PG_VERSION_NUM < 150000
#error "dvnt_ticketing needs PostgreSQL 15 or later"
#endif

/* A small number that differs between concurrent backends. */
static inline int
backend_slot(void)
{
#if PG_VERSION_NUM >= 170000
	return MyProcNumber;
#else
	return MyProc->pgprocno;
#endif
}

/* Where a relation is stored. */
#if PG_VERSION_NUM >= 160000
#define relation_locator(relation) ((relation)->rd_locator)
#else
#define relation_locator(relation) ((relation)->rd_node)
#endif

/* PG_MODULE_MAGIC_EXT names the module from 18 on. */
#if PG_VERSION_NUM >= 180000
#define DVNT_MODULE_MAGIC PG_MODULE_MAGIC_EXT(.name = "dvnt_ticketing", .version = "1.0")
#else
#define DVNT_MODULE_MAGIC PG_MODULE_MAGIC
#endif

/* A setting, or a value that was given to one that nobody has defined yet; NULL if there is none. */
static inline const struct config_generic *
find_setting(const char *name)
{
#if PG_VERSION_NUM >= 160000
	return find_option(name, false, true, ERROR);
#else
	struct config_generic **settings = get_guc_variables();

	for (int i = 0; i < GetNumConfigOptions(); i++)
		if (pg_strcasecmp(settings[i]->name, name) == 0)
			return settings[i];
	return NULL;
#endif
}

/* Which index entries an update needs: all or none, from 16 on also those of summarizing indexes alone. */
#if PG_VERSION_NUM >= 160000
typedef TU_UpdateIndexes UpdateIndexes;
#define needs_index_entries(update) ((update) != TU_None)
#define exec_insert_index_tuples(target, slot, estate, update) \
	ExecInsertIndexTuples(target, slot, estate, update, false, NULL, NIL, false)
#else
typedef bool UpdateIndexes;
#define needs_index_entries(update) (update)
#define exec_insert_index_tuples(target, slot, estate, update) \
	ExecInsertIndexTuples(target, slot, estate, update, false, NULL, NIL)
#endif

/* Decoding of dates tells more about an error from 16 on. */
static inline int
decode_date_time(char **fields, int *types, int count, int *kind, struct pg_tm *parts, fsec_t *fraction, int *zone)
{
#if PG_VERSION_NUM >= 160000
	DateTimeErrorExtra extra;

	return DecodeDateTime(fields, types, count, kind, parts, fraction, zone, &extra);
#else
	return DecodeDateTime(fields, types, count, kind, parts, fraction, zone);
#endif
}

#endif /* DVNT_COMPAT_H */
