# SPDX-License-Identifier: Apache-2.0
# cmake -D compiler=… -D include=… -D refused=refused|accepted -D flags=… -P flags.cmake: passes when check.cpp, compiled with
# `flags`, is refused by the compiler or by itself, in the words that name the remedy; or when it is not.
set(ENV{LC_ALL} C)
string(MAKE_C_IDENTIFIER "check${flags}" program)
separate_arguments(flags)
execute_process(COMMAND ${compiler} -std=c++20 -O2 ${flags} -I${include} ${CMAKE_CURRENT_LIST_DIR}/check.cpp -o ${program}
                RESULT_VARIABLE result OUTPUT_VARIABLE answer ERROR_VARIABLE answer)
if(result EQUAL 0)
  execute_process(COMMAND ./${program} RESULT_VARIABLE result OUTPUT_VARIABLE answer ERROR_VARIABLE answer)
endif()
if(refused STREQUAL accepted)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR " `${flags}` must not be refused:\n ${answer}")
  endif()
elseif(result EQUAL 0)
  message(FATAL_ERROR " `${flags}` is not refused")
elseif(NOT answer MATCHES "fathom: [^\n]* removes the guard against NaN; add -fno-fast-math behind it")
  message(FATAL_ERROR " `${flags}`: the message is another one:\n ${answer}")
endif()
