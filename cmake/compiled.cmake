# SPDX-License-Identifier: Apache-2.0
# fathom::compiled, a library that holds the ops of the usual backends: Cpu of Single, Double and Mixed, Ref of float and
# double.
# What links to it compiles in less time than with fathom::fathom, and computes the same bits. Both are for one processor,
# this machine's unless FATHOM_NATIVE is set and OFF, and the library is optimized whatever the build type of the project.
file(GLOB sources CONFIGURE_DEPENDS src/*.cpp)
add_library(fathom_compiled STATIC ${sources})
add_library(fathom::compiled ALIAS fathom_compiled)
set_target_properties(fathom_compiled PROPERTIES EXPORT_NAME compiled CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
target_link_libraries(fathom_compiled PUBLIC fathom)
target_compile_definitions(fathom_compiled PUBLIC FATHOM_COMPILED)
set(level -O3)
if(CMAKE_CXX_FLAGS MATCHES "-fsanitize")  # with a sanitizer's checks this takes a third of the time to compile
  set(level -O1)
endif()
target_compile_options(fathom_compiled PRIVATE $<$<OR:$<CONFIG:>,$<CONFIG:Debug>>:${level}> -fno-fast-math)
if((NOT DEFINED FATHOM_NATIVE OR FATHOM_NATIVE) AND NOT CMAKE_CROSSCOMPILING)
  target_compile_options(fathom_compiled PUBLIC -march=native)
endif()
if(CMAKE_SYSTEM_NAME STREQUAL Linux)  # a program is not larger for ops that it does not run
  target_link_options(fathom_compiled INTERFACE -Wl,--gc-sections)
endif()
if(NOT PROJECT_IS_TOP_LEVEL)
  set_target_properties(fathom_compiled PROPERTIES EXCLUDE_FROM_ALL ON)
endif()
