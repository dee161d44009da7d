# How to build src/relay/dvnt_stripe_relay.  The top-level Makefile includes
# this file; alone it is used as  make -f src/relay/relay.mk  from the top.
#
#   relay          build it
#   install-relay  put it into RELAY_BINDIR
#   clean-relay    remove what was built
#
# It is a program: it has flags of its own, and none of the server's.

RELAY_DIR := $(patsubst %/,%,$(dir $(lastword $(MAKEFILE_LIST))))
RELAY_WAS_GOAL := $(.DEFAULT_GOAL)

PG_CONFIG ?= pg_config
PKG_CONFIG ?= pkg-config
RELAY_BINDIR ?= /usr/local/bin

RELAY_CFLAGS ?= -O2 -g -fstack-protector-strong -fPIE -D_FORTIFY_SOURCE=2
RELAY_WARNINGS ?= $(STRICT) -Wall -Wextra -Wmissing-prototypes -Wpointer-arith -Wshadow -Wvla
RELAY_LDFLAGS ?= -pie -Wl,-z,relro,-z,now

RELAY_PROGRAM := $(RELAY_DIR)/dvnt_stripe_relay
RELAY_OBJS := $(patsubst %.c,%.o,$(sort $(wildcard $(RELAY_DIR)/*.c)))

RELAY_INCLUDES = -I$(shell $(PG_CONFIG) --includedir) \
	$(shell $(PKG_CONFIG) --cflags libcurl 2>/dev/null || curl-config --cflags)
RELAY_LIBS = -L$(shell $(PG_CONFIG) --libdir) -lpq \
	$(shell $(PKG_CONFIG) --libs libcurl 2>/dev/null || curl-config --libs)

.PHONY: relay install-relay clean-relay

relay: $(RELAY_PROGRAM)

$(RELAY_PROGRAM): $(RELAY_OBJS)
	$(CC) $(RELAY_CFLAGS) $(RELAY_LDFLAGS) -o $@ $^ $(RELAY_LIBS)

$(RELAY_OBJS): %.o: %.c $(RELAY_DIR)/relay.mk
	$(CC) -std=gnu11 $(RELAY_WARNINGS) $(RELAY_CFLAGS) $(RELAY_INCLUDES) -MMD -MP -c -o $@ $<

install-relay: $(RELAY_PROGRAM)
	install -D -m 755 $(RELAY_PROGRAM) $(DESTDIR)$(RELAY_BINDIR)/dvnt_stripe_relay

clean-relay:
	rm -f $(RELAY_PROGRAM) $(RELAY_OBJS) $(RELAY_OBJS:.o=.d)

-include $(RELAY_OBJS:.o=.d)

# Included into another Makefile, this file does not choose what make builds.
ifneq ($(words $(filter-out %.d,$(MAKEFILE_LIST))),1)
.DEFAULT_GOAL := $(RELAY_WAS_GOAL)
endif
