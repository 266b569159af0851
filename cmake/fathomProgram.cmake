# SPDX-License-Identifier: Apache-2.0
# What the functions have in common that make a program for a model: fathom_add_language_model, fathom_add_translator.
# They parse their arguments into MODEL_<argument>, and are the `caller` that messages name.
include(${CMAKE_CURRENT_LIST_DIR}/fathomProcessorCheck.cmake)

# Ends unless all arguments are known, the required ones are there, and sizes are numbers that can be.
macro(_fathom_check_arguments caller)
  cmake_parse_arguments(CHECK "" "" "REQUIRED;SIZES" ${ARGN})
  if(MODEL_UNPARSED_ARGUMENTS OR MODEL_KEYWORDS_MISSING_VALUES)
    message(FATAL_ERROR "${caller}: unknown or without a value: "
                        "${MODEL_UNPARSED_ARGUMENTS} ${MODEL_KEYWORDS_MISSING_VALUES}")
  endif()
  foreach(argument IN LISTS CHECK_REQUIRED)
    if(NOT DEFINED MODEL_${argument})
      message(FATAL_ERROR "${caller}: ${argument} is missing")
    endif()
  endforeach()
  foreach(size IN LISTS CHECK_SIZES)
    if(DEFINED MODEL_${size} AND NOT MODEL_${size} MATCHES "^[1-9][0-9]*$")
      message(FATAL_ERROR "${caller}: ${size} is a whole number above 0, not ${MODEL_${size}}")
    endif()
    if(DEFINED MODEL_${size} AND MODEL_${size} GREATER 16777216)
      message(FATAL_ERROR "${caller}: ${size} is at most 16777216, not ${MODEL_${size}}")
    endif()
  endforeach()
endmacro()

# NAME=value …: what an argument is unless it is given.
macro(_fathom_defaults)
  foreach(default IN ITEMS ${ARGN})
    string(REGEX MATCH "^(.*)=(.*)$" matched ${default})
    if(NOT DEFINED MODEL_${CMAKE_MATCH_1})
      set(MODEL_${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
    endif()
  endforeach()
endmacro()

# Ends unless the argument, where it is given, is one of the values, which are parted by |.
macro(_fathom_check_choice caller argument values)
  if(DEFINED MODEL_${argument} AND NOT MODEL_${argument} MATCHES "^(${values})$")
    message(FATAL_ERROR "${caller}: ${argument} is ${values}, not ${MODEL_${argument}}")
  endif()
endmacro()

# Ends unless heads divide the width, and rotary positions its part of each of them.
macro(_fathom_check_heads caller)
  foreach(pair IN ITEMS "WIDTH;HEADS" "HEADS;KV_HEADS")
    list(GET pair 0 whole)
    list(GET pair 1 part)
    math(EXPR rest "${MODEL_${whole}} % ${MODEL_${part}}")
    if(NOT rest EQUAL 0)
      message(FATAL_ERROR "${caller}: ${whole} ${MODEL_${whole}} is no multiple of ${part} ${MODEL_${part}}")
    endif()
  endforeach()
  math(EXPR head_width "${MODEL_WIDTH} / ${MODEL_HEADS}")
  math(EXPR rest "${head_width} % 2")
  if(MODEL_POSITIONS STREQUAL "Rotary" AND NOT rest EQUAL 0)
    message(FATAL_ERROR "${caller}: POSITIONS Rotary turns pairs, so WIDTH / HEADS is even, not ${head_width}")
  endif()
endmacro()

# Sets MODEL_STACK_OPTION from RECOMPUTE.
macro(_fathom_stack_option caller)
  if(NOT DEFINED MODEL_RECOMPUTE)
    set(MODEL_STACK_OPTION "")
  elseif(MODEL_RECOMPUTE STREQUAL "Sqrt")
    set(MODEL_STACK_OPTION ", RecomputeSqrt")
  elseif(MODEL_RECOMPUTE MATCHES "^[1-9][0-9]*$")
    set(MODEL_STACK_OPTION ", Recompute<${MODEL_RECOMPUTE}>")
  else()
    message(FATAL_ERROR "${caller}: RECOMPUTE is a number of layers above 0 or Sqrt, not ${MODEL_RECOMPUTE}")
  endif()
endmacro()

# Sets MODEL_ATTENTION_OPTION from POSITIONS.
macro(_fathom_attention_option)
  set(MODEL_ATTENTION_OPTION "")
  if(MODEL_POSITIONS STREQUAL "Rotary")  # in attention instead of on the embedding
    set(MODEL_ATTENTION_OPTION ", Rotary<>")
    set(MODEL_POSITIONS No)
  elseif(MODEL_POSITIONS STREQUAL "Relative")
    set(MODEL_ATTENTION_OPTION ", RelativePositions<>")
    set(MODEL_POSITIONS No)
  endif()
endmacro()

# Sets plain_policies to those that C++ calls by the same name, whatever the depth.
macro(_fathom_plain_policies)
  set(plain_policies PreNorm PostNorm PostNormInit ReZero ReZeroPerLayer Admin AdminOfUnitInput DsInit DsInitOfVariance TFixup
                     LayerScale SandwichNorm GlmNorm BottomToTop NormFormer NormFormerWithScale)
endmacro()

# Sets `variable` to a policy of policies.hpp in C++, or to nothing: MODEL_RESIDUAL as one of `names`, which are followed by
# what C++ calls each.
macro(_fathom_find_policy variable)
  set(${variable} "")
  _fathom_plain_policies()
  list(FIND plain_policies "${MODEL_RESIDUAL}" place)
  if(NOT place EQUAL -1)
    set(${variable} "${MODEL_RESIDUAL}")
  endif()
  set(names ${ARGN})
  list(FIND names "${MODEL_RESIDUAL}" place)
  if(NOT place EQUAL -1)
    math(EXPR place "${place} + 1")
    list(GET names ${place} ${variable})
  endif()
endmacro()

# Ends: RESIDUAL is none of the policies; `example` is one with constants.
macro(_fathom_refuse_policy caller example)
  _fathom_plain_policies()
  list(JOIN plain_policies ", " names)
  message(FATAL_ERROR "${caller}: RESIDUAL is DeepNorm, AdminClosedForm, Fixup, SubNorm, Dlcl, DlclPost, MixNorm, Keel, ${names}, or one with "
                      "constants such as \"${example}\", not ${MODEL_RESIDUAL}")
endmacro()

# Sets MODEL_RESIDUAL to the policy of the blocks, where RESIDUAL names a stack of its own, and MODEL_STACK to that stack.
macro(_fathom_stack_of_residual)
  set(MODEL_STACK "")
  if(MODEL_RESIDUAL MATCHES "^(Dlcl|DlclPost|MixNorm|Keel)$")
    set(MODEL_STACK ${MODEL_RESIDUAL})
    set(MODEL_RESIDUAL PreNorm)
    if(MODEL_STACK STREQUAL "DlclPost")
      set(MODEL_RESIDUAL PostNorm)
    endif()
  endif()
endmacro()

# Sets `variable` to a stack in C++, of `size` layers, which C++ calls `layers`, of a template of blocks.
# Ends where a stack that has layers of two kinds has too few.
macro(_fathom_stack caller variable size layers block policy)
  if((MODEL_STACK STREQUAL "MixNorm" AND ${size} LESS 4) OR (MODEL_STACK STREQUAL "Keel" AND ${size} LESS 2))
    message(FATAL_ERROR "${caller}: RESIDUAL MixNorm is for 4 layers at least, and Keel for 2, not ${size}")
  elseif(MODEL_STACK STREQUAL "MixNorm")
    set(${variable} "MixNormStack<${layers}, ${block}, ${layers} / 4${MODEL_STACK_OPTION}>")
  elseif(MODEL_STACK STREQUAL "Keel")
    set(${variable} "KeelStack<${layers}, ${block}${MODEL_STACK_OPTION}>")
  elseif(MODEL_STACK)
    set(${variable} "${MODEL_STACK}<${layers}, ${block}<${policy}>${MODEL_STACK_OPTION}>")
  else()
    set(${variable} "Repeat<${layers}, ${block}<${policy}>${MODEL_STACK_OPTION}>")
  endif()
endmacro()

# Ends with the compiler's words unless `policy`, written in C++, is a residual policy with which `code` compiles;
# `depths` says for people how deep the stacks of `code` are.
function(_fathom_check_policy caller policy depths code)
  string(MD5 key "${policy} ${depths}")
  if(FATHOM_POLICY_${key})
    return()
  endif()
  get_target_property(include fathom::fathom INTERFACE_INCLUDE_DIRECTORIES)
  string(REGEX REPLACE "\\$<BUILD_INTERFACE:([^>]*)>" "\\1" include "${include}")
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
  try_compile(compiles SOURCE_FROM_CONTENT policy.cpp "${code}"
              CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${include}" COMPILE_DEFINITIONS -fno-fast-math
              CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON OUTPUT_VARIABLE answer NO_CACHE)
  if(NOT compiles)
    string(REGEX MATCH "error: [^\n]*" error "${answer}")
    message(FATAL_ERROR "${caller}: RESIDUAL ${policy} does not compile with ${depths}: ${error}")
  endif()
  set(FATHOM_POLICY_${key} ON CACHE INTERNAL "RESIDUAL ${policy} compiles with ${depths}")
endfunction()

# Makes the program MODEL_NAME from a template that names the others.
macro(_fathom_add_program caller template)
  if(MODEL_BLAS AND MODEL_COMPILED)
    message(FATAL_ERROR "${caller}: the library of COMPILED multiplies as it was built to; leave out BLAS or COMPILED")
  endif()
  set(MODEL_BACKENDS "Cpu<${MODEL_PRECISION}>")
  if(MODEL_CUDA)
    if(NOT TARGET fathom::cuda)
      message(FATAL_ERROR "${caller}: CUDA needs the target fathom::cuda: set FATHOM_CUDA, or find_package(fathom COMPONENTS cuda)")
    endif()
    string(APPEND MODEL_BACKENDS ", Cuda<${MODEL_PRECISION}>")
  endif()
  find_package(CLI11 QUIET)
  if(NOT CLI11_FOUND)
    message(FATAL_ERROR "${caller}: its command line needs CLI11: install libcli11-dev")
  endif()
  if(NOT TARGET nlohmann_json::nlohmann_json)
    message(FATAL_ERROR "${caller}: its checkpoints need nlohmann-json: install nlohmann-json3-dev")
  endif()
  set(source ${CMAKE_CURRENT_BINARY_DIR}/${MODEL_NAME}.cpp)
  configure_file(${CMAKE_CURRENT_FUNCTION_LIST_DIR}/${template} ${source} @ONLY)
  add_executable(${MODEL_NAME} ${source})
  set(system SYSTEM)  # the warnings that another project asks for are about its own code
  if(TARGET fathom_dev)
    set(system "")
  endif()
  target_include_directories(${MODEL_NAME} ${system} PRIVATE ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../examples)
  target_link_libraries(${MODEL_NAME} PRIVATE fathom::fathom CLI11::CLI11)
  if(MODEL_COMPILED)
    target_link_libraries(${MODEL_NAME} PRIVATE fathom::compiled)
  endif()
  if(MODEL_CUDA)
    target_link_libraries(${MODEL_NAME} PRIVATE fathom::cuda)
  endif()
  if(MODEL_BLAS)
    find_package(BLAS REQUIRED)
    target_link_libraries(${MODEL_NAME} PRIVATE BLAS::BLAS)
    target_compile_definitions(${MODEL_NAME} PRIVATE FATHOM_USE_BLAS)
  endif()
  set(level $<$<CONFIG:>:-O3>)  # a project without a build type
  if(MODEL_COMPILED)  # the library computes; what is left runs no faster for more than this, and compiles in half the time
    set(level $<$<NOT:$<CONFIG:Debug>>:-O1>)
  endif()
  target_compile_options(${MODEL_NAME} PRIVATE ${level} -fno-fast-math)  # whatever the project's flags say
  # Where there is the library, that says what it is for.
  if(NOT MODEL_COMPILED AND NOT CMAKE_CROSSCOMPILING AND (NOT DEFINED FATHOM_NATIVE OR FATHOM_NATIVE))
    target_compile_options(${MODEL_NAME} PRIVATE -march=native)
  endif()
  fathom_check_processor(${MODEL_NAME})
endmacro()
