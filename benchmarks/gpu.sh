#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What waits for a GPU, in one call on a machine that has one:
#
#   benchmarks/gpu.sh [stage…]   without a stage: all, in this order
#
#   build     the backend by nvcc, its tests and benchmarks, in build/cuda
#   test      ops, layers, policies, training, generation, kernels and cuDNN's plans on the GPU
#   verify    training on the GPU against the CPU, op by op
#   ops       what single ops reach: time, bytes and operations a second
#   steps     training steps of 200 layers of width 512 and of 24 of width 1024; 100 of the paper's model of 500+500
#   pytorch   the same steps by PyTorch, eager and compiled, in bf16 (python3 with PyTorch; $PYTHON is another one)
#
#   benchmarks/gpu.sh --rehearse    the same in small on the emulated device, in build/release
#
# CMAKE_PREFIX_PATH names Eigen, Catch2 and CLI11 where the machine has none. The report is printed and left in
# build/cuda/report.md: the machine, each stage with its seconds, and what failed. The exit code is 0 if nothing did.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/local/cuda/bin
rehearse=0
[[ "${1:-}" == --rehearse ]] && rehearse=1 && shift
stages=("$@")
((${#stages[@]})) || stages=(build test verify ops steps pytorch)
preset=cuda programs=(fathom-verify gpu_benchmarks) verifier=bin/fathom-verify shapes=(deep wide) paper=paper_model
ops_options=() paper_options=(--steps 100) steps=20
if ((rehearse)); then
  preset=release programs=(cuda_ops_test cuda_backend_test emulated-verify training_step_small_cuda small_paper_model gpu_ops)
  verifier=tests/cuda/backend/emulated-verify shapes=(small) paper=small_paper_model
  ops_options=(--rows 64 --width 64 --context 16 --repeat 2) paper_options=(--steps 3 --tokens 32) steps=3
fi
folder=build/$preset
mkdir -p "$folder"
report=$folder/report.md details=$folder/details.txt
: >"$details"

build() {
  cmake --preset "$preset" || return
  ((rehearse)) || cmake --build --preset "$preset" || return
  cmake --build --preset "$preset" --target "${programs[@]}"
}
# A test that was skipped has shown nothing.
run_tests() {
  local log=$folder/tests.log choice=()
  ((rehearse)) && choice=(-L emulated -R '^cuda_backend')
  ctest --preset "$preset" "${choice[@]}" 2>&1 | tee "$log" && ! grep -qE '\*\*\*Skipped|No tests' "$log"
}
# Runs a command whose lines belong to the report.
detailed() { "$@" | tee -a "$details"; }
verify() {
  local precision code=0
  for precision in Single Mixed; do detailed "$folder/$verifier" cpu cuda --precision "$precision" --steps 3 || code=1; done
  return "$code"
}
ops() { detailed "$folder/bin/gpu_ops" "${ops_options[@]}"; }
train() {
  local shape code=0
  for shape in "${shapes[@]}"; do
    echo "fathom $shape" >>"$details"
    detailed "$folder/bin/cuda_training_step_$shape" --steps "$steps" || code=1
  done
  detailed "$folder/bin/$paper" "${paper_options[@]}" || code=1
  return "$code"
}
pytorch() {
  local shape numbers mode device=cuda code=0
  ((rehearse)) && device=cpu
  for shape in "${shapes[@]}"; do
    numbers=$("$folder/bin/cuda_training_step_$shape" --shape)
    for mode in '' --compile; do
      echo "PyTorch $shape $mode" >>"$details"
      detailed "${PYTHON:-python3}" benchmarks/peer_model.py train "$numbers" --steps "$steps" --device "$device" --autocast $mode ||
        code=1
    done
  done
  return "$code"
}

failed=0
{
  printf '# A run on a GPU\n\n'
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null || echo 'no GPU'
  printf 'commit %s\n\n| stage | seconds | |\n| --- | --- | --- |\n' "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
} >"$report"
for stage in "${stages[@]}"; do
  start=$SECONDS
  case "$stage" in
    build) build ;;
    test) run_tests ;;
    verify) verify ;;
    ops) ops ;;
    steps) train ;;
    pytorch) pytorch ;;
    *) sed -n '4,20s/^#\( \|$\)//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  esac && outcome=passed || { outcome=failed; failed=1; }
  printf '| %s | %d | %s |\n' "$stage" $((SECONDS - start)) "$outcome" >>"$report"
done
[[ -s "$details" ]] && printf '\n```\n%s\n```\n' "$(cat "$details")" >>"$report"
cat "$report"
exit "$failed"
