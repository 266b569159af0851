# SPDX-License-Identifier: Apache-2.0
# How fathom builds its own tests, benchmarks and programs. Nothing in this file reaches a program that uses fathom.
option(FATHOM_TESTS "Build the tests" ON)
option(FATHOM_BENCHMARKS "Offer the benchmarks (target: benchmarks)" ON)
option(FATHOM_EXAMPLES "Build the example programs" ON)
option(FATHOM_BLAS "Multiply matrices with the BLAS that CMake finds" OFF)
option(FATHOM_CUDA "Build the CUDA backend with nvcc, and test it" OFF)
option(FATHOM_MIXED "Offer tests of deep models in mixed precision (target: precision_test)" OFF)
option(FATHOM_FAR "Offer tests on memory that only a backend can reach (target: far_tests)" OFF)
option(FATHOM_HEADER_ONLY "Build tests, benchmarks and programs without the library fathom::compiled" OFF)
option(FATHOM_NATIVE "Compile tests, benchmarks and programs for this machine's processor" ON)

if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set_property(CACHE CMAKE_BUILD_TYPE PROPERTY VALUE Release)
endif()
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_VERIFY_INTERFACE_HEADER_SETS ON)
set_target_properties(fathom PROPERTIES VERIFY_INTERFACE_HEADER_SETS ON)
# g++ collects its garbage when it holds a gigabyte, not 128 megabytes: a tenth of the time of a compile, and the same code.
add_compile_options("$<$<COMPILE_LANG_AND_ID:CXX,GNU>:--param=ggc-min-heapsize=1000000>")

# fathom_flags: how all is compiled. fathom_dev: and with the ops of the library.
add_library(fathom_flags INTERFACE)
target_link_libraries(fathom_flags INTERFACE fathom::fathom)
target_compile_options(fathom_flags INTERFACE
  -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion
  $<$<AND:$<BOOL:${FATHOM_NATIVE}>,$<NOT:$<BOOL:${CMAKE_CROSSCOMPILING}>>>:-march=native>
  $<$<CXX_COMPILER_ID:GNU>:-fconcepts-diagnostics-depth=2>
  # g++ 12 finds _mm512_undefined_pd() and its like undefined, which is their purpose (GCC bug 105593).
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>
  # clang sees that libstdc++'s stable_sort uses what it calls deprecated.
  $<$<CXX_COMPILER_ID:Clang>:-Wno-deprecated-declarations>)
add_library(fathom_dev INTERFACE)
target_link_libraries(fathom_dev INTERFACE fathom_flags)
if(NOT FATHOM_HEADER_ONLY)
  target_link_libraries(fathom_dev INTERFACE fathom::compiled)
  set(model_form COMPILED)  # of fathom_add_language_model
endif()

if(FATHOM_EXAMPLES)
  add_subdirectory(examples)
  add_subdirectory(experiments)
endif()
if(FATHOM_TESTS)
  find_package(Catch2 3 QUIET)
  if(Catch2_FOUND)
    enable_testing()
    add_subdirectory(tests)
  else()
    message(STATUS "fathom: Catch2 >= 3 is not there, so the tests are off (./cmake/bootstrap.sh deps installs it)")
  endif()
endif()
if(FATHOM_BENCHMARKS)
  find_package(benchmark QUIET)
  if(benchmark_FOUND)
    add_subdirectory(benchmarks)
  else()
    message(STATUS "fathom: Google Benchmark is not there, so the benchmarks are off (./cmake/bootstrap.sh deps)")
  endif()
endif()
