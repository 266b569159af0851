# SPDX-License-Identifier: Apache-2.0
# cmake -D size=… -D shallow=A.o -D deep=B.o -P compare_text.cmake: passes when both hold as many bytes of code.

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

text_bytes(${shallow} shallow_bytes)
text_bytes(${deep} deep_bytes)
message(STATUS ".text: ${shallow_bytes} bytes in ${shallow}, ${deep_bytes} bytes in ${deep}")
if(shallow_bytes EQUAL 0 OR NOT shallow_bytes EQUAL deep_bytes)
  message(FATAL_ERROR "the code must not depend on the depth, and must be there")
endif()
