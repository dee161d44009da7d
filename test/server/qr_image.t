#!/usr/bin/env bash
# What ticket_qr_svg and ticket_qr_text draw is read by a decoder that is not ours, zbarimg: the codes of both suites at
# every level of error correction, the longest texts, in a terminal, on a thermal printer's paper, and damaged.
source "$(dirname "${BASH_SOURCE[0]}")/support/tap.sh"
on_a_cluster "$@"

# Suite 1 and suite 2, those of test/sql/vectors.sql: the same pictures each time.
code=('' AQFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcIA0zLTUPJYog5eQYkhP1rrg
  AgFvlhn_i4ZNAbQtAMBPyWT_AAAABwECAwQFBgcI7AsqDLHy9-r346tX00lov06PcWk1aF1X63LYx60iuGhgz_Y1qHM9bQXSauRSZQCnzZm8q6I7rdPunpunCdmuDQ)
levels=(L M Q H)
declare -A longest=([L]=2953 [M]=2331 [Q]=1663 [H]=1273)
thermal=(--dpi-x=203 --dpi-y=203)

statements=''
jobs=''
declare -A measured seen

# ---- pictures: drawn by one psql, treated by one node, read by one zbarimg

# draw FILE FUNCTION ARGUMENTS
draw() { statements+="\\o $scraps/$1"$'\n'"SELECT ticketing.$2($3);"$'\n'; }
# treat INPUT NAME STEP...: see support/bitmaps.mjs
treat() { jobs+="$scraps/$1 $scraps/$2.pgm ${*:3}"$'\n'; }

rasterise() {
  local picture
  for picture in "$scraps"/*.svg; do
    case ${picture##*/} in
      thermal_*) rsvg-convert "${thermal[@]}" --output="${picture%.svg}.png" "$picture" ;;
      *) rsvg-convert --zoom=4 --output="${picture%.svg}.png" "$picture" ;;
    esac || exit 1
  done
}

# Sets measured (size, shades, unit) and seen (what was read) of each bitmap.
read_all() {
  local file what name
  psql_here <<<"$statements" || exit 1
  rasterise
  node "$here/support/bitmaps.mjs" <<<"$jobs" >"$scraps/measures" || exit 1
  while read -r file what; do
    file=${file##*/}
    measured[${file%.pgm}]=$what
  done <"$scraps/measures"
  zbarimg -q --nodbus --xml -Sdisable -Sqrcode.enable "$scraps"/*.pgm >"$scraps/read"
  while read -r what file; do
    case $what in
      in) file=${file##*/} && name=${file%.pgm} ;;
      code) seen[$name]+=$file ;;
    esac
  done < <(sed -nE "s/^<source href='(.*)'>.*/in \1/p; s/.*<!\[CDATA\[(.*)\]\]>.*/code \1/p" "$scraps/read")
}

for suite in 1 2; do
  for level in "${levels[@]}"; do
    arguments="'${code[$suite]}', '$level'"
    draw "screen_$suite$level.svg" ticket_qr_svg "$arguments"
    treat "screen_$suite$level.png" "screen_$suite$level"
    treat "screen_$suite$level.png" "hole_$suite$level" hole=32
    draw "dark_$suite$level.txt" ticket_qr_text "$arguments"
    treat "dark_$suite$level.txt" "dark_$suite$level" dark zoom=3
    draw "light_$suite$level.txt" ticket_qr_text "$arguments, inverted => true"
    treat "light_$suite$level.txt" "light_$suite$level" light zoom=3
  done
  # 25 mm of a printer that puts 203 dots on an inch: 200 dots.
  draw "thermal_evenly_$suite.svg" ticket_qr_svg "'${code[$suite]}', size_mm => 25"
  draw "thermal_dots_$suite.svg" ticket_qr_svg "'${code[$suite]}', size_mm => 25, dpi => 203"
  draw "thermal_bare_$suite.svg" ticket_qr_svg "'${code[$suite]}', size_mm => 25, quiet_zone => 0, dpi => 203"
  for how in evenly dots 'bare paper=16'; do
    read -r how paper <<<"$how"
    treat "thermal_${how}_$suite.png" "thermal_${how}_$suite" threshold $paper
    treat "thermal_${how}_$suite.png" "blurred_${how}_$suite" threshold $paper blur
    treat "thermal_${how}_$suite.png" "speckled_${how}_$suite" threshold $paper flip=200
  done
done
draw screen_short.svg ticket_qr_svg "'DVNT'"
treat screen_short.png short
for level in "${levels[@]}"; do
  draw "longest_$level.svg" ticket_qr_svg "(SELECT left(string_agg(md5(i::text), ''), ${longest[$level]}) FROM generate_series(1, 93) i), '$level'"
  treat "longest_$level.png" "longest_$level"
done
read_all

# ---- what was read

for suite in 1 2; do
  for level in "${levels[@]}"; do
    is "suite $suite, level $level, as SVG" "${seen[screen_$suite$level]-}" "${code[$suite]}"
    is "suite $suite, level $level, in a dark terminal" "${seen[dark_$suite$level]-}" "${code[$suite]}"
    is "suite $suite, level $level, in a light terminal, inverted" "${seen[light_$suite$level]-}" "${code[$suite]}"
  done
done
is 'the text whose picture test/sql/drawing.sql has in every detail' "${seen[short]-}" DVNT
texts=$(sql "SELECT string_agg(md5(i::text), '') FROM generate_series(1, 93) i")
for level in "${levels[@]}"; do
  is "the longest text of level $level, ${longest[$level]} bytes" "${seen[longest_$level]-}" "${texts:0:longest[$level]}"
done

# A hole of a tenth of the picture: what level H mends, level L does not, so the levels are these.
for suite in 1 2; do
  is "suite $suite, torn: level H is read" "${seen[hole_${suite}H]-}" "${code[$suite]}"
  is "suite $suite, torn: level L is not" "${seen[hole_${suite}L]-}" ''
done

# ---- a thermal printer, black or white, 200 dots wide

# printed HOW NAME SUITE MEASURE: measures it, and reads it clean, blurred and speckled
printed() {
  is "suite $3, $1: dots, shades, dots that all modules are multiples of" "${measured[thermal_$2_$3]}" "$4"
  is "suite $3, $1" "${seen[thermal_$2_$3]-}" "${code[$3]}"
  is "suite $3, $1, blurred by a dot" "${seen[blurred_$2_$3]-}" "${code[$3]}"
  is "suite $3, $1, 200 dots wrong" "${seen[speckled_$2_$3]-}" "${code[$3]}"
}
printed '25 mm at 203 dpi' evenly 1 '200x200 2 1'
printed '25 mm at 203 dpi' evenly 2 '200x200 2 1'
printed '25 mm made for 203 dpi' dots 1 '200x200 2 4'
printed '25 mm made for 203 dpi' dots 2 '200x200 2 3'
printed '25 mm made for 203 dpi without quiet zone, on white paper' bare 1 '232x232 2 6'
printed '25 mm made for 203 dpi without quiet zone, on white paper' bare 2 '232x232 2 4'
done_testing
