/*
 * qr_image.c
 *		Owns the pictures of a QR code: ticket_qr_svg and ticket_qr_text.
 *
 * Both draw any text that a QR code can hold, byte for byte.  No secret is
 * needed: a payload is signed already.  Tables: none.  Locks: none.
 */
#include "postgres.h"

#include <errno.h>
#include <math.h>

#include <qrencode.h>

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "dvnt_ticketing.h"

#define MAX_WIDTH 177     /* of the largest QR code, version 40, in modules */
#define MAX_QUIET_ZONE 16 /* modules */
#define MIN_SIZE 1        /* mm */
#define MAX_SIZE 1000
#define MIN_DPI 72
#define MAX_DPI 2400
#define MM_PER_INCH 25.4

/* Error correction, and how many bytes the largest code holds with it. */
typedef struct CorrectionLevel
{
	const char *name;
	QRecLevel   level;
	int         max_bytes;
} CorrectionLevel;

static const CorrectionLevel correction_levels[] = {
	{"L", QR_ECLEVEL_L, 2953},
	{"M", QR_ECLEVEL_M, 2331},
	{"Q", QR_ECLEVEL_Q, 1663},
	{"H", QR_ECLEVEL_H, 1273},
};

/* A QR code in our own memory; the quiet zone is not stored. */
typedef struct QrImage
{
	int  width;
	bool dark[MAX_WIDTH * MAX_WIDTH];
} QrImage;

/* Where a QR code stands in a picture, in the picture's units. */
typedef struct Layout
{
	int    side;    /* of the whole picture */
	int    margin;  /* left and above */
	int    module;  /* the side of one */
	double size_mm; /* of the whole picture; 0 where none was asked for */
} Layout;

PG_FUNCTION_INFO_V1(ticket_qr_svg);
PG_FUNCTION_INFO_V1(ticket_qr_text);

/* Is this module dark?  Outside of the code, in the quiet zone, none is. */
static inline bool
is_dark(const QrImage *image, int x, int y)
{
	return x >= 0 && y >= 0 && x < image->width && y < image->width &&
		   image->dark[y * image->width + x];
}

static const CorrectionLevel *
correction_argument(FunctionCallInfo fcinfo, int number)
{
	char *name = text_argument(fcinfo, number, "error_correction");

	for (int i = 0; i < lengthof(correction_levels); i++)
		if (strcmp(name, correction_levels[i].name) == 0)
			return &correction_levels[i];
	refuse(BAD_REQUEST, "\"argument\": \"error_correction\"", "Use 'L', 'M', 'Q' or 'H'.",
		   "error_correction \"%s\" is unknown", name);
}

/* Refuses a number that is not within its range; NaN is not. */
static void
require_within(double value, const char *name, int minimum, int maximum, const char *hint)
{
	if (!(value >= minimum && value <= maximum))
		refuse(BAD_REQUEST,
			   psprintf("\"argument\": \"%s\", \"minimum\": %d, \"maximum\": %d", name, minimum,
						maximum),
			   hint, "%s is not between %d and %d", name, minimum, maximum);
}

/* In modules. */
static int
quiet_zone_argument(FunctionCallInfo fcinfo, int number)
{
	require_argument(fcinfo, number, "quiet_zone");
	require_within(PG_GETARG_INT32(number), "quiet_zone", 0, MAX_QUIET_ZONE,
				   "The standard wants 4 modules.");
	return PG_GETARG_INT32(number);
}

/* In millimetres, 0 for NULL. */
static double
size_argument(FunctionCallInfo fcinfo, int number)
{
	if (PG_ARGISNULL(number))
		return 0;
	require_within(PG_GETARG_FLOAT8(number), "size_mm", MIN_SIZE, MAX_SIZE,
				   "Leave size_mm NULL where the page decides.");
	return PG_GETARG_FLOAT8(number);
}

/* In dots per inch, 0 for NULL. */
static int
dpi_argument(FunctionCallInfo fcinfo, int number)
{
	if (PG_ARGISNULL(number))
		return 0;
	require_within(PG_GETARG_INT32(number), "dpi", MIN_DPI, MAX_DPI,
				   "Leave dpi NULL where the printer is not known.");
	return PG_GETARG_INT32(number);
}

/* Encodes the first argument as the second says; nothing can throw while libqrencode's memory is ours. */
static QrImage *
encode(FunctionCallInfo fcinfo)
{
	char                  *payload = text_argument(fcinfo, 0, "payload");
	const CorrectionLevel *correction = correction_argument(fcinfo, 1);
	size_t                 length = strlen(payload);
	QrImage               *image = palloc0(sizeof(QrImage));
	QRcode                *code;

	if (length > correction->max_bytes)
		refuse(BAD_REQUEST,
			   psprintf("\"argument\": \"payload\", \"bytes\": %zu, \"limit\": %d, "
						"\"error_correction\": \"%s\"",
						length, correction->max_bytes, correction->name),
			   "Lower levels of error correction hold more, L most.",
			   "payload has %zu bytes, a QR code of level %s holds %d", length, correction->name,
			   correction->max_bytes);
	code = QRcode_encodeData((int) length, (unsigned char *) payload, 0, correction->level);
	if (code == NULL && errno == ENOMEM)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	if (code == NULL || code->width > MAX_WIDTH)
		elog(ERROR, "could not encode a QR code");

	image->width = code->width;
	for (int i = 0; i < code->width * code->width; i++)
		image->dark[i] = code->data[i] & 1;
	QRcode_free(code);
	return image;
}

/* One unit a module, the quiet zone as wide as asked for. */
static Layout
layout_in_modules(int width, int quiet_zone, double size_mm)
{
	return (Layout){
		.side = width + 2 * quiet_zone, .margin = quiet_zone, .module = 1, .size_mm = size_mm};
}

/*
 * One unit a printer's dot. The size is rounded to whole dots; each module has
 * as many as fit, and what they leave over makes the quiet zone wider.
 */
static Layout
layout_in_dots(int width, int quiet_zone, double size_mm, int dpi)
{
	int    modules = width + 2 * quiet_zone;
	Layout layout;

	if (size_mm == 0)
		refuse(BAD_REQUEST, "\"argument\": \"dpi\"", "Give size_mm, too.", "dpi without size_mm");
	layout.side = (int) rint(size_mm * dpi / MM_PER_INCH);
	layout.module = layout.side / modules;
	if (layout.module == 0)
		refuse(BAD_REQUEST,
			   psprintf("\"argument\": \"size_mm\", \"dots\": %d, \"modules\": %d", layout.side,
						modules),
			   "Ask for a larger picture, less error correction or a narrower quiet zone.",
			   "%d dots are too few for %d modules", layout.side, modules);
	layout.margin = (layout.side - width * layout.module) / 2;
	layout.size_mm = layout.side * MM_PER_INCH / dpi;
	return layout;
}

/*
 * ticket_qr_svg(payload text, error_correction text, size_mm double precision,
 *				 quiet_zone integer, dpi integer) returns text
 *		The QR code as an SVG 1.1 document, black on white, NULL for a NULL
 *		payload. Its unit is a module, with dpi a dot.
 *		Refuses: bad_request (a text that does not fit, an option that is
 *		unknown, out of its range, or NULL where NULL means nothing).
 */
Datum
ticket_qr_svg(PG_FUNCTION_ARGS)
{
	QrImage       *image;
	int            quiet_zone;
	double         size_mm;
	int            dpi;
	Layout         layout;
	StringInfoData svg;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	image = encode(fcinfo);
	size_mm = size_argument(fcinfo, 2);
	quiet_zone = quiet_zone_argument(fcinfo, 3);
	dpi = dpi_argument(fcinfo, 4);
	layout = dpi > 0 ? layout_in_dots(image->width, quiet_zone, size_mm, dpi)
					 : layout_in_modules(image->width, quiet_zone, size_mm);

	initStringInfo(&svg);
	appendStringInfoString(&svg, "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" ");
	if (layout.size_mm > 0)
		appendStringInfo(&svg, "width=\"%.9gmm\" height=\"%.9gmm\" ", layout.size_mm,
						 layout.size_mm);
	appendStringInfo(&svg,
					 "viewBox=\"0 0 %d %d\" shape-rendering=\"crispEdges\">"
					 "<title>Ticket QR code</title>"
					 "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>"
					 "<path fill=\"#000000\" d=\"",
					 layout.side, layout.side, layout.side, layout.side);
	for (int y = 0; y < image->width; y++)
	{
		for (int x = 0; x < image->width;)
		{
			int run = 0;

			while (is_dark(image, x + run, y))
				run++;
			if (run > 0)
				appendStringInfo(&svg, "M%d %dh%dv%dh-%dz", layout.margin + x * layout.module,
								 layout.margin + y * layout.module, run * layout.module,
								 layout.module, run * layout.module);
			x += run > 0 ? run : 1;
		}
	}
	appendStringInfoString(&svg, "\"/></svg>");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(svg.data, svg.len));
}

/*
 * ticket_qr_text(payload text, error_correction text, quiet_zone integer,
 *				  inverted boolean) returns text
 *		The QR code for a terminal, two rows of modules a line, in half blocks.
 *		Light modules are drawn and dark ones left blank, so that it scans from
 *		the usual dark terminal; inverted the other way round, for light ones.
 *		NULL for a NULL payload.
 *		Refuses: bad_request (a text that does not fit, an option that is
 *		unknown, out of its range or NULL).
 */
Datum
ticket_qr_text(PG_FUNCTION_ARGS)
{
	QrImage       *image;
	int            quiet_zone;
	bool           inverted;
	int            end;
	StringInfoData lines;
	char          *converted;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	image = encode(fcinfo);
	quiet_zone = quiet_zone_argument(fcinfo, 2);
	require_argument(fcinfo, 3, "inverted");
	inverted = PG_GETARG_BOOL(3);

	initStringInfo(&lines);
	end = image->width + quiet_zone;
	for (int y = -quiet_zone; y < end; y += 2)
	{
		if (y > -quiet_zone)
			appendStringInfoChar(&lines, '\n');
		for (int x = -quiet_zone; x < end; x++)
		{
			bool upper = is_dark(image, x, y) == inverted;
			bool lower = y + 1 < end && is_dark(image, x, y + 1) == inverted;

			if (upper && lower)
				appendStringInfoString(&lines, "\342\226\210"); /* U+2588 full block */
			else if (upper)
				appendStringInfoString(&lines, "\342\226\200"); /* U+2580 upper half block */
			else if (lower)
				appendStringInfoString(&lines, "\342\226\204"); /* U+2584 lower half block */
			else
				appendStringInfoChar(&lines, ' ');
		}
	}
	converted = pg_any_to_server(lines.data, lines.len, PG_UTF8);
	PG_RETURN_TEXT_P(cstring_to_text(converted));
}
