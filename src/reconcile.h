/*
 * reconcile.h
 *		What the files of the comparison call of one another.
 */
#ifndef RECONCILE_H
#define RECONCILE_H

#include "dvnt_ticketing.h"

/* A fault that was found. */
typedef struct Finding
{
	const char *kind;			/* of a ReconcileKind */
	char	   *entity;			/* table/id */
	char	   *detail;			/* JSON */
	bool		repaired;
	const char *repair;			/* what was done; or why nothing was, and what a person can do */
} Finding;

/* A run of the comparison. */
typedef struct Reconciliation
{
	MemoryContext context;		/* of the findings */
	TimestampTz now;
	int			max_findings;	/* to record, and to repair */
	double		pace;			/* the part of the time of one processor that may be used */
	double		used_before;	/* seconds of it, when the run last rested */
	struct Parts *parts;		/* NULL: the run is one transaction */
	Finding    *findings;
	int			count;
	int			room;
} Reconciliation;

/* A kind of fault that reconcile_orders looks for. */
typedef struct ReconcileKind
{
	const char *name;

	/*
	 * Repairs a fault, or leaves it and says in finding->repair why. NULL: it
	 * is never safe. Repairs are made in the order of the kinds.
	 */
	void		(*repair) (Finding *finding, TimestampTz now);
	const char *advice;			/* what a person can do */
} ReconcileKind;

/*-- reconcile.c --*/

extern void read_run_arguments(FunctionCallInfo fcinfo, Reconciliation *run);
extern void carry_out(Reconciliation *run, FunctionCallInfo fcinfo);
extern void rest(Reconciliation *run);
extern void add_finding(Reconciliation *run, const char *kind, const char *entity, const char *detail);

/*-- reconcile_parts.c --*/

extern void begin_part(struct Parts *parts);
extern void end_part(struct Parts *parts);

/*-- reconcile_checks.c --*/

extern void compare_everything(Reconciliation *run);

/*-- reconcile_repairs.c --*/

extern const ReconcileKind reconcile_kinds[];
extern const int reconcile_kind_count;

extern const ReconcileKind *reconcile_kind(const char *name);
extern void repair_findings(Reconciliation *run);

#endif							/* RECONCILE_H */
