/*
 * stripe_form.c
 *		Owns the text of a Stripe request's body: nested parameters encoded as
 *		a[b][0]=...&...
 *
 * Byte for byte what the official library for Node writes (its versions 22 and
 * 23): all is percent-encoded except ASCII letters, digits, - _ . ~ and, in
 * names and in values, brackets.  Empty arrays and objects write nothing.
 *
 * Tables: none.  Locks: none.
 */
#include "stripe_form.h"

#include <stdio.h>

/* May this byte stand as it is? */
static inline bool
is_plain(unsigned char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
		   c == '_' || c == '.' || c == '~' || c == '[' || c == ']';
}

/* Remembers the first mistake. */
static bool
fail(StripeForm *form, const char *error)
{
	if (form->error == NULL)
		form->error = error;
	return false;
}

/* Writes a text percent-encoded, runs of plain characters at once. */
static void
append_encoded(StripeForm *form, const char *text, size_t length)
{
	static const char digits[] = "0123456789ABCDEF";
	size_t            run = 0;

	for (size_t i = 0; i < length; i++)
	{
		unsigned char c = (unsigned char) text[i];
		char          escape[3] = {'%', digits[c >> 4], digits[c & 0x0F]};

		if (is_plain(c))
			continue;
		if (i > run)
			form->append(form->context, text + run, i - run);
		form->append(form->context, escape, sizeof(escape));
		run = i + 1;
	}
	if (length > run)
		form->append(form->context, text + run, length - run);
}

/* Writes the name of the place where we are. */
static void
append_name(StripeForm *form)
{
	append_encoded(form, form->steps[0].name, form->steps[0].length);
	for (int i = 1; i < form->depth; i++)
	{
		const StripeFormStep *step = &form->steps[i];
		char                  number[16];

		form->append(form->context, "[", 1);
		if (step->name != NULL)
			append_encoded(form, step->name, step->length);
		else
			form->append(
				form->context, number,
				(size_t) snprintf(number, sizeof(number), "%lu", (unsigned long) step->index));
		form->append(form->context, "]", 1);
	}
}

/* Starts a body. */
void
stripe_form_begin(StripeForm *form, StripeFormAppend append, void *context)
{
	form->append = append;
	form->context = context;
	form->error = NULL;
	form->empty = true;
	form->depth = 0;
}

/* Goes one step down. */
static bool
enter(StripeForm *form, StripeFormStep step)
{
	if (form->error != NULL)
		return false;
	if (form->depth == STRIPE_FORM_MAX_DEPTH)
		return fail(form, "the parameters are nested too deeply");
	form->steps[form->depth++] = step;
	return true;
}

/* Goes down into a member of an object; the name must stay in memory until it is left. */
bool
stripe_form_enter_key(StripeForm *form, const char *name, size_t length)
{
	return enter(form, (StripeFormStep){.name = name == NULL ? "" : name, .length = length});
}

/* Goes down into an element of an array. */
bool
stripe_form_enter_index(StripeForm *form, uint32_t index)
{
	if (form->depth == 0)
		return fail(form, "the parameters must be an object");
	return enter(form, (StripeFormStep){.index = index});
}

/* Goes one step up. */
bool
stripe_form_leave(StripeForm *form)
{
	if (form->error != NULL)
		return false;
	if (form->depth == 0)
		return fail(form, "left more than was entered");
	form->depth--;
	return true;
}

/* Writes name=value for the place where we are. */
bool
stripe_form_value(StripeForm *form, const char *text, size_t length)
{
	if (form->error != NULL)
		return false;
	if (form->depth == 0)
		return fail(form, "the parameters must be an object");
	if (!form->empty)
		form->append(form->context, "&", 1);
	form->empty = false;
	append_name(form);
	form->append(form->context, "=", 1);
	append_encoded(form, text, length);
	return true;
}

/* Writes name= for the place where we are: Stripe's way to unset a parameter. */
bool
stripe_form_null(StripeForm *form)
{
	return stripe_form_value(form, "", 0);
}

/* NULL when every step was left and nothing went wrong, else what did. */
const char *
stripe_form_end(StripeForm *form)
{
	if (form->depth != 0)
		fail(form, "entered more than was left");
	return form->error;
}
