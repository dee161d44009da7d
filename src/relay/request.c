/*
 * request.c
 *	  One request: from the row to the curl handle, and from the curl handle
 *	  to the answer that the database is given.
 *
 * A row is data: what would break out of its header or its URL is refused
 * here and never sent.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "relay.h"

#define CONNECT_TIMEOUT		10	/* seconds */
#define UNACKNOWLEDGED		15000	/* ms after which a silent peer is gone */
#define CONNECTION_AGE		600 /* seconds a connection may be reused */

/* The headers of an answer that the database is told. */
static const char *const kept_headers[] = {
	"request-id", "idempotent-replayed", "stripe-should-retry", "retry-after"
};

#define KEPT_HEADERS	((int) (sizeof(kept_headers) / sizeof(kept_headers[0])))

/*
 * Keep the body.  Of one that is too large, a short count makes curl end the
 * transfer with CURLE_WRITE_ERROR: such an answer counts as none.
 */
static size_t
receive_body(char *bytes, size_t size, size_t count, void *argument)
{
	Call	   *call = argument;
	size_t		length = size * count;

	if (call->answer.length + length > MAX_ANSWER_BYTES)
		return 0;
	buffer_append(&call->answer, bytes, length);
	return length;
}

/*
 * A connection on which nothing is acknowledged any more is closed by the
 * kernel.  Over HTTP/2 a call's timeout ends its stream only, and curl would
 * put the next calls on the same dead connection.
 */
static int
set_socket_options(void *argument, curl_socket_t socket, curlsocktype purpose)
{
	(void) argument;
	(void) purpose;
#ifdef TCP_USER_TIMEOUT
	unsigned int timeout = UNACKNOWLEDGED;

	(void) setsockopt(socket, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
#else
	(void) socket;
#endif
	return CURL_SOCKOPT_OK;
}

/* Whether a string is printable ASCII without a blank: fit for a header, a URL. */
static bool
is_printable(const char *string)
{
	for (const unsigned char *c = (const unsigned char *) string; *c; c++)
	{
		if (*c <= ' ' || *c > '~')
			return false;
	}
	return true;
}

/* What keeps a row from being sent, or NULL. */
static const char *
find_fault(const Call *call)
{
	if (strcmp(call->method, "GET") != 0 && strcmp(call->method, "POST") != 0 &&
		strcmp(call->method, "DELETE") != 0)
		return "refused here: the method is none of GET, POST, DELETE";
	if (call->path[0] != '/' || !is_printable(call->path) || strchr(call->path, '#'))
		return "refused here: the path is not one";
	if (strcmp(call->method, "POST") != 0 &&
		(!is_printable(call->body) || strchr(call->body, '#')))
		return "refused here: the query is not form-encoded";
	if (!is_printable(call->stripe_account) || !is_printable(call->api_version) ||
		!is_printable(call->idempotency_key))
		return "refused here: a header would hold a blank or control character";
	if (strcmp(call->method, "POST") == 0 && *call->idempotency_key == '\0')
		return "refused here: a POST without an idempotency key cannot be retried";
	return NULL;
}

/* Add a header, unless its value is empty. */
static void
add_header(Call *call, const char *name, const char *value)
{
	Buffer		header = {0};
	struct curl_slist *lines;

	if (*value == '\0')
		return;
	buffer_puts(&header, name);
	buffer_puts(&header, value);
	lines = curl_slist_append(call->header_lines, header.data);
	buffer_wipe(&header);
	if (lines == NULL)
	{
		log_event(LOG_LEVEL_ERROR, "out_of_memory", NULL, NULL);
		exit(EXIT_TROUBLE);
	}
	call->header_lines = lines;
}

/* What every call has in common: how to connect, whom to trust, when to give up. */
void
request_init(CURL *easy)
{
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, config.loopback ? "https,http" : "https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long) CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(easy, CURLOPT_PIPEWAIT, 1L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_TIMEOUT, (long) config.timeout);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, (long) CONNECT_TIMEOUT);
	curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, (long) CONNECTION_AGE);
	curl_easy_setopt(easy, CURLOPT_TCP_NODELAY, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, 10L);
	curl_easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, 5L);
	curl_easy_setopt(easy, CURLOPT_SOCKOPTFUNCTION, set_socket_options);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, RELAY_NAME "/" RELAY_VERSION);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_SSLVERSION, (long) CURL_SSLVERSION_TLSv1_2);
	if (config.ca_file)
	{
		/* these and no others: curl would add the system's directory */
		curl_easy_setopt(easy, CURLOPT_CAINFO, config.ca_file);
		curl_easy_setopt(easy, CURLOPT_CAPATH, NULL);
	}
	if (config.loopback)
		curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive_body);
}

/* Where to, and with which body: only POST has one, the others a query. */
static void
set_target(Call *call)
{
	CURL	   *easy = call->easy;
	Buffer		url = {0};

	buffer_puts(&url, config.api_base);
	buffer_puts(&url, call->path);
	if (strcmp(call->method, "POST") == 0)
	{
		curl_easy_setopt(easy, CURLOPT_POST, 1L);
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) strlen(call->body));
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body);
	}
	else
	{
		if (*call->body)
		{
			buffer_puts(&url, strchr(call->path, '?') ? "&" : "?");
			buffer_puts(&url, call->body);
		}
		curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
		if (strcmp(call->method, "DELETE") == 0)
			curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, "DELETE");
	}
	curl_easy_setopt(easy, CURLOPT_URL, url.data);
	buffer_wipe(&url);
}

/*
 * Make a call's curl handle ready.  Returns false, with the reason in
 * call->error, for a row that must not be sent.
 *
 * curl sends a request once more by itself when a connection it reused turns
 * out dead before a byte came back.  That is our own retry, only sooner: the
 * same bytes under the same idempotency key.
 */
bool
request_prepare(Call *call)
{
	CURL	   *easy = call->easy;
	const char *fault = find_fault(call);

	if (fault)
	{
		call->refused = true;
		snprintf(call->error, sizeof(call->error), "%s", fault);
		return false;
	}

	set_target(call);
	add_header(call, "", config.authorization);
	add_header(call, "Stripe-Version: ", call->api_version);
	add_header(call, "Stripe-Account: ", call->stripe_account);
	if (strcmp(call->method, "POST") == 0)
	{
		add_header(call, "Content-Type: ", "application/x-www-form-urlencoded");
		add_header(call, "Idempotency-Key: ", call->idempotency_key);
		add_header(call, "", "Expect:");	/* never ask before sending */
	}
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, call->header_lines);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, call->error);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, call);
	return true;
}

/*
 * Whether an error means that the peer cannot be trusted, as opposed to a
 * handshake that was cut short, which the next try may well finish.
 */
static bool
is_trust_error(CURLcode code)
{
	return code == CURLE_PEER_FAILED_VERIFICATION ||
		code == CURLE_SSL_CACERT_BADFILE ||
		code == CURLE_SSL_CRL_BADFILE ||
		code == CURLE_SSL_ISSUER_ERROR ||
		code == CURLE_SSL_INVALIDCERTSTATUS;
}

/*
 * The kept headers as a JSON object, and the request id by itself.  With
 * them goes how long the call took, its connection apart.
 */
static void
keep_headers(Call *call)
{
	char		took[64];
	curl_off_t	total = 0;
	curl_off_t	connected = 0;

	curl_easy_getinfo(call->easy, CURLINFO_TOTAL_TIME_T, &total);
	curl_easy_getinfo(call->easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
	snprintf(took, sizeof(took), "{\"relay-ms\":%lld",
			 total > connected ? (long long) (total - connected) / 1000 : 0);
	buffer_puts(&call->headers, took);
	for (int i = 0; i < KEPT_HEADERS; i++)
	{
		struct curl_header *header;

		if (curl_easy_header(call->easy, kept_headers[i], 0, CURLH_HEADER, -1,
							 &header) != CURLHE_OK)
			continue;
		buffer_puts(&call->headers, ",");
		buffer_json(&call->headers, kept_headers[i]);
		buffer_puts(&call->headers, ":");
		buffer_json(&call->headers, header->value);
		if (i == 0)
			snprintf(call->request_id, sizeof(call->request_id), "%s", header->value);
	}
	buffer_puts(&call->headers, "}");
}

/* Why there is no answer, as a JSON object; a refused row will never have one. */
static void
keep_error(Call *call)
{
	buffer_puts(&call->headers, "{\"error\":");
	buffer_json(&call->headers, call->error);
	buffer_puts(&call->headers, ",\"tls\":");
	buffer_puts(&call->headers, call->tls_failed ? "true" : "false");
	buffer_puts(&call->headers, call->refused ? ",\"refused\":true}" : "}");
}

/*
 * Take down what became of a call: an answer is one only if it is complete.
 */
void
request_finish(Call *call, CURLcode code)
{
	long		status = 0;

	if (code == CURLE_OK)
	{
		curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
		if (status == 0)
			snprintf(call->error, sizeof(call->error), "the answer has no status");
	}
	else if (code == CURLE_WRITE_ERROR)
		snprintf(call->error, sizeof(call->error), "the answer is larger than %d bytes",
				 MAX_ANSWER_BYTES);
	else if (call->error[0] == '\0')
		snprintf(call->error, sizeof(call->error), "%s", curl_easy_strerror(code));

	call->status = (int) status;
	call->tls_failed = is_trust_error(code);
	if (call->status != 0)
	{
		keep_headers(call);
		return;
	}
	buffer_wipe(&call->answer);
	keep_error(call);
}

/* Forget the request: its handle is as request_init left it, and the key is wiped from its headers. */
void
request_forget(Call *call)
{
	CURL	   *easy = call->easy;

	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, NULL);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDS, NULL);
	curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t) -1);
	curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, NULL);
	curl_easy_setopt(easy, CURLOPT_URL, NULL);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
	curl_easy_setopt(easy, CURLOPT_PRIVATE, NULL);
	for (struct curl_slist *line = call->header_lines; line; line = line->next)
		explicit_bzero(line->data, strlen(line->data));
	curl_slist_free_all(call->header_lines);
	call->header_lines = NULL;
}
