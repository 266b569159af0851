# SPDX-License-Identifier: Apache-2.0
# cmake -D compiler=… -D include=… -D one=flags -D other=flags -P link.cmake: passes when define.cpp compiled with `one`
# and use.cpp compiled with `other` do not link, because the second asks for a symbol that the first does not have.
set(ENV{LC_ALL} C)
string(MAKE_C_IDENTIFIER "objects${one}${other}" folder)
file(MAKE_DIRECTORY ${folder})
function(compile name flags)
  execute_process(COMMAND ${compiler} -std=c++20 ${flags} -I${include} -c ${CMAKE_CURRENT_LIST_DIR}/${name}.cpp
                          -o ${folder}/${name}.o
                  COMMAND_ERROR_IS_FATAL ANY)
endfunction()
compile(define "${one}")
compile(use "${other}")
execute_process(COMMAND ${compiler} ${folder}/define.o ${folder}/use.o -o ${folder}/program
                RESULT_VARIABLE result OUTPUT_VARIABLE answer ERROR_VARIABLE answer)
if(result EQUAL 0)
  message(FATAL_ERROR " `${one}` and `${other}`: they linked, and must not")
endif()
if(NOT answer MATCHES "undefined (reference|symbol)[^\n]*runs_on\\(fathom::v[^:]*::cpu::[^:]*::Cpu<")
  message(FATAL_ERROR " `${one}` and `${other}`: the linker did not miss runs_on:\n ${answer}")
endif()
