# SPDX-License-Identifier: Apache-2.0
# cmake -D size=… -D "objects=A.o;B.o;…" -P compare_text.cmake: passes when all hold as many bytes of code.

# The bytes of all sections .text and .text.* of an object file; inline functions have sections of their own.
function(text_bytes object result)
  execute_process(COMMAND ${size} -A ${object} OUTPUT_VARIABLE table COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "\n\\.text[^ ]* +[0-9]+" rows "${table}")
  set(total 0)
  foreach(row IN LISTS rows)
    string(REGEX MATCH "[0-9]+$" bytes "${row}")
    math(EXPR total "${total} + ${bytes}")
  endforeach()
  set(${result} ${total} PARENT_SCOPE)
endfunction()

foreach(object IN LISTS objects)
  text_bytes(${object} bytes)
  message(STATUS ".text: ${bytes} bytes in ${object}")
  list(APPEND sizes ${bytes})
endforeach()
list(REMOVE_DUPLICATES sizes)
list(LENGTH sizes different)
if(NOT different EQUAL 1 OR sizes EQUAL 0)
  message(FATAL_ERROR "the code must not depend on the depth, and must be there")
endif()
