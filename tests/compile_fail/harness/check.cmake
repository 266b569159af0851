# SPDX-License-Identifier: Apache-2.0
# cmake -D compiler=… -D file=… -D include=… -P check.cmake: passes when `file` fails to compile with its expected message.
file(STRINGS ${file} first_line LIMIT_COUNT 1)
if(NOT first_line MATCHES "^// expect: (.+)$")
  message(FATAL_ERROR " ${file}: the first line must be `// expect: <regex>`")
endif()
set(expected "${CMAKE_MATCH_1}")

list(TRANSFORM include PREPEND -I)
execute_process(COMMAND ${compiler} -std=c++20 -fsyntax-only ${include} ${file}
                RESULT_VARIABLE result OUTPUT_VARIABLE answer ERROR_VARIABLE answer)
if(result EQUAL 0)
  message(FATAL_ERROR " ${file}: it compiled, and must not")
endif()
# Compilers show the source around an error. The expectation itself must not count when they do.
string(REGEX REPLACE "// expect: [^\n]*" "" answer "${answer}")
if(NOT answer MATCHES "${expected}")
  message(FATAL_ERROR " ${file}: the message does not match `${expected}`:\n ${answer}")
endif()
