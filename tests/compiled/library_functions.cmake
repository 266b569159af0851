# SPDX-License-Identifier: Apache-2.0
# cmake -D nm=… -D file=… -D holds=some|none -P library_functions.cmake: whether `file` defines functions that
# fathom::compiled is for.
# Mangled names, because nm of binutils 2.40 cannot read those that clang gives to constrained templates.
execute_process(COMMAND ${nm} --defined-only ${file} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
set(cpu "[TtVWw] _ZNK?6fathom[0-9]+v[0-9_]+cpu[0-9]+[a-z0-9_]+")
string(REGEX MATCHALL "${cpu}3CpuI[^\n]*E(3runI|7MachineC)[^\n]*" functions "${symbols}")
string(REGEX MATCHALL "${cpu}4LaneI[^\n]*E6settle[^\n]*" settles "${symbols}")
list(APPEND functions ${settles})
list(LENGTH functions count)
if(holds STREQUAL "some" AND count LESS 50)
  message(FATAL_ERROR " ${file} has ${count} of the functions alone")
elseif(holds STREQUAL "none" AND count GREATER 0)
  list(JOIN functions "\n " functions)
  message(FATAL_ERROR " ${file} has ${count} functions that are in the library:\n ${functions}")
endif()
