/*
 * buffer.c
 *	  Memory: growing buffers, JSON strings, and strings that are wiped before
 *	  they are freed.
 *
 * Without memory the relay ends: its leases run out and another one, or it
 * itself after its restart, sends the same requests under the same keys.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay.h"

/* Zeroed memory, or the end of the process. */
void *
allocate(size_t size)
{
	void	   *memory = calloc(1, size);

	if (memory == NULL)
	{
		log_event(LOG_LEVEL_ERROR, "out_of_memory", NULL, NULL);
		exit(EXIT_TROUBLE);
	}
	return memory;
}

/* A copy of a string, "" for NULL. */
char *
copy_string(const char *string)
{
	size_t		size = string ? strlen(string) + 1 : 1;
	char	   *copy = allocate(size);

	if (string)
		memcpy(copy, string, size);
	return copy;
}

/* Wipe and free a string, and forget it. */
void
wipe_string(char **string)
{
	if (*string == NULL)
		return;
	explicit_bzero(*string, strlen(*string));
	free(*string);
	*string = NULL;
}

/* Add bytes; the old block is wiped when a larger one takes its place. */
void
buffer_append(Buffer *buffer, const void *bytes, size_t length)
{
	size_t		needed = buffer->length + length + 1;

	if (needed > buffer->size)
	{
		size_t		size = buffer->size ? buffer->size : 256;
		char	   *data;

		while (size < needed)
			size *= 2;
		data = allocate(size);
		if (buffer->data)
		{
			memcpy(data, buffer->data, buffer->length);
			explicit_bzero(buffer->data, buffer->length);
			free(buffer->data);
		}
		buffer->data = data;
		buffer->size = size;
	}
	if (length > 0)
		memcpy(buffer->data + buffer->length, bytes, length);
	buffer->length += length;
	buffer->data[buffer->length] = '\0';
}

/* Add a string. */
void
buffer_puts(Buffer *buffer, const char *string)
{
	buffer_append(buffer, string, strlen(string));
}

/*
 * Add a string as a JSON string.  Whatever is not printable ASCII is written
 * as its byte's \u00XX: a header may hold bytes that are no UTF-8.
 */
void
buffer_json(Buffer *buffer, const char *string)
{
	buffer_puts(buffer, "\"");
	for (const unsigned char *c = (const unsigned char *) string; *c; c++)
	{
		char		escape[8];

		if (*c == '"' || *c == '\\')
			snprintf(escape, sizeof(escape), "\\%c", *c);
		else if (*c < 0x20 || *c > 0x7e)
			snprintf(escape, sizeof(escape), "\\u%04x", *c);
		else
			snprintf(escape, sizeof(escape), "%c", *c);
		buffer_puts(buffer, escape);
	}
	buffer_puts(buffer, "\"");
}

/* Wipe and free what a buffer holds; it can be used again. */
void
buffer_wipe(Buffer *buffer)
{
	if (buffer->data)
	{
		explicit_bzero(buffer->data, buffer->length);
		free(buffer->data);
	}
	memset(buffer, 0, sizeof(*buffer));
}
