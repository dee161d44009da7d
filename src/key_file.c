/*
 * key_file.c
 *		Reads the text of a key file, or says why it may not be used: what kind
 *		of file it is, who may have access to it, how large it is, and whether
 *		it stood still meanwhile. What its lines mean is keyring.c's.
 *
 * Raises no error and takes no memory of PostgreSQL's, so that the postmaster
 * can call it from an assign hook. A message never has anything of the
 * content. Reads and writes no table, takes no lock.
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/fd.h"

#include "dvnt_ticketing.h"

/* Makes room for a text; false when out of memory. */
bool
make_key_text(KeyText *text, size_t room)
{
	text->bytes = malloc(Max(room, 1));
	text->length = text->bytes != NULL ? room : 0;
	return text->bytes != NULL;
}

/* Wipes and frees a text. */
void
free_key_text(KeyText *text)
{
	if (text->bytes != NULL)
		explicit_bzero(text->bytes, text->length);
	free(text->bytes);
	memset(text, 0, sizeof(*text));
}

static void
take_version(const struct stat *status, KeyFileVersion *version)
{
	version->device = status->st_dev;
	version->inode = status->st_ino;
	version->size = status->st_size;
	version->modified = status->st_mtim;
	version->changed = status->st_ctim;
}

static inline bool
same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Whether a file is the one that it was, untouched. */
bool
same_key_file(const KeyFileVersion *a, const KeyFileVersion *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
		same_time(&a->modified, &b->modified) && same_time(&a->changed, &b->changed);
}

/* The version of the file that is there now; all zero if there is none. */
void
key_file_version(const char *path, KeyFileVersion *version)
{
	struct stat status;

	memset(version, 0, sizeof(*version));
	if (stat(path, &status) == 0)
		take_version(&status, version);
}

/* The rule that PostgreSQL has for the key of its TLS certificate: NULL, or what is wrong. */
static const char *
wrong_access(const struct stat *status)
{
	if (!S_ISREG(status->st_mode))
		return "it is not a regular file";
	if (status->st_uid != geteuid() && status->st_uid != 0)
		return "it must be owned by the server's user or by root";
	if (status->st_uid == geteuid() && (status->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return "group or others have access; a file of the server's user needs mode 0600 or less";
	if (status->st_uid == 0 && (status->st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) != 0)
		return "group or others have access; a file of root needs mode 0640 or less";
	if (status->st_size > KEY_FILE_MAX_BYTES)
		return "it is larger than 1 MB";
	return NULL;
}

/* Fills the room as far as the file goes; the bytes read, or -1. */
static ssize_t
read_to_end(int file, char *bytes, size_t room)
{
	size_t		filled = 0;

	while (filled < room)
	{
		ssize_t		got = read(file, bytes + filled, room - filled);

		if (got == 0)
			break;
		if (got > 0)
			filled += got;
		else if (errno != EINTR)
			return -1;
	}
	return filled;
}

/* Reads the content of a file that has been checked. */
static bool
read_content(int file, const KeyFileVersion *version, KeyText *text, char error[KEY_FILE_ERROR_SIZE])
{
	ssize_t		length;
	struct stat status;
	KeyFileVersion after;

	/* Room for one byte more, to see the end. */
	if (!make_key_text(text, version->size + 1))
	{
		snprintf(error, KEY_FILE_ERROR_SIZE, "out of memory");
		return false;
	}
	length = read_to_end(file, text->bytes, text->length);
	if (length < 0 || fstat(file, &status) != 0)
	{
		snprintf(error, KEY_FILE_ERROR_SIZE, "could not read it: %m");
		return false;
	}
	take_version(&status, &after);
	if (length != version->size || !same_key_file(version, &after))
	{
		snprintf(error, KEY_FILE_ERROR_SIZE, "it was written to while it was read");
		return false;
	}
	text->length = length;
	return true;
}

/*
 * Reads a key file, whose text the caller frees; false with the reason in
 * error. version is that of the file that was opened, all zero if none could be.
 */
bool
read_key_file(const char *path, KeyFileVersion *version, KeyText *text, char error[KEY_FILE_ERROR_SIZE])
{
	bool		done = false;
	const char *wrong;
	struct stat status;

	/* O_NONBLOCK: to open a pipe would otherwise wait for somebody who writes to it. */
	int			file = BasicOpenFile(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | PG_BINARY);

	memset(version, 0, sizeof(*version));
	memset(text, 0, sizeof(*text));
	error[0] = '\0';
	if (file < 0)
	{
		snprintf(error, KEY_FILE_ERROR_SIZE, "could not open it: %m");
		return false;
	}
	if (fstat(file, &status) != 0)
		snprintf(error, KEY_FILE_ERROR_SIZE, "could not look at it: %m");
	else
	{
		take_version(&status, version);
		wrong = wrong_access(&status);
		if (wrong != NULL)
			snprintf(error, KEY_FILE_ERROR_SIZE, "%s", wrong);
		else
			done = read_content(file, version, text, error);
	}
	close(file);
	if (!done)
		free_key_text(text);
	return done;
}
