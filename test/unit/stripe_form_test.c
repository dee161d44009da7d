/*
 * stripe_form_test.c
 *		Tests of stripe_form.c.
 *
 * Broken if they fail: Stripe reads other parameters than we meant, or a retry
 * of the same request has other bytes and is refused.
 *
 * The expected texts of test_library are what the official library for Node
 * (22.6 and 23.1) writes for the same parameters.
 */
#include "stripe_form.h"
#include "tap.h"

typedef struct Output
{
	size_t length;
	char   text[2000];
} Output;

static Output output;

/* The sink: keeps everything in `output`. */
static void
append(void *context, const char *bytes, size_t length)
{
	Output *out = context;

	memcpy(out->text + out->length, bytes, length);
	out->length += length;
	out->text[out->length] = '\0';
}

/* Starts afresh. */
static void
begin(StripeForm *form)
{
	output.length = 0;
	output.text[0] = '\0';
	stripe_form_begin(form, append, &output);
}

/* Enters each step of a path (a name, or #n for an element), writes a value, leaves them. */
static void
put(StripeForm *form, const char *path, const char *value)
{
	int steps = 0;

	for (const char *end, *start = path;; start = end + 1)
	{
		end = strchr(start, '/');
		if (end == NULL)
			end = start + strlen(start);
		if (*start == '#')
			stripe_form_enter_index(form, (uint32_t) (start[1] - '0'));
		else
			stripe_form_enter_key(form, start, (size_t) (end - start));
		steps++;
		if (*end == '\0')
			break;
	}
	if (value == NULL)
		stripe_form_null(form);
	else
		stripe_form_value(form, value, strlen(value));
	while (steps-- > 0)
		stripe_form_leave(form);
}

/* The encoding must be the library's, byte for byte. */
static void
test_library(void)
{
	StripeForm form;
	char       ascii[96];

	begin(&form);
	put(&form, "amount", "1125");
	put(&form, "currency", "usd");
	put(&form, "automatic_payment_methods/enabled", "true");
	put(&form, "transfer_data/destination", "acct_1");
	put(&form, "metadata/order_id", "8e2f-1");
	put(&form, "metadata/event_id", "7");
	is_text(output.text,
			"amount=1125&currency=usd&automatic_payment_methods[enabled]=true&"
			"transfer_data[destination]=acct_1&metadata[order_id]=8e2f-1&metadata[event_id]=7",
			"a PaymentIntent");

	begin(&form);
	put(&form, "line_items/#0/price_data/currency", "usd");
	put(&form, "line_items/#0/price_data/unit_amount", "1000");
	put(&form, "line_items/#0/price_data/product_data/name", "Fr\303\274h & sp\303\244t");
	put(&form, "line_items/#0/quantity", "2");
	put(&form, "line_items/#1/price", "price_1");
	put(&form, "line_items/#1/quantity", "1");
	put(&form, "expand/#0", "a.b");
	put(&form, "expand/#1", "c");
	is_text(output.text,
			"line_items[0][price_data][currency]=usd&line_items[0][price_data][unit_amount]=1000&"
			"line_items[0][price_data][product_data][name]=Fr%C3%BCh%20%26%20sp%C3%A4t&"
			"line_items[0][quantity]=2&line_items[1][price]=price_1&line_items[1][quantity]=1&"
			"expand[0]=a.b&expand[1]=c",
			"a Checkout Session");

	for (int i = 0; i < 95; i++)
		ascii[i] = (char) (' ' + i);
	ascii[95] = '\0';
	begin(&form);
	put(&form, "a", ascii);
	is_text(output.text,
			"a=%20%21%22%23%24%25%26%27%28%29%2A%2B%2C-.%2F0123456789%3A%3B%3C%3D%3E%3F%40"
			"ABCDEFGHIJKLMNOPQRSTUVWXYZ[%5C]%5E_%60abcdefghijklmnopqrstuvwxyz%7B%7C%7D~",
			"all of printable ASCII");

	begin(&form);
	stripe_form_enter_key(&form, "a", 1);
	stripe_form_value(&form, "\0\001\t\n\r\177\342\202\254\360\237\230\200\303\251", 15);
	stripe_form_leave(&form);
	is_text(output.text, "a=%00%01%09%0A%0D%7F%E2%82%AC%F0%9F%98%80%C3%A9",
			"control characters, and UTF-8 of two to four bytes");

	begin(&form);
	put(&form, "a", NULL);
	put(&form, "b/c", NULL);
	put(&form, "d/#0", NULL);
	put(&form, "e", "true");
	put(&form, "f", "false");
	put(&form, "g", "-1.5");
	is_text(output.text, "a=&b[c]=&d[0]=&e=true&f=false&g=-1.5", "null unsets");

	begin(&form);
	put(&form, "k y&=[x]/\303\244+", "v");
	is_text(output.text, "k%20y%26%3D[x][%C3%A4%2B]=v", "names are encoded, brackets stay");

	begin(&form);
	put(&form, "a/#0/#0", "1");
	put(&form, "a/#0/#1", "2");
	put(&form, "a/#1/#0", "3");
	put(&form, "a/#1/#1/#0", "4");
	is_text(output.text, "a[0][0]=1&a[0][1]=2&a[1][0]=3&a[1][1][0]=4", "arrays in arrays");

	begin(&form);
	put(&form, "a/b/c/d/e/f/g/h", "x");
	is_text(output.text, "a[b][c][d][e][f][g][h]=x", "objects in objects");

	begin(&form);
	put(&form, "a", "[x]");
	put(&form, "b", "");
	is_text(output.text, "a=[x]&b=", "brackets in a value, and an empty one");

	begin(&form);
	put(&form, "", "v");
	put(&form, "a/", "w");
	is_text(output.text, "=v&a[]=w", "empty names");
	is_text(stripe_form_end(&form), NULL, "without an error");

	begin(&form);
	stripe_form_enter_key(&form, "a", 1);
	stripe_form_leave(&form);
	put(&form, "c", "1");
	is_text(output.text, "c=1", "an empty array or object writes nothing");
}

/* A mistake must be told, and must not write half a parameter. */
static void
test_errors(void)
{
	StripeForm form;

	begin(&form);
	is_text(stripe_form_end(&form), NULL, "nothing is no error");
	is_text(output.text, "", "and an empty body");

	begin(&form);
	for (int i = 0; i < STRIPE_FORM_MAX_DEPTH; i++)
		ok(stripe_form_enter_key(&form, "a", 1), "%d steps down", i + 1);
	ok(stripe_form_value(&form, "v", 1), "a value at the greatest depth");
	ok(!stripe_form_enter_key(&form, "a", 1), "no further");
	ok(!stripe_form_value(&form, "v", 1), "after an error nothing is written");
	ok(!stripe_form_leave(&form), "and nothing is left");
	is_text(output.text, "a[a][a][a][a][a][a][a][a][a][a][a][a][a][a][a]=v", "as the text shows");
	is_text(stripe_form_end(&form), "the parameters are nested too deeply", "the error");

	begin(&form);
	ok(!stripe_form_value(&form, "v", 1), "a value needs a name");
	is_text(stripe_form_end(&form), "the parameters must be an object", "the error");

	begin(&form);
	ok(!stripe_form_enter_index(&form, 0), "the outermost is no array");
	is_text(stripe_form_end(&form), "the parameters must be an object", "the error");

	begin(&form);
	ok(!stripe_form_leave(&form), "no leaving before entering");
	is_text(stripe_form_end(&form), "left more than was entered", "the error");

	begin(&form);
	stripe_form_enter_key(&form, "a", 1);
	is_text(stripe_form_end(&form), "entered more than was left", "no ending before leaving");

	begin(&form);
	stripe_form_enter_key(&form, "a", 1);
	stripe_form_enter_index(&form, UINT32_MAX);
	stripe_form_value(&form, "v", 1);
	is_text(output.text, "a[4294967295]=v", "the greatest index");
}

int
main(void)
{
	test_library();
	test_errors();
	return done_testing();
}
