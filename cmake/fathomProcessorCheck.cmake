# SPDX-License-Identifier: Apache-2.0
#[=[
A program that says so when it is started on a processor without the instructions that it was compiled for, and exits
non-zero instead of crashing:

  fathom_check_processor(my-program)

Two files are added to it: one that is compiled as the program is and holds a constant, what the program needs; one that
is compiled for every processor and compares before anything else of the program runs.
]=]
function(fathom_check_processor program)
  set(folder ${CMAKE_CURRENT_FUNCTION_LIST_DIR})
  target_sources(${program} PRIVATE ${folder}/processor_needs.cpp ${folder}/processor_check.cpp)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")  # of two -march the last one counts, and this is the last one
    set_source_files_properties(${folder}/processor_check.cpp TARGET_DIRECTORY ${program}
                                PROPERTIES COMPILE_OPTIONS -march=x86-64)
  endif()
endfunction()
