/*
 * qr_image.c
 *		Owns the pictures of a QR code: ticket_qr_svg and ticket_qr_text.
 *
 * Both draw any text that a QR code can hold, byte for byte, with error
 * correction level M and a quiet zone of four modules.  No secret is needed:
 * a payload is signed already.  Tables: none.  Locks: none.
 */
#include "postgres.h"

#include <errno.h>

#include <qrencode.h>

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"

#include "refusal.h"

#define QUIET_ZONE 4
#define MAX_WIDTH 177  /* of the largest QR code, version 40 */
#define MAX_BYTES 2331 /* that it holds at level M */

/* A QR code in our own memory; the quiet zone is not stored. */
typedef struct QrImage
{
	int  width;
	bool dark[MAX_WIDTH * MAX_WIDTH];
} QrImage;

PG_FUNCTION_INFO_V1(ticket_qr_svg);
PG_FUNCTION_INFO_V1(ticket_qr_text);

/* Is this module dark?  Outside of the code, in the quiet zone, none is. */
static inline bool
is_dark(const QrImage *image, int x, int y)
{
	return x >= 0 && y >= 0 && x < image->width && y < image->width &&
		   image->dark[y * image->width + x];
}

/* Encodes a text; nothing can throw while libqrencode's memory is ours. */
static QrImage *
encode(const text *payload)
{
	char    *bytes = text_to_cstring(payload);
	size_t   length = strlen(bytes);
	QrImage *image = palloc0(sizeof(QrImage));
	QRcode  *code;

	if (length == 0)
		refuse(BAD_REQUEST, NULL, "Pass the payload of a ticket.", "nothing to draw");
	if (length > MAX_BYTES)
		refuse(BAD_REQUEST, NULL, "Pass the payload of a ticket.",
			   "text is too long for a QR code: %zu bytes of %d", length, MAX_BYTES);
	code = QRcode_encodeData((int) length, (unsigned char *) bytes, 0, QR_ECLEVEL_M);
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

/*
 * ticket_qr_svg(payload text) returns text
 *		The QR code as an SVG 1.1 document, black on white, one unit a module.
 *		Refuses: bad_request (empty text, or longer than a QR code holds).
 */
Datum
ticket_qr_svg(PG_FUNCTION_ARGS)
{
	QrImage       *image = encode(PG_GETARG_TEXT_PP(0));
	int            side = image->width + 2 * QUIET_ZONE;
	StringInfoData svg;

	initStringInfo(&svg);
	appendStringInfo(&svg,
					 "<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" "
					 "viewBox=\"0 0 %d %d\" shape-rendering=\"crispEdges\">"
					 "<title>Ticket QR code</title>"
					 "<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>"
					 "<path fill=\"#000000\" d=\"",
					 side, side, side, side);
	for (int y = 0; y < image->width; y++)
	{
		for (int x = 0; x < image->width;)
		{
			int run = 0;

			while (is_dark(image, x + run, y))
				run++;
			if (run > 0)
				appendStringInfo(&svg, "M%d %dh%dv1h-%dz", x + QUIET_ZONE, y + QUIET_ZONE, run,
								 run);
			x += run > 0 ? run : 1;
		}
	}
	appendStringInfoString(&svg, "\"/></svg>");
	PG_RETURN_TEXT_P(cstring_to_text_with_len(svg.data, svg.len));
}

/*
 * ticket_qr_text(payload text) returns text
 *		The QR code for a terminal, two rows of modules a line, in half blocks.
 *		Light modules are drawn and dark ones left blank, so that it scans from
 *		the usual dark terminal; on a light one it is inverted, which many
 *		scanners do not read.
 *		Refuses: bad_request (empty text, or longer than a QR code holds).
 */
Datum
ticket_qr_text(PG_FUNCTION_ARGS)
{
	QrImage       *image = encode(PG_GETARG_TEXT_PP(0));
	int            first = -QUIET_ZONE;
	int            end = image->width + QUIET_ZONE;
	StringInfoData lines;
	char          *converted;

	initStringInfo(&lines);
	for (int y = first; y < end; y += 2)
	{
		if (y > first)
			appendStringInfoChar(&lines, '\n');
		for (int x = first; x < end; x++)
		{
			bool upper = !is_dark(image, x, y);
			bool lower = y + 1 < end && !is_dark(image, x, y + 1);

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
