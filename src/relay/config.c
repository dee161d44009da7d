/*
 * config.c
 *	  The environment: read once at start, checked, and refused with a clear
 *	  line and EXIT_CONFIG when something is missing or wrong.
 *
 *	  STRIPE_SECRET_KEY			the key, or
 *	  STRIPE_SECRET_KEY_FILE	a file whose first line is the key
 *	  STRIPE_API_BASE			default https://api.stripe.com; plain http only to
 *								this machine
 *	  STRIPE_CA_FILE			the only CAs to trust, PEM; default the system's
 *	  DVNT_INSTALLATION			what tells this database from its physical copies
 *	  DVNT_RELAY_CONCURRENCY	calls at once, default 32
 *	  DVNT_RELAY_TIMEOUT		seconds a call may take, default 30
 *	  DVNT_RELAY_LEASE			seconds a claimed row is ours, default timeout + 15
 *	  DVNT_RELAY_POLL			seconds between looks while asleep, default 1
 *	  DVNT_RELAY_DEBUG			1: more log lines
 *
 * PG* belong to libpq, HTTPS_PROXY and NO_PROXY to libcurl.
 *
 * The key ends up in config.authorization and nowhere else: it is wiped from
 * the environment, and no message repeats it, not even a wrong one.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "relay.h"

#define DEFAULT_API_BASE	"https://api.stripe.com"
#define AUTHORIZATION		"Authorization: Bearer "
#define MAX_KEY_LENGTH		512

Config		config;

/* Say what is wrong and end. */
static void
refuse(const char *name, const char *error)
{
	LogLine		line;

	log_begin(&line, LOG_LEVEL_ERROR, "config");
	log_text(&line, "name", name);
	log_text(&line, "error", error);
	log_end(&line);
	config_wipe();
	exit(EXIT_CONFIG);
}

/* A variable's value; one that is set to nothing counts as not set. */
static const char *
read_variable(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

/* A whole number within bounds, or the default. */
static int
read_number(const char *name, int least, int most, int otherwise)
{
	const char *value = read_variable(name);
	char		error[128];
	char	   *end;
	long		number;

	if (value == NULL)
		return otherwise;
	errno = 0;
	number = strtol(value, &end, 10);
	if (!isdigit((unsigned char) *value) || *end != '\0' || errno != 0 ||
		number < least || number > most)
	{
		snprintf(error, sizeof(error), "must be a whole number from %d to %d",
				 least, most);
		refuse(name, error);
	}
	return (int) number;
}

/* The first line of the key file, in a buffer of MAX_KEY_LENGTH + 2. */
static void
read_key_file(const char *path, char *key)
{
	int			file = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t		length;

	if (file < 0)
		refuse("STRIPE_SECRET_KEY_FILE", strerror(errno));
	length = read(file, key, MAX_KEY_LENGTH + 1);
	if (length < 0)
		refuse("STRIPE_SECRET_KEY_FILE", strerror(errno));
	close(file);
	key[length] = '\0';
	for (char *end = key; *end; end++)
	{
		if (*end == '\n' || *end == '\r')
		{
			explicit_bzero(end, (size_t) (key + length - end));
			break;
		}
	}
}

/* Check the key: a known prefix, and no character that could leave its header. */
static void
check_key(const char *name, const char *key)
{
	size_t		length = strlen(key);

	if (strncmp(key, "sk_live_", 8) == 0 || strncmp(key, "rk_live_", 8) == 0)
		config.livemode = true;
	else if (strncmp(key, "sk_test_", 8) == 0 || strncmp(key, "rk_test_", 8) == 0)
		config.livemode = false;
	else
		refuse(name, "must start with sk_live_, rk_live_, sk_test_ or rk_test_");
	if (length == 8 || length > MAX_KEY_LENGTH)
		refuse(name, "has the wrong length");
	for (const char *c = key; *c; c++)
	{
		if (!isalnum((unsigned char) *c) && *c != '_')
			refuse(name, "has a character that no Stripe key has");
	}
}

/* Take the key out of the environment, or out of its file. */
static void
read_key(void)
{
	char	   *value = getenv("STRIPE_SECRET_KEY");
	const char *path = read_variable("STRIPE_SECRET_KEY_FILE");
	const char *name = path ? "STRIPE_SECRET_KEY_FILE" : "STRIPE_SECRET_KEY";
	char		from_file[MAX_KEY_LENGTH + 2];
	const char *key = value;
	size_t		size;

	if (value && *value && path)
		refuse("STRIPE_SECRET_KEY", "is set, and so is STRIPE_SECRET_KEY_FILE: choose one");
	if (path)
	{
		read_key_file(path, from_file);
		key = from_file;
	}
	if (key == NULL || *key == '\0')
		refuse(name, path ? "the file is empty" : "is not set");
	check_key(name, key);

	size = sizeof(AUTHORIZATION) + strlen(key);
	config.authorization = allocate(size);
	snprintf(config.authorization, size, "%s%s", AUTHORIZATION, key);

	if (path)
		explicit_bzero(from_file, sizeof(from_file));
	if (value)
		explicit_bzero(value, strlen(value));
	unsetenv("STRIPE_SECRET_KEY");
}

/* Whether a host is this machine by its very name: 127.0.0.0/8, ::1, localhost. */
static bool
is_loopback(const char *host)
{
	struct in_addr address;

	if (strcasecmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0)
		return true;
	return inet_pton(AF_INET, host, &address) == 1 &&
		(ntohl(address.s_addr) >> 24) == 127;
}

/* Whether a part of the URL is there and says something. */
static bool
has_part(CURLU *url, CURLUPart part)
{
	char	   *value = NULL;
	bool		there = curl_url_get(url, part, &value, 0) == CURLUE_OK &&
		strcmp(value, "/") != 0;

	curl_free(value);
	return there;
}

/* Where Stripe is: https, or this machine, and nothing but scheme, host, port. */
static void
read_api_base(void)
{
	static const char name[] = "STRIPE_API_BASE";
	const char *value = read_variable(name);
	CURLU	   *url = curl_url();
	char	   *scheme = NULL;
	char	   *host = NULL;
	size_t		length;

	if (value == NULL)
		value = DEFAULT_API_BASE;
	if (url == NULL || curl_url_set(url, CURLUPART_URL, value, 0) != CURLUE_OK ||
		curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
		curl_url_get(url, CURLUPART_HOST, &host, 0) != CURLUE_OK)
		refuse(name, "is not a URL");
	if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD) ||
		has_part(url, CURLUPART_PATH) || has_part(url, CURLUPART_QUERY) ||
		has_part(url, CURLUPART_FRAGMENT))
		refuse(name, "must be a scheme, a host and perhaps a port, and no more");

	config.loopback = is_loopback(host);
	if (strcmp(scheme, "http") == 0)
	{
		if (!config.loopback)
			refuse(name, "plain http is for this machine only: use https");
	}
	else if (strcmp(scheme, "https") != 0)
		refuse(name, "must be an https URL");

	config.api_base = copy_string(value);
	length = strlen(config.api_base);
	while (length > 0 && config.api_base[length - 1] == '/')
		config.api_base[--length] = '\0';
	curl_free(scheme);
	curl_free(host);
	curl_url_cleanup(url);
}

/* The CAs to trust, if not the system's. */
static void
read_ca_file(void)
{
	const char *path = read_variable("STRIPE_CA_FILE");

	if (path == NULL)
		return;
	if (access(path, R_OK) != 0)
		refuse("STRIPE_CA_FILE", strerror(errno));
	config.ca_file = copy_string(path);
}

/* Read it all, or end with EXIT_CONFIG. */
void
config_load(void)
{
	const char *value;

	config.debug = read_number("DVNT_RELAY_DEBUG", 0, 1, 0) != 0;
	config.concurrency = read_number("DVNT_RELAY_CONCURRENCY", 1, MAX_CONCURRENCY, 32);
	config.timeout = read_number("DVNT_RELAY_TIMEOUT", 1, 300, 30);
	config.lease = read_number("DVNT_RELAY_LEASE", 1, 3600, config.timeout + 15);
	config.poll = read_number("DVNT_RELAY_POLL", 1, 3600, 1);
	if (config.lease <= config.timeout)
		refuse("DVNT_RELAY_LEASE", "must be longer than DVNT_RELAY_TIMEOUT");
	value = getenv("DVNT_INSTALLATION");
	config.installation = value ? value : "";
	read_api_base();
	read_ca_file();
	read_key();
}

/* Forget the key, and the rest with it. */
void
config_wipe(void)
{
	wipe_string(&config.authorization);
	wipe_string(&config.api_base);
	wipe_string(&config.ca_file);
}
