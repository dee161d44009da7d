/*
 * enqueue.c
 *		For bench/doorbell.sh: a transaction's enqueueing and nothing else. Writes
 *		the request that create_payment_intent makes when a client secret is gone,
 *		through the engine's own enqueue_stripe_request.
 *
 * Finds the engine's functions in the library that the server has preloaded. A
 * server of 16 or later builds it without exporting them.
 */
#include "postgres.h"

#include "dvnt_ticketing.h"

PG_MODULE_MAGIC;

PG_FUNCTION_INFO_V1(bench_enqueue);

/* bench.enqueue(user_id, order_id) → uuid */
Datum
bench_enqueue(PG_FUNCTION_ARGS)
{
	char	   *user_id = text_argument(fcinfo, 0, "user_id");
	NewStripeRequest request = {
		.kind = "get_payment_intent", .lane = STRIPE_LANE_BUYER, .method = "GET",
		.path = "/v1/payment_intents/pi_bench", .params = "{}",
		.order_id = PG_GETARG_UUID_P(1), .event_id = 1, .user_id = user_id
	};
	Datum		result;

	begin_command();
	result = SPI_datumTransfer(UUIDPGetDatum(enqueue_stripe_request(&request, engine_now())), false, UUID_LEN);
	SPI_finish();
	PG_RETURN_DATUM(result);
}
