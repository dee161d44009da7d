/*
 * calls.c
 *	  The slots for calls and the curl multi handle that drives them all.
 *
 * A slot goes FREE -> SENDING -> ANSWERED -> STORING -> FREE.  Its owner
 * (outbox.c, or arming.c for its one GET) takes the answer and releases it.
 * An answer that is not stored yet keeps its slot, so memory is bounded by the slots and the size of an answer.
 */
#include <stdlib.h>
#include <string.h>

#include "relay.h"

static CURLM *multi;
static Call *slots;
static int	active;				/* slots that are not free */

/* End the process: without curl there is nothing to do. */
static void
give_up(const char *error)
{
	log_event(LOG_LEVEL_ERROR, "curl", "error", error);
	exit(EXIT_TROUBLE);
}

/* Make the slots and the multi handle. */
void
calls_init(void)
{
	multi = curl_multi_init();
	if (multi == NULL)
		give_up("no multi handle");
	curl_multi_setopt(multi, CURLMOPT_PIPELINING, (long) CURLPIPE_MULTIPLEX);
	curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long) config.concurrency);

	slots = allocate(sizeof(Call) * (size_t) config.concurrency);
	for (int i = 0; i < config.concurrency; i++)
	{
		slots[i].easy = curl_easy_init();
		if (slots[i].easy == NULL)
			give_up("no easy handle");
		request_init(slots[i].easy);
	}
}

/* End all calls, answered or not, and free everything. */
void
calls_close(void)
{
	if (slots == NULL)
		return;
	for (int i = 0; i < config.concurrency; i++)
	{
		if (slots[i].state != CALL_FREE)
			calls_release(&slots[i]);
		curl_easy_cleanup(slots[i].easy);
	}
	curl_multi_cleanup(multi);
	free(slots);
	slots = NULL;
}

/* How many slots are taken. */
int
calls_active(void)
{
	return active;
}

/* How many are free. */
int
calls_room(void)
{
	return config.concurrency - active;
}

/* A free slot, now SENDING; the caller has seen that there is room. */
Call *
calls_take(void)
{
	Call	   *call = slots;

	while (call->state != CALL_FREE)
		call++;
	call->state = CALL_SENDING;
	active++;
	return call;
}

/* A call has ended, one way or the other. */
static void
finish(Call *call, CURLcode code)
{
	call->took = clock_now() - call->started_at;
	request_finish(call, code);
	call->state = CALL_ANSWERED;
	call->store_at = 0;
	if (call->answered)
		call->answered(call);
}

/* Send it.  A row that must not be sent is answered at once, with an error. */
void
calls_send(Call *call)
{
	call->started_at = clock_now();
	if (!request_prepare(call))
	{
		finish(call, CURLE_BAD_FUNCTION_ARGUMENT);
		return;
	}
	if (curl_multi_add_handle(multi, call->easy) != CURLM_OK)
		give_up("a call cannot be added");
}

/* Wipe the slot and make it room again. */
void
calls_release(Call *call)
{
	CURL	   *easy = call->easy;

	curl_multi_remove_handle(multi, easy);	/* no harm if it is not in there */
	request_forget(call);
	wipe_string(&call->id);
	wipe_string(&call->lease_token);
	wipe_string(&call->method);
	wipe_string(&call->path);
	wipe_string(&call->body);
	wipe_string(&call->stripe_account);
	wipe_string(&call->api_version);
	wipe_string(&call->idempotency_key);
	wipe_string(&call->kind);
	wipe_string(&call->endpoint);
	buffer_wipe(&call->headers);
	buffer_wipe(&call->answer);
	memset(call, 0, sizeof(*call));
	call->easy = easy;
	active--;
}

/* The next slot in a state; after NULL, the first. */
Call *
calls_next(Call *after, CallState state)
{
	for (Call *call = after ? after + 1 : slots; call < slots + config.concurrency; call++)
	{
		if (call->state == state)
			return call;
	}
	return NULL;
}

/* Let curl do what can be done without waiting, and see which calls ended. */
void
calls_work(void)
{
	int			running;
	int			left;
	CURLMsg    *message;

	if (curl_multi_perform(multi, &running) != CURLM_OK)
		give_up("the calls cannot be driven");
	while ((message = curl_multi_info_read(multi, &left)) != NULL)
	{
		Call	   *call;
		CURLcode	code = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **) &call);
		curl_multi_remove_handle(multi, call->easy);
		finish(call, code);
	}
}

/* Wait for curl's sockets, the given ones, or the time (ms). */
void
calls_wait(struct curl_waitfd *descriptors, int count, int timeout)
{
	if (curl_multi_poll(multi, descriptors, (unsigned int) count, timeout, NULL) != CURLM_OK)
		give_up("the calls cannot be waited for");
}
