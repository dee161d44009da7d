# shellcheck shell=bash disable=SC2034
# Key files for tests, and what sessions make of them; after tap.sh.

# base64 TEXT; key ID [TEXT]: a line of a key file
base64_of() { printf '%s' "$1" | base64 -w0; }
key() { echo "$1:$(base64_of "${2-the secret of key $1, which is long enough}")"; }

# Gives a file to the server's user.
hand_over() { ((EUID != 0)) || chown -h postgres:postgres "$@"; }

# write_keys FILE LINE...: puts a key file in place as an operator does, at once and for the server alone
write_keys() {
  (umask 077 && printf '%s\n' "${@:2}" >"$1.new") && hand_over "$1.new" && mv -fT "$1.new" "$1"
}

# name_key_file PATH: from the next reload on; empty: none. A session knows the setting when it has the library.
name_key_file() { sql 'SELECT ticketing.clock()' "ALTER SYSTEM SET dvnt_ticketing.key_file = '$1'" >/dev/null; }

# The server takes its configuration anew: new sessions have it, and those that are open have been told.
reload() {
  local before
  before=$(sql 'SELECT clock_timestamp(), pg_reload_conf()')
  await 30 says "SELECT pg_conf_load_time() > '${before%|t}'" || echo '# the server has not reloaded'
}

# SQL functions in the schema test: new_code() signs one; key_of(code) is the id of the key that did; signs() is the id of
# the key that signs here; verdict(code).
use_key_functions() {
  sql "CREATE FUNCTION test.key_of(code text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS \$\$SELECT get_byte(decode(translate(left(code, 4), '-_', '+/'), 'base64'), 1)\$\$" \
    "CREATE FUNCTION test.new_code() RETURNS text LANGUAGE sql AS \$\$SELECT ticketing.sign_ticket(gen_random_uuid(), 7, public.gen_random_bytes(8))\$\$" \
    "CREATE FUNCTION test.signs() RETURNS integer LANGUAGE sql AS \$\$SELECT test.key_of(test.new_code())\$\$" \
    "CREATE FUNCTION test.verdict(code text) RETURNS text LANGUAGE sql AS \$\$SELECT CASE WHEN valid THEN 'valid' ELSE reason END FROM ticketing.verify_ticket(code)\$\$"
}

# both EXPRESSION: what it is in the session named old, which stays open, and in a new one
both() { echo "$(ask old "SELECT $1"), $(sql "SELECT $1")"; }

# What the log has had on key files since mark_log: who said it (the server, the session old, or another process) and what.
mark_log() { log_mark=$(wc -l <"$PGDATA/server.log"); }
key_news() {
  local server old
  server=$(head -n 1 "$PGDATA/postmaster.pid")
  old=$(ask old 'SELECT pg_backend_pid()')
  tail -n "+$((log_mark + 1))" "$PGDATA/server.log" | sed -nE 's/^.{0,40}\[([0-9]+)\] .*LOG:  ((ticket|no ticket) key file.*)/\1 \2/p' |
    sed -E "s/^$server /server: /; s/^${old:-none} /old: /; s/^[0-9]+ /another: /"
}
