# SPDX-License-Identifier: Apache-2.0
# cmake -D nm=… -D file=… -D holds=some|none -P library_functions.cmake: whether `file` defines functions that
# fathom::compiled is for.
execute_process(COMMAND ${nm} --demangle --defined-only ${file} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
set(cpu "[TtVWw] (void )?fathom::v[^:]*::cpu::[^:]*::")
string(REGEX MATCHALL "${cpu}Cpu<[^\n]*(>::run<fathom::|::Machine::Machine)[^\n]*" functions "${symbols}")
string(REGEX MATCHALL "${cpu}Lane<[^\n]*::settle[^\n]*" settles "${symbols}")
list(APPEND functions ${settles})
list(LENGTH functions count)
if(holds STREQUAL "some" AND count LESS 50)
  message(FATAL_ERROR " ${file} has ${count} of the functions alone")
elseif(holds STREQUAL "none" AND count GREATER 0)
  list(JOIN functions "\n " functions)
  message(FATAL_ERROR " ${file} has ${count} functions that are in the library:\n ${functions}")
endif()
