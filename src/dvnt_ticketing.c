/*
 * dvnt_ticketing.c
 *		Where the server enters: module magic and initialisation. Everything
 *		else is in the file named after its concern, see docs/architecture.md.
 *
 * Memory that outlives a call:
 *	- kept plans (spi_plan.c) live in SPI's own cache context;
 *	- the keyring and the webhook secrets (secrets.c) live outside of
 *	  PostgreSQL's contexts, so that no memory dump prints them; so does the
 *	  key file that all processes share (shared_keys.c).
 */
#include "postgres.h"

#include "fmgr.h"

#include "compat.h"
#include "dvnt_ticketing.h"

DVNT_MODULE_MAGIC;

void		_PG_init(void);

void
_PG_init(void)
{
	define_settings();
	load_secrets();
	prepare_statistics();
}
