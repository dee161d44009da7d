/*
 * stripe_form_fuzz.c
 *		Fuzzes stripe_form.c: the input is a list of steps, each one byte and
 *		what belongs to it.
 *
 * A finding: the text is not the one that a plain writer gives, something is
 * written after a mistake, a mistake is not told or told wrongly, a byte
 * beyond a name or value is read.
 */
#include "stripe_form.h"

#include "fuzz.h"

#define MAX_TEXT (1 << 20)

static const char *const outcomes[] = {"a body", "too deep", "left too often", "not an object",
									   "not left"};
static const char *const mistakes[] = {
	NULL, "the parameters are nested too deeply", "left more than was entered",
	"the parameters must be an object", "entered more than was left"};

/* The text that the encoder gave, and the one that it should have. */
typedef struct Text
{
	size_t length;
	char   bytes[MAX_TEXT];
} Text;

static Text given;
static Text expected;

/* Where we are, by our own books. */
typedef struct Step
{
	char    *name; /* NULL: an element */
	size_t   length;
	uint32_t index;
} Step;

static struct
{
	int  depth;
	int  mistake; /* the first one's place in mistakes, or 0 */
	Step steps[STRIPE_FORM_MAX_DEPTH];
} model;

/* The input, taken byte by byte; zeros beyond its end. */
typedef struct Input
{
	const uint8_t *data;
	size_t         size;
} Input;

FUZZ_EXPECTS(outcomes)

static void
append(void *context, const char *bytes, size_t length)
{
	Text *text = context;

	require(length > 0 && text->length + length <= MAX_TEXT, "a piece of text, and room for it");
	memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
}

static uint8_t
next_byte(Input *input)
{
	if (input->size == 0)
		return 0;
	input->size--;
	return *input->data++;
}

/* Takes a text off the input, at most 31 bytes, as an exact copy. */
static char *
next_text(Input *input, size_t *length)
{
	char *text;

	*length = next_byte(input) % 32;
	if (*length > input->size)
		*length = input->size;
	text = exact_copy(input->data, *length);
	input->data += *length;
	input->size -= *length;
	return text;
}

/* Writes a text encoded, byte by byte. */
static void
write_plainly(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++)
	{
		char escape[4];

		if (text[i] != '\0' && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
									  "0123456789-_.~[]",
									  text[i]) != NULL)
			append(&expected, text + i, 1);
		else
		{
			snprintf(escape, sizeof(escape), "%%%02X", (unsigned char) text[i]);
			append(&expected, escape, 3);
		}
	}
}

/* Goes down in the model; it owns the name. */
static void
model_enter(Step step, bool known)
{
	if (model.mistake == 0 && !known)
		model.mistake = 3;
	if (model.mistake == 0 && model.depth == STRIPE_FORM_MAX_DEPTH)
		model.mistake = 1;
	if (model.mistake == 0)
		model.steps[model.depth++] = step;
	else
		free(step.name);
}

/* Goes up in the model. */
static void
model_leave(void)
{
	if (model.mistake == 0 && model.depth == 0)
		model.mistake = 2;
	if (model.mistake == 0)
		free(model.steps[--model.depth].name);
}

/* Writes name=value in the model. */
static void
model_value(const char *text, size_t length)
{
	if (model.mistake == 0 && model.depth == 0)
		model.mistake = 3;
	if (model.mistake != 0)
		return;
	if (expected.length > 0)
		append(&expected, "&", 1);
	for (int i = 0; i < model.depth; i++)
	{
		const Step *step = &model.steps[i];
		char        number[16];

		if (i > 0)
			append(&expected, "[", 1);
		if (step->name != NULL)
			write_plainly(step->name, step->length);
		else
			append(&expected, number, (size_t) snprintf(number, sizeof(number), "%u", step->index));
		if (i > 0)
			append(&expected, "]", 1);
	}
	append(&expected, "=", 1);
	write_plainly(text, length);
}

/* Takes one step of the input with the encoder and the model; what the encoder answers. */
static bool
take_step(StripeForm *form, Input *input)
{
	Step  step = {0};
	char *text;
	bool  done;

	switch (next_byte(input) % 6)
	{
		case 0:
			step.name = next_text(input, &step.length);
			done = stripe_form_enter_key(form, step.name, step.length);
			model_enter(step, true);
			return done;
		case 1:
			for (int i = 0; i < 4; i++)
				step.index = step.index << 8 | next_byte(input);
			done = stripe_form_enter_index(form, step.index);
			model_enter(step, model.depth > 0);
			return done;
		case 2:
			done = stripe_form_leave(form);
			model_leave();
			return done;
		case 3:
			done = stripe_form_null(form);
			model_value("", 0);
			return done;
		default:
			text = next_text(input, &step.length);
			done = stripe_form_value(form, text, step.length);
			model_value(text, step.length);
			free(text);
			return done;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Input      input = {data, size};
	StripeForm form;
	size_t     seen = 0;

	given.length = expected.length = 0;
	model.depth = model.mistake = 0;
	stripe_form_begin(&form, append, &given);
	while (input.size > 0)
	{
		bool done = take_step(&form, &input);

		require(done == (model.mistake == 0), "done unless there was a mistake");
		require(given.length == expected.length &&
					memcmp(given.bytes + seen, expected.bytes + seen, given.length - seen) == 0,
				"the text of a plain writer");
		seen = given.length;
	}
	if (model.mistake == 0 && model.depth > 0)
		model.mistake = 4;
	require(model.mistake == 0 ? stripe_form_end(&form) == NULL
							   : strcmp(stripe_form_end(&form), mistakes[model.mistake]) == 0,
			"the first mistake is told");
	outcome_counts[model.mistake]++;
	while (model.depth > 0)
		free(model.steps[--model.depth].name);
	return 0;
}
