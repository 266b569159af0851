#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# budget.sh NVCC SOURCE EIGEN BUDGET: compiles the kernels of SOURCE/src/cuda/cuda.cu for sm_90, prints each that exceeds
# the BUDGET, and how many were held to it.
set -euo pipefail
nvcc=$1 source=$2 eigen=$3 budget=$4
object=$(mktemp)
trap 'rm -f "$object"' EXIT
"$nvcc" -std=c++20 --expt-relaxed-constexpr -arch=sm_90 -I"$source/include" -isystem "$eigen" -Xptxas -v \
  -c "$source/src/cuda/cuda.cu" -o "$object" 2>&1 | c++filt | awk -v budget="$budget" '
  BEGIN {
    while ((getline line < budget) > 0) {
      if (line ~ /^#/ || split(line, part, " ") < 4) continue
      word[++rules] = part[1]; registers[rules] = part[2]; stack[rules] = part[3]; spills[rules] = part[4]
      fewest[rules] = part[5]
    }
  }
  /Compiling entry function/ { name = $0; sub(/.*entry function ./, "", name); sub(/. for .*/, "", name) }
  /bytes stack frame/ { frame = $1; spilled = $5 + $9 }
  /Used [0-9]+ registers/ && name ~ /fathom/ && name !~ /thrust|cub::/ {
    used = $0; sub(/.*Used /, "", used); sub(/ registers.*/, "", used)
    for (rule = 1; rule <= rules; ++rule) if (word[rule] == "-" || index(name, word[rule])) break
    if (rule > rules || used + 0 > registers[rule] || used + 0 < fewest[rule] || frame + 0 > stack[rule] || spilled + 0 > spills[rule]) {
      printf "%d registers, %d bytes of stack, %d of spills: %s\n", used, frame, spilled, name
      ++exceeded
    }
    ++kernels
  }
  END {
    printf "%d kernels, %d beyond the budget\n", kernels, exceeded
    exit kernels < 40 || exceeded
  }'
