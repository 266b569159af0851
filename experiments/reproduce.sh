#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# bash experiments/reproduce.sh    trains one place of each grid in docs/results again, in less than 15 minutes on two cores
#
# Its mean must lie within the spread that is printed there, or the script fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=build/reproduce output=runs/reproduce

# The place of a method and a depth in the first table under a heading of a report: 0.107 ± 0.001.
place() {
  local report=$1 heading=$2 method=$3 depth=$4
  awk -F' *[|] *' -v heading="## $heading" -v method="$method" -v depth="$depth" '
    $0 == heading { under = 1 }
    under && $2 == "layers" && !column { for (i = 3; i <= NF; ++i) if ($i == depth) column = i }
    under && column && $2 == method { print $column; exit }' "$report"
}

failed=0
# compare DOCUMENT TASK METHOD DEPTH RATE OPTION…
compare() {
  local document=$1 task=$2 method=$3 depth=$4 rate=$5
  shift 5
  "$build/bin/fathom-depth" run --task "$task" --methods "$method" --depths "$depth" --rates "$rate" --output "$output" \
    --jobs "$(nproc)" "$@"
  local heading="$task, learning rate $rate" printed found
  printed=$(place "$document" "$heading" "$method" "$depth")
  found=$(place "$output/report.md" "$heading" "$method" "$depth")
  printf '%s, %s, %s layers: %s here, %s in %s: ' "$heading" "$method" "$depth" "${found:-nothing}" "${printed:-nothing}" "$document"
  # Half a digit more, as both are rounded.
  if awk -v a="$found" -v b="$printed" 'BEGIN {
       split(a, x, " ± "); split(b, y, " ± ")
       d = x[1] - y[1]; exit !(x[1] > 0 && y[1] > 0 && (d < 0 ? -d : d) <= y[2] + 0.001) }'; then
    echo 'within its spread'
  else
    echo 'NOT within its spread'
    failed=1
  fi
}

./cmake/bootstrap.sh deps
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFATHOM_DEPTH_METHODS=DeepNorm \
  -DFATHOM_DEPTH_REVERSAL=18 -DFATHOM_DEPTH_LANGUAGE= -DFATHOM_DEPTH_TRANSLATION=
cmake --build "$build" --target fathom-depth

rm -rf "$output"  # cells of an earlier run would be taken for this one's
compare docs/results/reversal.md reversal DeepNorm 18 0.001
exit "$failed"
