#!/usr/bin/env bash
# Keys are rotated in two reloads while sessions sign and verify: no code that one session has signed fails in another, be
# it an old session, a new one, or one whose command began before the reloads; not while a key file is broken either.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
source "$(dirname "${BASH_SOURCE[0]}")/support/keys.sh"
on_a_cluster "$@"

make_folder keys 700
file=$DVNT_CLUSTER/keys/ticket.keys
use_key_functions
write_keys "$file" "$(key 1)"
name_key_file "$file"
reload
sql 'CREATE UNLOGGED TABLE test.codes (n bigserial PRIMARY KEY, code text, key integer, signer text, pid integer DEFAULT pg_backend_pid())' \
  'CREATE UNLOGGED TABLE test.failures (code text, verdict text, verifier text)' \
  'CREATE UNLOGGED TABLE test.verified (verifier text, codes bigint)' \
  'CREATE TABLE test.stop ()' \
  "CREATE FUNCTION test.sign(signer text) RETURNS void LANGUAGE sql AS \$\$
     INSERT INTO test.codes (code, key, signer) SELECT code, test.key_of(code), signer FROM test.new_code() code
   \$\$" \
  "CREATE FUNCTION test.verify(verifier text) RETURNS void LANGUAGE sql AS \$\$
     WITH newest AS (SELECT code FROM test.codes ORDER BY n DESC LIMIT 20),
          any_of_all AS (SELECT code FROM test.codes WHERE n IN (SELECT 1 + floor(random() * last)::bigint FROM (SELECT max(n) AS last FROM test.codes) m, generate_series(1, 3))),
          seen AS (SELECT code, test.verdict(code) AS verdict FROM (SELECT code FROM newest UNION SELECT code FROM any_of_all) c),
          failed AS (INSERT INTO test.failures SELECT code, verdict, verifier FROM seen WHERE verdict <> 'valid')
     INSERT INTO test.verified SELECT verifier, count(*) FROM seen
   \$\$"

# ---- the sessions: three that stay, two that are new with each transaction, and one that is a single command

at_work() {
  printf '%s\n' "SELECT test.sign('$1');" "SELECT test.verify('$1');" >"$scraps/$1.sql"
  PGOPTIONS='-c search_path=test,public' pgbench -n -c "$2" -j 1 -T 120 "${@:3}" -f "$scraps/$1.sql" >"$scraps/$1.pgbench" 2>&1 &
}
at_work stays 3
stays=$!
at_work anew 2 -C
anew=$!
open_session long
begin long "DO \$\$
BEGIN
  WHILE to_regclass('test.stop') IS NOT NULL LOOP
    PERFORM sign('long');
    COMMIT;
    PERFORM verify('long');
    COMMIT;
    PERFORM pg_sleep(0.001);
  END LOOP;
END \$\$"

last_code() { sql 'SELECT coalesce(max(n), 0) FROM codes'; }
signed_by_all() { says "SELECT count(DISTINCT signer) FILTER (WHERE key = $1) = 3 FROM codes WHERE n > $2"; }
# until_all_sign KEY: until each kind of session signs with it
until_all_sign() { await 30 signed_by_all "$1" "$(last_code)"; }

ok 'the sessions sign with the first key' until_all_sign 1
for new in 2 3 4; do
  old=$((new - 1))
  others=()
  for ((id = old - 1; id > 0; id--)); do others+=("$(key $id)"); done
  write_keys "$file" "$(key $old)" "$(key $new)" "${others[@]}"
  reload
  ok "key $new added last: key $old signs" until_all_sign $old
  write_keys "$file" "$(key $new)" "$(key $old)" "${others[@]}"
  reload
  ok "key $new moved first: it signs everywhere, in a command of before too" until_all_sign $new
done
# Reloads one after another; the file is not there, is broken, and is mended, with no pause for anybody.
for _ in {1..5}; do
  mv "$file" "$file.away"
  reload
  write_keys "$file" "$(key 4)" "$(key 4)"
  reload
  mv "$file.away" "$file"
  reload
done
ok 'while the file was broken, and after, they signed' until_all_sign 4
sql 'DROP TABLE stop'
finish long >"$scraps/long"
close_session long
ok 'all sessions were at work to the end' kill "$stays" "$anew"
wait "$stays" "$anew" 2>/dev/null

is 'no session had an error' "$(cat "$scraps/long"; grep -hiE 'error|fatal|aborted' "$scraps/stays.pgbench" "$scraps/anew.pgbench")" ''
is 'no code failed anywhere at any time' "$(sql 'SELECT verdict, verifier, key_of(code), count(*) FROM failures GROUP BY 1, 2, 3')" ''
sql 'SELECT verifier, count(*), sum(codes) FROM verified GROUP BY 1 ORDER BY 1' | sed -E 's/(.*)\|(.*)\|(.*)/# \1: verified \3 codes in \2 calls/'
is 'each kind of session verified' "$(sql 'SELECT verifier FROM verified GROUP BY 1 HAVING sum(codes) > 1000 ORDER BY 1')" $'anew\nlong\nstays'
is 'each key signed in each kind of session' "$(sql 'SELECT count(DISTINCT (key, signer)) FROM codes')" 12
is 'the command was one' "$(sql "SELECT count(DISTINCT pid) FROM codes WHERE signer = 'long'")" 1
is 'sessions that stay did' "$(sql "SELECT count(DISTINCT pid) FROM codes WHERE signer = 'stays'")" 3
ok 'sessions that are new with each transaction were' says "SELECT count(DISTINCT pid) > 50 FROM codes WHERE signer = 'anew'"
is 'all codes are genuine in the end' "$(sql "SELECT count(*) FROM codes WHERE NOT ticketing.is_genuine_ticket(code)")" 0
write_keys "$file" "$(key 4)"
reload
is 'and when the other keys are retired, those of the last' "$(sql "SELECT count(*) FROM codes WHERE ticketing.is_genuine_ticket(code) IS DISTINCT FROM (key = 4)")" 0
done_testing
