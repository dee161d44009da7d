/*
 * webhook_payload.h
 *		What is done to a webhook's bytes before they are stored.
 *
 * This file is pure C: no backend symbol, no catalog, no SPI.
 */
#ifndef DVNT_WEBHOOK_PAYLOAD_H
#define DVNT_WEBHOOK_PAYLOAD_H

#include <stddef.h>

/*
 * Overwrites, in place, the characters of every string that is the value of a
 * key client_secret, at any depth, by asterisks; the length stays.  Safe on
 * any bytes.  Returns how many values were struck out.
 */
extern size_t strike_client_secrets(char *json, size_t length);

#endif /* DVNT_WEBHOOK_PAYLOAD_H */
