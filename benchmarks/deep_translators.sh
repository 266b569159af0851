#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# benchmarks/deep_translators.sh [option…]    options go to all trainings, such as --seed 2
#
# 18 encoder and 18 decoder layers of width 64, 500 updates on Multi30k: DeepNorm, also in mixed precision, and Post-LN
# with the same settings. Prints the loss on the text to validate on every 100 updates, and that of the frequencies of
# tokens alone.
#
# The text is multi30k/tok in FATHOM_DATA_DIR. BUILD names the build folder (build/release), the runs are in OUTPUT
# (runs/deep-translators).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly build=${BUILD:-build/release} output=${OUTPUT:-runs/deep-translators}
readonly text=${FATHOM_DATA_DIR:-.}/multi30k/tok
[[ -d "$text" ]] || { printf 'deep_translators: %s is not there; set FATHOM_DATA_DIR\n' "$text" >&2; exit 1; }
readonly models=(DeepNorm_Single DeepNorm_Mixed PostNorm_Single)

cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$build" --target "${models[@]/#/deep_translator_}"
mkdir -p "$output"

for model in "${models[@]}"; do
  SECONDS=0
  "$build/bin/deep_translator_$model" train "$text"/train.lc.norm.tok.{en,de}.gz --output "$output/$model" \
    --validation "$text"/val.lc.norm.tok.{en,de}.gz --steps 500 --batch 1024 --learning-rate 1e-3 --warmup 100 \
    --dropout 0 --label-smoothing 0 --validation-every 100 --patience 0 --samples 0 --save-every 500 --keep 1 "$@" \
    >"$output/$model.txt"
  losses+=("$model: $(cut -d , -f 3 "$output/$model/log.csv" | tail -n +2 | grep . | paste -sd ' ') ($SECONDS s)")
done
grep frequencies "$output/DeepNorm_Single.txt"
printf '%s\n' "${losses[@]}"
