#!/usr/bin/env bash
# The ticket keys come from a key file where one is named: it is read on each reload and at no other time, by sessions
# that are open and for new ones; one that is broken changes nothing and is complained of in the log; and while one is
# named, the environment counts for nothing.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
source "$(dirname "${BASH_SOURCE[0]}")/support/keys.sh"
export TICKET_HMAC_SECRET='the secret of the environment, long enough'
on_a_cluster "$@"

make_folder keys 700
file=$DVNT_CLUSTER/keys/ticket.keys
use_key_functions
open_session old

# ---- from the environment to a key file

of_environment=$(sql 'SELECT new_code()')
is 'without a key file the environment signs, as key 1' "$(both 'signs()')" '1, 1'
mark_log
write_keys "$file" "$(key 2)"
name_key_file "$file"
is 'a key file that is named does not count before a reload' "$(both 'signs()')" '1, 1'
reload
is 'then its key signs' "$(both 'signs()')" '2, 2'
is 'the secret of the environment is in use no more' "$(both "verdict('$of_environment')")" 'unknown_key, unknown_key'
is 'the log has it once' "$(key_news)" "server: ticket key file \"$file\": key id 2 signs, 1 verify"
write_keys "$file" "$(key 1 "$TICKET_HMAC_SECRET")"
reload
is 'the secret of the environment can be a line of the file: its codes are genuine' "$(both "verdict('$of_environment')")" 'valid, valid'
is 'and it signs as key 1' "$(both 'signs()')" '1, 1'

# ---- rotation

write_keys "$file" "$(key 1)"
reload
first=$(sql 'SELECT new_code()')
is 'a secret that was exchanged under its id is another: what it signed is not genuine' "$(both "verdict('$of_environment')")" 'bad_signature, bad_signature'
write_keys "$file" "$(key 1)" '' '# from next week on' "$(key 2)"
is 'a key file that was edited does not count before a reload' "$(both 'signs()')" '1, 1'
reload
is 'a key that is added last does not sign' "$(both 'signs()')" '1, 1'
write_keys "$file" "$(key 2)" "$(key 1)"
is 'moved first, it does not sign before a reload' "$(both 'signs()')" '1, 1'
reload
second=$(sql 'SELECT new_code()')
is 'then it signs' "$(both 'signs()')" '2, 2'
is 'what the old key has signed is genuine' "$(both "verdict('$first')")" 'valid, valid'
is 'what the new key has signed is genuine' "$(both "verdict('$second')")" 'valid, valid'
is 'the second suite signs with it, too' "$(both "key_of(left(ticketing.sign_ticket(gen_random_uuid(), 7, '\\x0102030405060708', 2), 62))")" '2, 2'
write_keys "$file" "$(key 2)"
is 'a retired key verifies before a reload' "$(both "verdict('$first')")" 'valid, valid'
reload
is 'a retired key: its codes have an unknown key' "$(both "verdict('$first')")" 'unknown_key, unknown_key'
is 'the door says the same' "$(sql "SELECT ticketing.check_in('$first', make_event(make_host('host')), 'host') ->> 'result'")" unknown_key
is 'the others stay genuine' "$(both "verdict('$second')")" 'valid, valid'

# A worker has the keys of the server's last reload, whatever the file has by now.
write_keys "$file" "$(key 9)"
in_a_worker() { sql "SELECT FROM pg_settings, set_config(name, 'on', false) WHERE name IN ('force_parallel_mode', 'debug_parallel_query'); $1"; }
of_worker="ticketing.sign_ticket('6f9619ff-8b86-4d01-b42d-00c04fc964ff', 7, '\\x0102030405060708')"
like 'a parallel worker signs' "$(in_a_worker "EXPLAIN (ANALYZE) SELECT $of_worker")" 'Workers Launched: 1'
is 'with the key that signs' "$(in_a_worker "SELECT key_of($of_worker)")" 2

# A command follows a reload in its middle: what others sign with a new key meanwhile is genuine for it.
write_keys "$file" "$(key 2)"
reload
sql 'CREATE TABLE test.codes (code text)' 'CREATE TABLE test.heard (signs integer, verdict text)'
begin old "DO \$\$
BEGIN
  INSERT INTO heard VALUES (signs());
  WHILE NOT EXISTS (SELECT FROM codes) LOOP
    PERFORM pg_sleep(0.01);
  END LOOP;
  INSERT INTO heard (verdict, signs) SELECT verdict(code), signs() FROM codes;
END \$\$"
await 10 says "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE application_name = 'old'"
write_keys "$file" "$(key 2)" "$(key 3)"
reload
write_keys "$file" "$(key 3)" "$(key 2)"
reload
sql 'INSERT INTO codes SELECT new_code()'
finish old >/dev/null
is 'a command that began before two reloads verifies what the newest key has signed' "$(sql 'SELECT * FROM heard')" $'2|\n3|valid'

# ---- a file that is broken

good=3
# fault WHAT REASON COMMAND...: after the command the file is broken; the keys stay, the log says why, and a file that is mended counts
fault() {
  local code
  code=$(ask old 'SELECT new_code()')
  mark_log
  "${@:3}"
  reload
  is "$1: the key that signed signs, and what it has signed is genuine" "$(both "signs(), verdict('$code')")" "$good|valid, $good|valid"
  is "$1: the log says what is wrong, once for all sessions" "$(key_news)" "server: ticket key file \"$file\" is broken: $2"
  reload
  is "$1: and nothing more at the next reload" "$(key_news | wc -l), $(ask old 'SELECT signs()')" "1, $good"
  rm -rf "$file"
  good=$((good == 3 ? 2 : 3))
  write_keys "$file" "$(key "$good")" "$(key $((good == 3 ? 2 : 3)))"
  reload
  is "$1: mended, it counts" "$(both "signs(), verdict('$code')")" "$good|valid, $good|valid"
}
as_directory() { rm "$file" && mkdir "$file"; }
as_pipe() { rm "$file" && mkfifo -m 600 "$file" && hand_over "$file"; }
owned_by() { chown "$1" "$file" && chmod "$2" "$file"; }

write_keys "$file" "$(key 3)" "$(key 2)"
reload
fault 'there is none' 'could not open it: No such file or directory' rm "$file"
fault 'a directory' 'it is not a regular file' as_directory
fault 'a pipe that nobody writes to' 'it is not a regular file' as_pipe
fault 'the server may not read it' 'could not open it: Permission denied' chmod 0 "$file"
fault 'its group may read it' "group or others have access; a file of the server's user needs mode 0600 or less" chmod 640 "$file"
fault 'others may read it' "group or others have access; a file of the server's user needs mode 0600 or less" chmod 604 "$file"
fault 'it is empty' 'the file has no key' truncate -s 0 "$file"
fault 'it has comments alone' 'the file has no key' write_keys "$file" '# nothing'
fault 'an id occurs twice' 'line 3: this key id occurs twice' write_keys "$file" "$(key 8)" "$(key 9)" "$(key 8 'another secret of key 8, which is long enough')"
fault 'a line is not id:base64' 'line 2: expected id:base64 with an id from 1 to 255' write_keys "$file" "$(key 8)" "key $(key 9)"
fault 'a secret is not base64' 'line 2: the secret is not standard base64 with padding' write_keys "$file" '# the keys' '8:the secret of key 8, which is long enough'
fault 'a secret has 31 bytes' 'line 2: the secret is shorter than 32 bytes' write_keys "$file" "$(key 8)" "$(key 9 "$(printf '%031d' 0)")"
fault 'it is larger than 1 MB' 'it is larger than 1 MB' write_keys "$file" "$(key 8)" "$(printf '#%01048576d' 0)"
if ((EUID == 0)); then
  fault "it is another user's" "it must be owned by the server's user or by root" owned_by nobody 644
  fault "it is root's, and others may read it" 'group or others have access; a file of root needs mode 0640 or less' owned_by root:postgres 644
  fault "it is root's, and its group may write to it" 'group or others have access; a file of root needs mode 0640 or less' owned_by root:postgres 660
  write_keys "$file" "$(key 4)"
  owned_by root:postgres 640
  reload
  is "it is root's, and its group, the server's, may read it: it counts" "$(both 'signs()')" '4, 4'
fi
write_keys "$file" "$(key 5)" "$(printf '#%01048000d' 0)"
reload
is 'one of almost 1 MB counts' "$(both 'signs()')" '5, 5'

# What a session has not been asked for while it was good is not lost to it.
code=$(sql 'SELECT new_code()')
write_keys "$file" "$(key 7)" "$(key 5)"
reload
write_keys "$file" "$(key 7)"
reload
newest=$(sql 'SELECT new_code()')
write_keys "$file" 'nonsense'
reload
is 'a session that slept through rotation, retirement and a file that broke signs with the new key' "$(ask old 'SELECT signs()')" 7
is 'and knows which codes are genuine' "$(ask old "SELECT verdict('$newest'), verdict('$code')")" 'valid|unknown_key'
# A process that is killed takes all others down; the postmaster goes on with the keys that it has.
kill -KILL "$(ask old 'SELECT pg_backend_pid()')"
close_session old
await 30 sql 'SELECT 1'
open_session old
is 'after a crash of a server process the keys are those of before' "$(both "signs(), verdict('$newest')")" '7|valid, 7|valid'
write_keys "$file" "$(key 5)"
reload
is 'and a reload counts' "$(both 'signs()')" '5, 5'

# ---- another path

cp -p "$file" "$PGDATA/ticket.keys"
write_keys "$PGDATA/ticket.keys" "$(key 6)"
mark_log
name_key_file ticket.keys
reload
is 'another path counts after a reload; it is relative to the data directory' "$(both 'signs()')" '6, 6'
is 'and stands in the log' "$(key_news)" "server: ticket key file \"$PGDATA/ticket.keys\": key id 6 signs, 1 verify"
name_key_file nowhere.keys
reload
is 'where the other file is not there, the keys stay' "$(both 'signs()')" '6, 6'
like 'which stands in the log' "$(key_news)" "server: ticket key file \"$PGDATA/nowhere.keys\" is broken: could not open it"
is 'a path that is too long is refused' "$(attempt "ALTER SYSTEM SET dvnt_ticketing.key_file = '/$(printf '%01100d' 0)'")" 22023
mark_log
sql 'ALTER SYSTEM RESET dvnt_ticketing.key_file'
reload
is 'with no file named any more the environment signs again' "$(both 'signs()')" '1, 1'
is 'and what it had signed is genuine' "$(both "verdict('$of_environment')")" 'valid, valid'
is 'what the files had signed is of another key' "$(both "verdict('$second')")" 'unknown_key, unknown_key'
is 'and the log says so' "$(key_news)" 'server: no ticket key file: the ticket secret is that of the environment'

is 'a session cannot name a file' "$(attempt "SET dvnt_ticketing.key_file = 'ticket.keys'")" 55P02
is 'nor can a database' "$(attempt "ALTER DATABASE dvnt SET dvnt_ticketing.key_file = 'ticket.keys'")" 55P02
is 'clients do not see where it is' "$(attempt 'SET ROLE service_role; SHOW dvnt_ticketing.key_file')" 42501

# ---- a server that starts on a broken file

ticket=$(sql 'SELECT new_code()')
# without_keys HOW REASON: everything that signs or verifies is refused, in each session
without_keys() {
  local call
  for call in 'new_code()' "verdict('$ticket')" "ticketing.is_genuine_ticket('$ticket')" "ticketing.check_in('$ticket', 7, 'host')"; do
    is "$1: $call is refused, whatever is in the environment" "$(attempt "SELECT $call")" 'PT503 not_configured'
    like "$1: $call says what is wrong" "$(<"$scraps/error")" "no ticket secret is configured: the key file is broken: $2"
    like "$1: $call says what to do" "$(<"$scraps/error")" 'HINT:  Mend the file that dvnt_ticketing.key_file names'
  done
  like "$1: a session that stays is refused, too" "$(ask old 'SELECT signs()')" "PT503: no ticket secret is configured: the key file is broken: $2"
}
close_session old
write_keys "$file" "$(key 5)" "$(key 5)"
name_key_file "$file"
mark_log
restart
open_session old
without_keys 'started on a broken file' 'line 2: this key id occurs twice'
is 'started on a broken file: the log says so once, none of the sessions does' "$(key_news)" "server: ticket key file \"$file\" is broken: line 2: this key id occurs twice"
like 'started on a broken file: and what it means' "$(tail -n "+$log_mark" "$PGDATA/server.log")" 'DETAIL:  Nothing can be signed or verified\.'
rm "$file"
reload
without_keys 'broken in another way' 'could not open it: No such file or directory'
write_keys "$file" "$(key 5)"
is 'mended, it does not count before a reload' "$(attempt 'SELECT signs()')" 'PT503 not_configured'
reload
is 'mended, it counts after a reload' "$(both 'signs()')" '5, 5'

# ---- a path on the server's command line, which a reload does not go over

close_session old
sql 'ALTER SYSTEM RESET dvnt_ticketing.key_file'
as_server env -u DVNT_CLUSTER "$("${PG_CONFIG:-pg_config}" --bindir)/pg_ctl" -s -w -D "$PGDATA" -l "$PGDATA/server.log" -o "-c dvnt_ticketing.key_file=$file" restart
open_session old
is 'named on the command line, it counts' "$(both 'signs()')" '5, 5'
write_keys "$file" "$(key 4)" "$(key 5)"
is 'and once edited not before a reload' "$(both 'signs()')" '5, 5'
reload
is 'but after it' "$(both 'signs()')" '4, 4'
is 'nothing is wrong' "$(invariants)" ''
done_testing
