/*
 * shared_keys.c
 *		The key file that the postmaster has taken last, for all processes of
 *		the server: memory that it maps before it starts any of them, where the
 *		library is preloaded. It outlives a crash of theirs, as the postmaster
 *		does, and it is the same after each of its reloads for all at once.
 *
 * The postmaster alone writes, and waits for nobody: there is no lock, but a
 * number that is odd while it writes. Who reads takes a copy and looks whether
 * the number is what it was. Reads and writes no table.
 */
#include "postgres.h"

#include <sys/mman.h>

#include "miscadmin.h"

#include "dvnt_ticketing.h"

typedef struct SharedKeys
{
	pg_atomic_uint32 version;
	KeyState	state;
	size_t		length;
	char		text[KEY_FILE_MAX_BYTES];	/* of the key file that is in use */
} SharedKeys;

static SharedKeys *shared = NULL;
static pg_atomic_uint32 no_version;
pg_atomic_uint32 *shared_keys_version = &no_version;

/* Called when the library is loaded; without preload nothing is shared. */
void
prepare_shared_keys(void)
{
	if (!process_shared_preload_libraries_in_progress || IsUnderPostmaster)
		return;
	shared = mmap(NULL, sizeof(SharedKeys), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("could not map memory for ticket keys: %m")));
#ifdef MADV_DONTDUMP
	(void) madvise(shared, sizeof(SharedKeys), MADV_DONTDUMP);	/* no core file has the keys of all */
#endif
	pg_atomic_init_u32(&shared->version, 0);
	shared_keys_version = &shared->version;
}

bool
keys_are_shared(void)
{
	return shared != NULL;
}

static bool
is_shared(const KeyState *state, const KeyText *text)
{
	return state->source == shared->state.source && strcmp(state->path, shared->state.path) == 0 &&
		strcmp(state->error, shared->state.error) == 0 &&
		(text == NULL || (text->length == shared->length && memcmp(text->bytes, shared->text, shared->length) == 0));
}

/* For the postmaster: shows the others what is in use. A text that is NULL is the one that they have. */
void
share_keys(const KeyState *state, const KeyText *text)
{
	uint32		version;

	if (shared == NULL || is_shared(state, text))
		return;
	version = pg_atomic_read_u32(&shared->version);
	pg_atomic_write_u32(&shared->version, version + 1);
	pg_write_barrier();
	shared->state = *state;
	if (text != NULL || state->source != KEYS_OF_FILE)
	{
		explicit_bzero(shared->text, shared->length);
		shared->length = text != NULL ? text->length : 0;
		memcpy(shared->text, text != NULL ? text->bytes : "", shared->length);
	}
	pg_write_barrier();
	pg_atomic_write_u32(&shared->version, version + 2);
}

/*
 * Copies what is shared; false if the postmaster is writing, or there is no
 * memory: what the process has is then as good as it was, and it asks again.
 */
bool
copy_shared_keys(KeyState *state, KeyText *text, uint32 *version)
{
	memset(text, 0, sizeof(*text));
	*version = pg_atomic_read_u32(&shared->version);
	if (*version % 2 != 0)
		return false;
	pg_read_barrier();
	*state = shared->state;
	if (!make_key_text(text, Min(shared->length, KEY_FILE_MAX_BYTES)))
		return false;
	memcpy(text->bytes, shared->text, text->length);
	pg_read_barrier();
	if (pg_atomic_read_u32(&shared->version) == *version)
		return true;
	free_key_text(text);
	return false;
}
