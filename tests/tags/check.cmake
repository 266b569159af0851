# SPDX-License-Identifier: Apache-2.0
# cmake -D ctags=… -P check.cmake, in the project's root: passes when each class at namespace level has its tag, and some functions.
execute_process(COMMAND ${ctags} -R -f - include OUTPUT_VARIABLE tags COMMAND_ERROR_IS_FATAL ANY)
string(REPLACE "[" "(" tags "${tags}")  # a bracket would hide the ends of lines from lists
string(REPLACE ";" "" tags "${tags}")

foreach(tag IN ITEMS "Trainer\tinclude/fathom/train/trainer.hpp\t[^\n]*\tnamespace:fathom\n"
                     "Linear\tinclude/fathom/layers/linear.hpp\t[^\n]*\tnamespace:fathom\n"
                     "LinearForward\tinclude/fathom/backend/ops/linear.hpp\t[^\n]*\tnamespace:fathom::op\n"
                     "Cpu\tinclude/fathom/backend/cpu/cpu.hpp\t[^\n]*\tnamespace:fathom::cpu\n"
                     "Windows\tinclude/fathom/text/windows.hpp\t[^\n]*\tnamespace:fathom::text\n"
                     "Axis\tinclude/fathom/report/plot.hpp\t[^\n]*\tnamespace:fathom::detail::plotting\n"
                     "forward\tinclude/fathom/layers/attention.hpp\t[^\n]*\tnamespace:fathom\n"
                     "backward\tinclude/fathom/layers/attention.hpp\t[^\n]*\tnamespace:fathom\n")
  if(NOT tags MATCHES "(^|\n)${tag}")
    message(SEND_ERROR " no tag is `${tag}`")
  endif()
endforeach()

file(GLOB_RECURSE headers RELATIVE ${CMAKE_CURRENT_SOURCE_DIR} include/*.hpp)
foreach(header IN LISTS headers)
  file(STRINGS ${header} lines REGEX "^(class|struct) [^;]*{$")
  list(FILTER lines EXCLUDE REGEX " std::")  # a specialization belongs to its template
  foreach(line IN LISTS lines)
    string(REGEX MATCH "^(class|struct) (alignas.[0-9]+. )?([A-Za-z_0-9]+)" matched "${line}")
    if(NOT tags MATCHES "(^|\n)${CMAKE_MATCH_3}\t${header}\t")
      message(SEND_ERROR " ${header}: no tag for `${line}`")
    endif()
  endforeach()
endforeach()
