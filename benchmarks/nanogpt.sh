#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# benchmarks/nanogpt.sh [text [option…]]    options go to all trainings, such as --seed 2
#
# nanoGPT's published setting for CPUs, on tinyshakespeare: 4 layers, width 128, 4 heads, context 64, batch 12, 2,000
# updates, no dropout; there a pre-norm model ends at a validation loss of 1.88 nats per character
# (https://github.com/karpathy/nanoGPT, README). Trains that model and its DeepNorm twin, whose tied output is
# used as it is and with a learned factor on the logits, some of them in mixed precision too, and prints the loss of each
# over the whole validation part, the last tenth of the text. The text is ASCII, so a byte is a character. MODELS names
# some of them, such as "PreNorm_Plain_Single PreNorm_Plain_Mixed".
#
# The text is a file, also with .gz; without one, tinyshakespeare/input.txt.gz in FATHOM_DATA_DIR. BUILD names the build
# folder (build/release), the runs are in OUTPUT (runs/nanogpt).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly build=${BUILD:-build/release} output=${OUTPUT:-runs/nanogpt}
readonly text=${1:-${FATHOM_DATA_DIR:-.}/tinyshakespeare/input.txt.gz}
[[ -f "$text" ]] || { printf 'nanogpt: %s is not there; give the text, or set FATHOM_DATA_DIR\n' "$text" >&2; exit 1; }
(($# == 0)) || shift
models=(PreNorm_Plain_Single PreNorm_Plain_Mixed DeepNorm_Plain_Single DeepNorm_Scaled_Single DeepNorm_Scaled_Mixed)
[[ -z "${MODELS:-}" ]] || read -ra models <<<"$MODELS"

cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release >/dev/null
cmake --build "$build" --target "${models[@]/#/nanogpt_}"
mkdir -p "$output"
gunzip --force --stdout "$text" >"$output/text.txt"

for model in "${models[@]}"; do
  SECONDS=0
  "$build/bin/nanogpt_$model" train "$output/text.txt" --output "$output/$model" \
    --batch 12 --steps 2000 --learning-rate 1e-3 --minimum-learning-rate 1e-4 --warmup 100 \
    --beta2 0.99 --weight-decay 0.1 --clip 1 \
    --validation-fraction 0.1 --validation-batches all --validation-every 250 "$@" >/dev/null
  losses+=("$(tail -n 1 "$output/$model/log.csv" | cut -d , -f 3) nats per character, $SECONDS s: $model")
done
printf '%s\n' "${losses[@]}"
