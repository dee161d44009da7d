# shellcheck shell=bash disable=SC2034,SC2154,SC2016
# Who holds seats of the one hot tier, event 1: the statement of each, how its tables are emptied before a turn,
# and how many holds or seats are wrong after it. Sourced by bench/run.

contenders=(hold_tickets insert for_update guarded_update advisory_lock skip_locked redis)
seats=1000000000

# The statement that holds a seat of event 1's tier, or of another one's.
hold_of() { printf "SELECT ticketing.hold_tickets(\$1, %d, '[{\"ticket_type_id\": \"%s\", \"quantity\": 1}]')" "$1" "$(tier_of "$1")"; }
tier_of() { printf '00000000-0000-4000-8000-%012x' "$1"; }
tier=$(tier_of 1)

declare -A statement=(
  [hold_tickets]=$(hold_of 1)
  # The limit: the one row that a hold leaves, and no stock.
  [insert]="INSERT INTO ticketing.ticket_holds (reservation_id, event_id, ticket_type_id, user_id, quantity, expires_at, created_at)
    VALUES (gen_random_uuid(), 1, '$tier', \$1, 1, clock_timestamp() + interval '10 minutes', clock_timestamp())"
  [for_update]="SELECT peer.for_update(\$1, '$tier', 1)"
  [guarded_update]="SELECT peer.guarded_update(\$1, '$tier', 1)"
  [advisory_lock]="SELECT peer.advisory_lock(\$1, '$tier', 1)"
  [skip_locked]="SELECT peer.skip_locked(\$1, '$tier', 1)"
)

declare -A described=(
  [hold_tickets]='`ticketing.hold_tickets`, one seat'
  [insert]='the limit: a bare `INSERT` of the row that a hold leaves, under the same indexes, without stock'
  [for_update]='plpgsql: `SELECT … FOR UPDATE` of a counter, then the hold'
  [guarded_update]='plpgsql: `UPDATE … WHERE available >= n`, then the hold'
  [advisory_lock]='plpgsql: advisory lock, count of the holds, then the hold (as pretix and Hi.Events lock)'
  [skip_locked]='plpgsql: a row per ticket, `FOR UPDATE SKIP LOCKED`, then the hold (as alf.io)'
  [redis]='Redis: a Lua script, `appendfsync always`; the emulated latency is not for it, its flushes have the disk'"'"'s own'
)

make_contenders() {
  sql -c "SELECT bench.make_event(1, $seats)" -f bench/peers.sql >/dev/null
}

start_redis() {
  local tries
  redis_folder=$DVNT_CLUSTER/redis
  mkdir "$redis_folder"
  (cd "$redis_folder" && exec redis-server --port 0 --unixsocket "$redis_folder/socket" --dir "$redis_folder" --save '' \
    --appendonly yes --appendfsync always --auto-aof-rewrite-percentage 0) >"$redis_folder/log" 2>&1 &
  redis_pid=$!
  for tries in {1..100}; do
    [[ $(redis PING 2>&1) != PONG ]] || break
    ((tries < 100)) || fail 'Redis does not start'
    sleep 0.05
  done
  redis_script=$(redis -x SCRIPT LOAD <bench/peer.lua)
}

redis() { redis-cli -s "$redis_folder/socket" "$@"; }

stop_redis() {
  kill "$redis_pid"
  wait "$redis_pid" || :
}

reset_contender() {
  case $1 in
    hold_tickets | insert)
      sql -c 'TRUNCATE ticketing.ticket_holds, ticketing.stock_pools, ticketing.stock_shards; SELECT FROM ticketing.rebuild_stock(1)' >/dev/null ;;
    redis) redis FLUSHALL >/dev/null && redis SET hot $seats >/dev/null ;;
    *)
      sql -c "TRUNCATE peer.tiers, peer.holds, peer.seats; INSERT INTO peer.tiers VALUES ('$tier', 1, $seats, $seats)"
      [[ $1 != skip_locked ]] ||
        sql -c "INSERT INTO peer.seats (ticket_type_id, number) SELECT '$tier', g FROM generate_series(1, $(full_or_quick 200000 50000)) g; ANALYZE peer.seats" ;;
  esac
}

# What is wrong after so many holds were promised.
violations_of() {
  local free
  case $1 in
    hold_tickets) sql -c "SELECT (SELECT count(*) FROM ticketing.check_invariants()) + (SELECT abs(sum(quantity) - $2) FROM ticketing.ticket_holds)" ;;
    insert) sql -c "SELECT abs(count(*) - $2) FROM ticketing.ticket_holds" ;;
    for_update | guarded_update)
      sql -c "SELECT abs(sum(quantity) - $2) + abs(sum(quantity) - (SELECT capacity - available FROM peer.tiers)) FROM peer.holds" ;;
    advisory_lock) sql -c "SELECT abs(sum(quantity) - $2) + (sum(quantity) > $seats)::integer FROM peer.holds" ;;
    skip_locked)
      sql -c "SELECT abs(sum(quantity) - $2) + abs(sum(quantity) - (SELECT count(reservation_id) FROM peer.seats)) FROM peer.holds" ;;
    redis) free=$(redis GET hot) && echo $((seats - free - $2 != 0 || $(redis ZCARD hot:due) != $2)) ;;
  esac
}

# turn CONTENDER OPTION...: empties its tables, loads it, and checks what it did.
turn() {
  local contender=$1
  if [[ $contender == redis ]]; then
    load redis "${@:2}" -R "$redis_folder/socket" -- EVALSHA "$redis_script" 1 hot "\$1" 1
  else
    load "$contender" "${@:2}" -- "${statement[$contender]}"
  fi
  record "$contender" violations "$(violations_of "$contender" "${measured[ok]}")"
}
