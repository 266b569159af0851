#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# What waits for a GPU, in one call on a machine that has one:
#
#   benchmarks/gpu.sh [stage…]   without a stage: all, in this order
#
#   build   the backend by nvcc and the tests of it, in build/cuda
#   test    ops, layers, policies, training, generation, kernels and cuDNN's plans on the GPU
#   verify  training on the GPU against the CPU, op by op
#
# CMAKE_PREFIX_PATH names Eigen, Catch2 and CLI11 where the machine has none. The report is printed and left in
# build/cuda/report.md: the machine, each stage with its seconds, and what failed. The exit code is 0 if nothing did.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/local/cuda/bin
stages=("$@")
((${#stages[@]})) || stages=(build test verify)
mkdir -p build/cuda
report=build/cuda/report.md details=build/cuda/details.txt
: >"$details"

build() { cmake --preset cuda && cmake --build --preset cuda; }
# A test that was skipped has shown nothing.
run_tests() {
  local log=build/cuda/tests.log
  ctest --preset cuda 2>&1 | tee "$log"
  ! grep -qE '\*\*\*(Failed|Timeout|Exception)|\*\*\*Skipped|No tests' "$log"
}
verify() {
  local precision code=0
  for precision in '' --mixed; do build/cuda/bin/fathom-verify cpu cuda $precision --steps 3 | tee -a "$details" || code=1; done
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
    *) sed -n '4,13s/^#\( \|$\)//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
  esac && outcome=passed || { outcome=failed; failed=1; }
  printf '| %s | %d | %s |\n' "$stage" $((SECONDS - start)) "$outcome" >>"$report"
done
[[ -s "$details" ]] && printf '\n```\n%s\n```\n' "$(cat "$details")" >>"$report"
cat "$report"
exit "$failed"
