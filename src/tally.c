/*
 * tally.c
 *		The books of a transaction: a seat that it took out of stock must have
 *		become a hold or a ticket when it commits, and the other way round. Where
 *		they don't balance our code is wrong, and the transaction fails.
 *
 * Reads and writes no table, takes no lock. Follows subtransactions: what is
 * rolled back to a savepoint is forgotten.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "dvnt_ticketing.h"

/* One account, as far as one (sub)transaction has moved it. */
typedef struct Account
{
	int64		pool_id;		/* seats of a pool, or 0: */
	pg_uuid_t	ticket_type_id; /* seats of a tier, from held to sold */
	int			level;			/* of nesting */
	int64		balance;
} Account;

static Account *accounts = NULL;
static int	account_count = 0;
static int	account_space = 0;

static bool
same_account(const Account *a, const Account *b)
{
	return a->pool_id == b->pool_id && memcmp(a->ticket_type_id.data, b->ticket_type_id.data, UUID_LEN) == 0;
}

static void
remove_account(int i)
{
	accounts[i] = accounts[--account_count];
}

/* Adds to an account at a level. Balanced accounts are removed, so that there are few. */
static void
enter(const Account *entry)
{
	for (int i = 0; i < account_count; i++)
		if (accounts[i].level == entry->level && same_account(&accounts[i], entry))
		{
			accounts[i].balance += entry->balance;
			if (accounts[i].balance == 0)
				remove_account(i);
			return;
		}
	if (account_count == account_space)
	{
		account_space = Max(16, account_space * 2);
		accounts = accounts == NULL
			? MemoryContextAlloc(TopMemoryContext, sizeof(Account) * account_space)
			: repalloc(accounts, sizeof(Account) * account_space);
	}
	accounts[account_count++] = *entry;
}

/* Hands the accounts of a subtransaction to its parent. */
static void
merge_level(int level)
{
	for (int i = account_count - 1; i >= 0; i--)
		if (accounts[i].level == level)
		{
			Account		entry = accounts[i];

			remove_account(i);
			entry.level--;
			enter(&entry);
		}
}

static void
forget_level(int level)
{
	for (int i = account_count - 1; i >= 0; i--)
		if (accounts[i].level >= level)
			remove_account(i);
}

/* Fails when something is left; savepoints have been merged by now. */
static void
check_balance(void)
{
	if (account_count == 0)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 accounts[0].pool_id != 0
			 ? errmsg("seats of stock pool " INT64_FORMAT " do not add up in this transaction: " INT64_FORMAT " too many",
					  accounts[0].pool_id, accounts[0].balance)
			 : errmsg("seats of ticket type %s do not add up in this transaction: " INT64_FORMAT " too many",
					  uuid_text(&accounts[0].ticket_type_id), accounts[0].balance),
			 errhint("This is a bug in dvnt_ticketing. Nothing was changed.")));
}

static void
transaction_ends(XactEvent event, void *argument)
{
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
		check_balance();
	else if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
		account_count = 0;
}

static void
subtransaction_ends(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *argument)
{
	if (account_count == 0)
		return;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		merge_level(GetCurrentTransactionNestLevel());
	else if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_level(GetCurrentTransactionNestLevel());
}

static void
tally(Account entry)
{
	static bool registered = false;

	if (!registered)
	{
		RegisterXactCallback(transaction_ends, NULL);
		RegisterSubXactCallback(subtransaction_ends, NULL);
		registered = true;
	}
	entry.level = GetCurrentTransactionNestLevel();
	if (entry.balance != 0)
		enter(&entry);
}

/* So many seats of a pool more for sale, held or sold; negative: fewer. */
void
tally_pool(int64 pool_id, int64 seats)
{
	tally((Account) {.pool_id = pool_id, .balance = seats});
}

/* So many seats of a tier more sold, or, negative, fewer held. */
void
tally_tier(const pg_uuid_t *ticket_type_id, int64 seats)
{
	tally((Account) {.ticket_type_id = *ticket_type_id, .balance = seats});
}
