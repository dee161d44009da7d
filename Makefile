# dvnt_ticketing: the extension (PGXS), the relay, and the commands that a person types.
#   make demo   sells, signs and scans a ticket on a throw-away cluster, and shows it
#   make test   installs, builds and tests everything
#   make test-stripe tries every kind of call to Stripe with every fault on the way, and prints the table
#   make fuzz   ten minutes of made-up codes, key files and webhooks (SECONDS=N for longer or shorter), without a server
#   make stress two minutes of everything at once, and again with the server killed in the middle
#   make storm  10,000 orders paid through relay and webhooks while relay and server are killed (ORDERS=N for others)
#   make money  1,000 random lives of orders in any order of their news, and 10,000 orders refunded and disputed while webhooks are lost
#   make on-sale  5,000 buyers at once while Stripe takes twenty a second: ten minutes (BUYERS=N, RATE=R for a faster clock)
#   make bench  holds beside a bare INSERT and the usual ways to hold a seat, doors, codes, Stripe: an hour and a half; or bench/run SCENARIO
EXTENSION = dvnt_ticketing
EXTVERSION = 1.0

MODULE_big = dvnt_ticketing
# Pure files: no SPI, no catalog; unit tests and fuzzers link them alone.
PURE_OBJS = src/door_fold.o src/fees.o src/keyring.o src/order_states.o src/qr_payload.o src/stripe_form.o src/stripe_signature.o src/webhook_payload.o
OBJS = $(sort $(patsubst %.c,%.o,$(wildcard src/*.c)))

# The install script is its parts in this order.
SQL_PARTS = owner clock cart inventory holds orders checkout await payment_methods onboarding refunds refund_requests event_cancellation host_money tickets qr_image stripe_requests relay \
	stripe_events checkins organizers ticket_moves ticket_changes door_sync door_manifest door_devices door_settings settlement financials housekeeping reconcile invariants statistics ownership
DATA_built = $(EXTENSION)--$(EXTVERSION).sql

PG_CPPFLAGS = -Isrc
# STRICT=-Werror in the tests.
PG_CFLAGS = $(STRICT) -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Wno-sign-compare
SHLIB_LINK = -lcrypto -lqrencode
EXTRA_CLEAN = src/relay/dvnt_stripe_relay $(wildcard src/relay/*.o src/relay/*.d) results

REGRESS = $(sort $(notdir $(basename $(wildcard test/sql/*.sql))))
REGRESS_OPTS = --inputdir=test --use-existing
ISOLATION = $(sort $(notdir $(basename $(wildcard test/specs/*.spec))))
ISOLATION_OPTS = --inputdir=test --outputdir=. --use-existing
# The tests run in the caller's database, which has the migrations.
override CONTRIB_TESTDB = $(or $(PGDATABASE),contrib_regression)
override ISOLATION_TESTDB = $(CONTRIB_TESTDB)

# No bitcode: it needs the very clang that PostgreSQL was built with, and saves nothing here.
override with_llvm = no

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

# The commands below install what is missing first, PGXS included; the rest needs PGXS.
.DEFAULT_GOAL := all
.PHONY: demo test test-stripe fuzz stress storm money on-sale bench
demo:
	scripts/demo
test:
	scripts/test
test-stripe:
	test/faults/run
fuzz:
	test/fuzz/run --seconds $(or $(SECONDS),600)
stress:
	test/stress/run --seconds 120
	test/stress/run --seconds 60 --kill
storm:
	test/storm/run storm --orders $(or $(ORDERS),10000)
money:
	test/money/run property
	test/money/run storm --orders $(or $(ORDERS),10000)
on-sale:
	test/storm/run on_sale --buyers $(or $(BUYERS),5000) --rate $(or $(RATE),1)
bench:
	bench/run

ifneq ($(PGXS),)
include $(PGXS)

all: src/relay/dvnt_stripe_relay

$(OBJS): $(wildcard src/*.h)

$(EXTENSION)--$(EXTVERSION).sql: $(SQL_PARTS:%=sql/%.sql)
	{ printf '%s\n' '\echo Use "CREATE EXTENSION $(EXTENSION)" to load this file. \quit'; cat $^; } >$@.new && mv $@.new $@
endif

include src/relay/relay.mk
