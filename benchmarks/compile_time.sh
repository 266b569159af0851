#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# benchmarks/compile_time.sh [runs]    5 runs unless told
#
# What depth costs the compiler: compiles compile_time.cpp, a whole trainer (width 64, 2 heads, feed-forward 256), for
# 6, 100 and 1,000 layers with g++ and, where it is there, clang-19. Prints the median user time, the compiler's peak
# memory and the bytes of code, and their ratio to 6 layers. The depths take turns, so that whatever else the machine
# does meets all of them. CXXFLAGS replaces the flags.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly runs=${1:-5} depths=(6 100 1000)
read -ra flags <<<"${CXXFLAGS:--O3 -march=native}"
fail() { printf 'compile_time: %s\n' "$*" >&2; exit 1; }
[[ "$runs" =~ ^[1-9][0-9]*$ ]] || fail "the number of runs is a whole number above 0, not $runs"
for tool in time:time size:binutils; do
  type -P "${tool%:*}" >/dev/null || fail "${tool%:*} is not there: install ${tool#*:}"
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

median() { sort -g "$1" | awk '{value[NR] = $1} END {print (value[int((NR + 1) / 2)] + value[int(NR / 2) + 1]) / 2}'; }
largest() { sort -g "$1" | tail -n 1; }
code_bytes() { size -A "$1" | awk '$1 ~ /^\.text/ {bytes += $2} END {print bytes}'; }

# compile COMPILER LAYERS: the object file, and a line more in each of the two files of measurements
compile() {
  "$(type -P time)" --format '%U %M' --output "$work/run" "$1" -std=c++20 "${flags[@]}" -DLAYERS="$2" -Iinclude \
    -isystem /usr/include/eigen3 -c benchmarks/compile_time.cpp -o "$work/$2.o"
  cut -d ' ' -f 1 "$work/run" >>"$work/$2.seconds"
  cut -d ' ' -f 2 "$work/run" >>"$work/$2.kilobytes"
}

for compiler in g++ clang++-19; do
  type -P "$compiler" >/dev/null || continue
  rm -f "$work"/*
  for ((run = 0; run < runs; ++run)); do
    for layers in "${depths[@]}"; do compile "$compiler" "$layers"; done
  done
  printf '%s, %s, median of %d\n' "$("$compiler" --version | head -n 1)" "${flags[*]}" "$runs"
  for layers in "${depths[@]}"; do
    echo "$layers $(median "$work/$layers.seconds") $(largest "$work/$layers.kilobytes") $(code_bytes "$work/$layers.o")"
  done | awk '
    BEGIN {printf "%8s %10s %7s %12s %7s %12s %8s\n", "layers", "seconds", "ratio", "memory MB", "ratio", ".text bytes", "ratio"}
    NR == 1 {seconds = $2; memory = $3; text = $4}
    {printf "%8d %10.2f %7.3f %12.0f %7.3f %12d %8.4f\n", $1, $2, $2 / seconds, $3 / 1000, $3 / memory, $4, $4 / text}'
done
