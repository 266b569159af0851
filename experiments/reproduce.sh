#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# FATHOM_DATA_DIR=CORPORA bash experiments/reproduce.sh
#
# Trains one place of each grid in docs/results again, in less than 15 minutes on two cores. All of its seeds must train,
# and their mean must lie within the spread that is printed there, or a unit of the last digit more, or the script fails.
# Without corpora that is the grid of reversal alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=build/reproduce output=runs/reproduce

# The place of a method and a depth in the first table under a heading of a report: 0.107 ± 0.001.
place() {
  local report=$1 heading=$2 method=$3 depth=$4
  awk -F' *[|] *' -v heading="## $heading" -v method="$method" -v depth="$depth" '
    /^## / { under = $0 == heading }
    under && $2 == "layers" && !column { for (i = 3; i <= NF; ++i) if ($i == depth) column = i }
    under && column && $2 == method { print $column; exit }' "$report"
}

failed=0
# compare DOCUMENT HEADING METHOD DEPTH COMMAND…    which takes the options of `fathom-depth run`
compare() {
  local document=docs/results/$1.md heading=$2 method=$3 depth=$4 folder=$output/$1
  shift 4
  "$@" --methods "$method" --depths "$depth" --output "$folder" --jobs "$(nproc)"
  local printed found
  printed=$(place "$document" "$heading" "$method" "$depth")
  found=$(place "$folder/report.md" "$heading" "$method" "$depth")
  printf '%s, %s, %s layers: %s here, %s in %s: ' "$heading" "$method" "$depth" "${found:-nothing}" "${printed:-nothing}" "$document"
  if awk -v a="$found" -v b="$printed" 'BEGIN {
       split(a, x, " ± "); split(b, y, " ± ")
       d = x[1] - y[1]; digits = length(y[2]) - index(y[2], "."); whole = "^[0-9.]+ ± [0-9.]+$"
       exit !(a ~ whole && b ~ whole && (d < 0 ? -d : d) <= y[2] + 10 ^ -digits + 1e-9) }'; then
    echo 'within its spread'
  else
    echo 'NOT within its spread'
    failed=1
  fi
}

data=${FATHOM_DATA_DIR:-} language='' translation=''
if [[ -n "$data" ]]; then
  packed=$data/wikitext2/wiki.train.tokens.gz captions=$data/multi30k
  [[ -f "$packed" ]] || { printf 'reproduce: %s is not there; FATHOM_DATA_DIR has the corpora\n' "$packed" >&2; exit 1; }
  bash experiments/deeper.sh true  # which sees whether its own are there
  language=12,32 translation=6
fi

./cmake/bootstrap.sh deps
cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DFATHOM_DEPTH_METHODS=DeepNorm \
  -DFATHOM_DEPTH_REVERSAL=18 -DFATHOM_DEPTH_LANGUAGE=$language -DFATHOM_DEPTH_TRANSLATION=$translation
cmake --build "$build" --target fathom-depth
program=$build/bin/fathom-depth

rm -rf "$output"  # cells of an earlier run would be taken for this one's
mkdir -p "$output"
compare reversal 'reversal, learning rate 0.001' DeepNorm 18 "$program" run
if [[ -n "$data" ]]; then
  text=$output/wiki.train.tokens
  zcat "$packed" >"$text"
  compare language 'language, learning rate 0.001' DeepNorm 12 \
    "$program" run --task language --text "$text" --steps 300 --validations 6
  compare language 'language, learning rate rising to 0.03' DeepNorm 32 \
    "$program" run --task language --text "$text" --steps 600 --ramp --rates 0.03
  compare translation 'translation, learning rate 0.001' DeepNorm 6 "$program" run --task translation \
    --pairs "$captions"/train.{en,de}.gz --validation "$captions"/val.{en,de}.gz --validations 6
  compare deeper 'translation, learning rate 0.001' DeepNorm 6 \
    bash experiments/deeper.sh "$program" --steps 2500 --warmup 500 --validations 10 --bleu 500
else
  echo 'reproduce: language and translation are left out; FATHOM_DATA_DIR names their corpora'
fi
exit "$failed"
