# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# The check of codes: a table of them in one query on one core, beside the same check by pgcrypto, in SQL and in
# plpgsql, and beside length(payload), which has to read each code, too.

declare -A genuine_query=(
  [is_genuine_ticket]='SELECT count(*) FROM bench.codes WHERE ticketing.is_genuine_ticket(payload)'
  [pgcrypto_sql]='SELECT count(*) FROM bench.genuine_sql'
  [pgcrypto_plpgsql]='SELECT count(*) FROM bench.codes WHERE bench.genuine_plpgsql(payload)'
  [length]='SELECT count(*) FROM bench.codes WHERE length(payload) > 1'
)

run_genuine() {
  local rounds rows contender nanoseconds answer expected
  rounds=$(full_or_quick 5 2)
  rows=$(full_or_quick 1000000 20000)
  clients=1
  fresh_database genuine
  note "genuine: signing $rows codes"
  sql -v rows="$rows" -v events=200 -f bench/genuine.sql
  for ((round = 1; round <= rounds; round++)); do
    note "genuine: round $round of $rounds"
    for contender in $(rotated "$round" is_genuine_ticket length pgcrypto_sql pgcrypto_plpgsql); do
      expected=$((rows - rows / 100))
      [[ $contender != length ]] || expected=$rows
      IFS='|' read -r nanoseconds answer < <(PGOPTIONS='-c max_parallel_workers_per_gather=0' sql -c "SELECT nanoseconds / $rows, answer FROM bench.timed('${genuine_query[$contender]}')")
      record "$contender" ns "$nanoseconds"
      record "$contender" violations $((answer > expected ? answer - expected : expected - answer))
    done
  done
  drop_database genuine
}

# The median over the rounds of an expression of a round's figures (is_genuine_ticket: ours).
genuine_ratio() {
  echo "SELECT bench.median(array_agg($1)) FROM (
          SELECT max(value) FILTER (WHERE contender = 'is_genuine_ticket') AS ours, max(value) FILTER (WHERE contender = 'length') AS length,
                 max(value) FILTER (WHERE contender = 'pgcrypto_sql') AS pgcrypto_sql, max(value) FILTER (WHERE contender = 'pgcrypto_plpgsql') AS pgcrypto_plpgsql
          FROM bench.result WHERE scenario = 'genuine' AND metric = 'ns' GROUP BY round) r"
}

report_genuine() {
  bound 'codes checked, one core: time of the better pgcrypto peer / is_genuine_ticket' "$(genuine_ratio 'least(pgcrypto_sql, pgcrypto_plpgsql) / ours')" '>=' 8
  bound 'codes checked, one core: time of is_genuine_ticket / length(payload) > 1' "$(genuine_ratio 'ours / length')" '<=' 2
  bound 'codes checked: wrong answers' "SELECT sum(violations) FROM bench.violations WHERE scenario = 'genuine'" '=' 0

  printf '\n## Genuine codes\n\nOne query counts the genuine ones among %s codes of suite 1 (HMAC-SHA-256) and 200 events; every hundredth is spoiled. One core. The pgcrypto peers are given\n' "$(full_or_quick 1,000,000 20,000)"
  printf 'each event'"'"'s key in a table; `is_genuine_ticket` derives them by HKDF, in every query anew. In SQL the check is a join with that table. Median of the rounds (least–most).\n'
  table "SELECT CASE contender WHEN 'is_genuine_ticket' THEN '\`is_genuine_ticket(payload)\`' WHEN 'length' THEN '\`length(payload) > 1\`'
                               WHEN 'pgcrypto_sql' THEN 'pgcrypto, SQL' ELSE 'pgcrypto, plpgsql' END,
                bench.shown_with_range(array_agg(value)), bench.shown(1e9 / bench.median(array_agg(value)))
         FROM bench.result WHERE scenario = 'genuine' AND metric = 'ns' GROUP BY contender ORDER BY bench.median(array_agg(value))" \
    'Check' 'Nanoseconds a code' 'Codes per second'
}
