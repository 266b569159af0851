#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# driver.sh STUB: prints the source of a library with the functions of a CUDA driver, which the toolkit's STUB of one
# names. Those that load a kernel say that they have done so, and give it an address; all others fail with
# CUDA_ERROR_STUB_LIBRARY (34). cuDNN plans with it on a machine without a driver.
set -euo pipefail
nm -D --defined-only "$1" | awk '
  BEGIN {
    split("LibraryLoadData LibraryGetKernel LibraryGetModule ModuleLoadData ModuleLoadDataEx ModuleLoadFatBinary " \
          "ModuleGetFunction KernelGetFunction", names, " ")
    for (i in names) gives["cu" names[i]] = 1
    split("KernelSetAttribute FuncSetAttribute LibraryUnload ModuleUnload", names, " ")
    for (i in names) takes["cu" names[i]] = 1
  }
  $2 == "T" && $3 ~ /^cu/ {
    if ($3 in gives)
      print "extern \"C\" int " $3 "(void** made) { return *made = reinterpret_cast<void*>(4096), 0; }"
    else
      print "extern \"C\" int " $3 "() { return " ($3 in takes ? 0 : 34) "; }"
    ++count
  }
  END { exit count == 0 }'
