/*
 * stripe_form.h
 *		Stripe's form encoding: nested parameters as a[b][0]=...&...
 *
 * A streaming encoder that knows nothing of where its values come from and
 * allocates nothing: it writes through the caller's append function.  Names
 * must stay in memory until they are left.
 *
 * This file is pure C: no backend symbol, no catalog, no SPI.
 */
#ifndef DVNT_STRIPE_FORM_H
#define DVNT_STRIPE_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STRIPE_FORM_MAX_DEPTH 16

typedef void (*StripeFormAppend)(void *context, const char *bytes, size_t length);

typedef struct StripeFormStep
{
	const char *name; /* NULL: an element of an array */
	size_t      length;
	uint32_t    index;
} StripeFormStep;

typedef struct StripeForm
{
	StripeFormAppend append;
	void            *context;
	const char      *error; /* the first mistake, or NULL; after one, nothing is written */
	bool             empty; /* nothing written yet */
	int              depth;
	StripeFormStep   steps[STRIPE_FORM_MAX_DEPTH];
} StripeForm;

extern void stripe_form_begin(StripeForm *form, StripeFormAppend append, void *context);

/* Down into a member or an element, and back up.  False: see form->error. */
extern bool stripe_form_enter_key(StripeForm *form, const char *name, size_t length);
extern bool stripe_form_enter_index(StripeForm *form, uint32_t index);
extern bool stripe_form_leave(StripeForm *form);

/* Writes name=value for the place where we are; text is UTF-8. */
extern bool stripe_form_value(StripeForm *form, const char *text, size_t length);

/* JSON null: the empty string, by which Stripe unsets a parameter. */
extern bool stripe_form_null(StripeForm *form);

/* NULL when every step was left and nothing went wrong, else what did. */
extern const char *stripe_form_end(StripeForm *form);

#endif /* DVNT_STRIPE_FORM_H */
