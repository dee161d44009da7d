/*
 * door_batch.h
 *		A batch of scans that a device made offline, and what is known about its
 *		door: shared by door_batch.c and door_sync.c.
 */
#ifndef DVNT_DOOR_BATCH_H
#define DVNT_DOOR_BATCH_H

#include "dvnt_ticketing.h"

/* Flags, in the order in which they are written. */
typedef enum ScanFlag
{
	FLAG_CLOCK = 1 << 0,		/* the device's clock was off by more than two minutes */
	FLAG_OPERATOR_REVOKED = 1 << 1, /* the operator might not scan any more, or not yet */
	FLAG_DEVICE_REVOKED = 1 << 2,
	FLAG_MANIFEST_EXPIRED = 1 << 3,
	FLAG_REFUNDED = 1 << 4,		/* admitted, though the ticket was or is no ticket any more */
	FLAG_VOID = 1 << 5,
	FLAG_SUSPENDED = 1 << 6,
	FLAG_SUPERSEDED = 1 << 7,	/* by a code that had been replaced */
	FLAG_WRONG_GATE = 1 << 8,
	FLAG_TOO_EARLY = 1 << 9,
	FLAG_TOO_LATE = 1 << 10,
	FLAG_NO_TICKET = 1 << 11	/* the device let somebody in by a code that is no ticket's of this event */
} ScanFlag;

/* One scan of a batch. */
typedef struct OfflineScan
{
	/* asked */
	pg_uuid_t	scan_id;
	char	   *code;
	char	   *code_hash;
	TimestampTz scanned_at;
	char	   *scanned_by;
	char	   *gate;
	bool		out;
	bool		has_manifest;
	pg_uuid_t	manifest_id;
	char	   *device_result;	/* what the device decided; NULL: it does not say */
	/* found */
	const char *error;			/* why it cannot be recorded; the rest is unset then */
	TicketCode	parsed;
	TimestampTz happened_at;
	bool		was_superseded; /* the code has been replaced: */
	TimestampTz superseded_at;
	bool		has_ticket;
	pg_uuid_t	ticket_id;
	const char *result;
	bool		moved;
	int			flags;
} OfflineScan;

typedef struct AuthorityChange
{
	TimestampTz at;
	bool		permitted;		/* from then on */
} AuthorityChange;

/* When somebody might scan. The name comes first, as bsearch wants it. */
typedef struct Authority
{
	const char *user_id;
	bool		hosts;
	int			count;
	AuthorityChange *changes;	/* by time */
} Authority;

typedef struct Gate
{
	char	   *name;
	int			tier_count;		/* -1: all tiers */
	pg_uuid_t  *tiers;
} Gate;

typedef struct ManifestTimes
{
	pg_uuid_t	id;
	TimestampTz issued_at;
	TimestampTz expires_at;
} ManifestTimes;

typedef struct LockedTicket
{
	pg_uuid_t	id;
	int32		event_id;
	pg_uuid_t	ticket_type_id;
	char	   *status;
	char	   *payload;
	char	   *token;
	bool		suspended;
	bool		touched;		/* a scan of this batch moves it */
} LockedTicket;

/* A batch, and what is known about the door. */
typedef struct Batch
{
	int32		event_id;
	char	   *uploaded_by;
	char	   *device_id;
	TimestampTz now;
	int64		offset;			/* of the server's clock against the device's, microseconds */
	char	   *host_id;
	DoorHours	hours;
	bool		reentry;
	bool		device_revoked;
	TimestampTz device_revoked_at;
	int			gate_count;
	Gate	   *gates;
	int			authority_count;
	Authority  *authorities;	/* by name */
	int			manifest_count;
	ManifestTimes *manifests;	/* by id */
	int			ticket_count;
	LockedTicket *tickets;		/* by id */
	int			count;
	OfflineScan *scans;
} Batch;

/*-- door_batch.c --*/

extern void read_batch(Jsonb *scans, Batch *batch);
extern void record_batch(const Batch *batch);
extern char *answer_batch(const Batch *batch);
extern int	unique_uuids(pg_uuid_t *ids, int count);
extern Datum array_of_uuids(pg_uuid_t *ids, int count);

#endif							/* DVNT_DOOR_BATCH_H */
