# SPDX-License-Identifier: Apache-2.0
#[=[
A program that trains, evaluates, samples from and describes a decoder-only language model of your own size:

  fathom_add_language_model(
    NAME my-model LAYERS 200 WIDTH 256 HEADS 4 CONTEXT 256 RESIDUAL DeepNorm
    [VOCABULARY 256]          # the program reads bytes, so there is no other
    [FEED_FORWARD 1024]       # 4 * WIDTH unless given
    [KV_HEADS 4]              # fewer than HEADS: grouped-query attention
    [POSITIONS Learned]       # Learned, Sinusoidal or Rotary
    [EMBEDDING Scaled]        # Scaled by sqrt(WIDTH), as the paper's toolkit does, or Plain, as GPT-2
    [OUTPUT Separate]         # Separate: a matrix of its own, or Tied: the embedding's once more
    [LOGITS Scaled]           # Scaled by one learned factor, or Plain; unless given, Scaled where the output is tied and
                              # RESIDUAL has a post-norm
    [DECAYED_EMBEDDING]       # weight decay shrinks the embedding too, as in nanoGPT
    [NORM LayerNorm]          # LayerNorm or RmsNorm
    [ACTIVATION Gelu]         # Relu, Gelu, GeluTanh, SwiGlu, GeGlu or ReGlu
    [RECOMPUTE Sqrt]          # activations are computed again instead of kept, so many layers at a time, or sqrt(LAYERS)
    [COMPILED]                # link to fathom::compiled, which compiles in less time
    [BLAS])                   # multiply matrices with the BLAS that CMake finds

RESIDUAL is DeepNorm, with alpha and beta for LAYERS, PreNorm, PostNorm, PostNormInit, ReZero, Admin, or one of them with
constants of your own as C++ spells it inside `namespace fathom`: "DeepNorm<3.5, 0.2>", "Unchecked<DeepNorm<2.0>>". What
would not compile is refused when CMake configures.

The model is a type, so each size is a program of its own; its depth costs no compile time. It is compiled for this
machine's processor unless FATHOM_NATIVE is set and OFF. `my-model --help` tells the rest.
]=]
include(${CMAKE_CURRENT_LIST_DIR}/fathomProcessorCheck.cmake)

# Ends with the compiler's words unless `policy`, written in C++, is a residual policy that suits a stack of `layers`.
function(_fathom_check_policy policy layers)
  string(MD5 key "${policy} ${layers}")
  if(FATHOM_POLICY_${key})
    return()
  endif()
  get_target_property(include fathom::fathom INTERFACE_INCLUDE_DIRECTORIES)
  string(REGEX REPLACE "\\$<BUILD_INTERFACE:([^>]*)>" "\\1" include "${include}")
  set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
  try_compile(compiles SOURCE_FROM_CONTENT policy.cpp "
#include <fathom/models/language_model.hpp>
namespace fathom {
constexpr int layers = ${layers};
using Stack = Repeat<layers, Residual<${policy}, FeedForward<8, 8>>>;
static_assert(LanguageModel<Vocabulary<256>, ContextLength<8>, Stack>::width == 8);
}
"           CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${include}" COMPILE_DEFINITIONS -fno-fast-math
            CXX_STANDARD 20 CXX_STANDARD_REQUIRED ON OUTPUT_VARIABLE answer NO_CACHE)
  if(NOT compiles)
    string(REGEX MATCH "error: [^\n]*" error "${answer}")
    message(FATAL_ERROR "fathom_add_language_model: RESIDUAL ${policy} does not compile with LAYERS ${layers}: ${error}")
  endif()
  set(FATHOM_POLICY_${key} ON CACHE INTERNAL "RESIDUAL ${policy} compiles with LAYERS ${layers}")
endfunction()

function(fathom_add_language_model)
  set(sizes LAYERS WIDTH HEADS CONTEXT)
  set(optional_sizes VOCABULARY FEED_FORWARD KV_HEADS)
  set(choices POSITIONS EMBEDDING OUTPUT LOGITS NORM ACTIVATION)
  set(choice_values "Learned|Sinusoidal|Rotary" "Scaled|Plain" "Separate|Tied" "Scaled|Plain" "LayerNorm|RmsNorm"
                    "Relu|Gelu|GeluTanh|SwiGlu|GeGlu|ReGlu")
  cmake_parse_arguments(PARSE_ARGV 0 MODEL "BLAS;COMPILED;DECAYED_EMBEDDING"
                        "NAME;RESIDUAL;RECOMPUTE;${choices};${sizes};${optional_sizes}" "")
  if(MODEL_UNPARSED_ARGUMENTS OR MODEL_KEYWORDS_MISSING_VALUES)
    message(FATAL_ERROR "fathom_add_language_model: unknown or without a value: "
                        "${MODEL_UNPARSED_ARGUMENTS} ${MODEL_KEYWORDS_MISSING_VALUES}")
  endif()
  foreach(argument IN ITEMS NAME RESIDUAL ${sizes})
    if(NOT DEFINED MODEL_${argument})
      message(FATAL_ERROR "fathom_add_language_model: ${argument} is missing")
    endif()
  endforeach()
  foreach(size IN LISTS sizes optional_sizes)
    if(DEFINED MODEL_${size} AND NOT MODEL_${size} MATCHES "^[1-9][0-9]*$")
      message(FATAL_ERROR "fathom_add_language_model: ${size} is a whole number above 0, not ${MODEL_${size}}")
    endif()
    if(DEFINED MODEL_${size} AND MODEL_${size} GREATER 16777216)
      message(FATAL_ERROR "fathom_add_language_model: ${size} is at most 16777216, not ${MODEL_${size}}")
    endif()
  endforeach()
  if(NOT DEFINED MODEL_FEED_FORWARD)
    math(EXPR MODEL_FEED_FORWARD "4 * ${MODEL_WIDTH}")
  endif()
  foreach(default IN ITEMS VOCABULARY=256 KV_HEADS=${MODEL_HEADS} POSITIONS=Learned EMBEDDING=Scaled OUTPUT=Separate
                           NORM=LayerNorm ACTIVATION=Gelu)
    string(REGEX MATCH "^(.*)=(.*)$" matched ${default})
    if(NOT DEFINED MODEL_${CMAKE_MATCH_1})
      set(MODEL_${CMAKE_MATCH_1} ${CMAKE_MATCH_2})
    endif()
  endforeach()
  foreach(argument values IN ZIP_LISTS choices choice_values)
    if(DEFINED MODEL_${argument} AND NOT MODEL_${argument} MATCHES "^(${values})$")
      message(FATAL_ERROR "fathom_add_language_model: ${argument} is ${values}, not ${MODEL_${argument}}")
    endif()
  endforeach()
  foreach(pair IN ITEMS "WIDTH;HEADS" "HEADS;KV_HEADS")
    list(GET pair 0 whole)
    list(GET pair 1 part)
    math(EXPR rest "${MODEL_${whole}} % ${MODEL_${part}}")
    if(NOT rest EQUAL 0)
      message(FATAL_ERROR "fathom_add_language_model: ${whole} ${MODEL_${whole}} is no multiple of ${part} ${MODEL_${part}}")
    endif()
  endforeach()
  if(NOT MODEL_VOCABULARY EQUAL 256)
    message(FATAL_ERROR "fathom_add_language_model: VOCABULARY is 256, because the program reads bytes, not "
                        "${MODEL_VOCABULARY}")
  endif()
  math(EXPR head_width "${MODEL_WIDTH} / ${MODEL_HEADS}")
  math(EXPR rest "${head_width} % 2")
  if(MODEL_POSITIONS STREQUAL "Rotary" AND NOT rest EQUAL 0)
    message(FATAL_ERROR "fathom_add_language_model: POSITIONS Rotary turns pairs, so WIDTH / HEADS is even, not "
                        "${head_width}")
  endif()
  if(MODEL_RESIDUAL STREQUAL "DeepNorm")
    set(MODEL_RESIDUAL "DeepNorm<deepnorm::decoder_only(layers).alpha>")
  elseif(MODEL_RESIDUAL MATCHES "[<:]")
    _fathom_check_policy("${MODEL_RESIDUAL}" ${MODEL_LAYERS})
  elseif(NOT MODEL_RESIDUAL MATCHES "^(PreNorm|PostNorm|PostNormInit|ReZero|Admin)$")
    message(FATAL_ERROR "fathom_add_language_model: RESIDUAL is DeepNorm, PreNorm, PostNorm, PostNormInit, ReZero, Admin, "
                        "or one with constants such as \"DeepNorm<3.5, 0.2>\", not ${MODEL_RESIDUAL}")
  endif()
  if(NOT DEFINED MODEL_RECOMPUTE)
    set(MODEL_STACK_OPTION "")
  elseif(MODEL_RECOMPUTE STREQUAL "Sqrt")
    set(MODEL_STACK_OPTION ", RecomputeSqrt")
  elseif(MODEL_RECOMPUTE MATCHES "^[1-9][0-9]*$")
    set(MODEL_STACK_OPTION ", Recompute<${MODEL_RECOMPUTE}>")
  else()
    message(FATAL_ERROR "fathom_add_language_model: RECOMPUTE is a number of layers above 0 or Sqrt, not ${MODEL_RECOMPUTE}")
  endif()
  set(MODEL_OPTIONS "")  # without a default here: the model has one
  if(DEFINED MODEL_LOGITS)
    string(APPEND MODEL_OPTIONS ", ${MODEL_LOGITS}Logits")
  endif()
  if(MODEL_DECAYED_EMBEDDING)
    string(APPEND MODEL_OPTIONS ", DecayedEmbedding")
  endif()
  set(MODEL_ATTENTION_OPTION "")
  if(MODEL_POSITIONS STREQUAL "Rotary")  # in attention instead of on the embedding
    set(MODEL_ATTENTION_OPTION ", Rotary<>")
    set(MODEL_POSITIONS No)
  endif()

  if(MODEL_BLAS AND MODEL_COMPILED)
    message(FATAL_ERROR "fathom_add_language_model: the library of COMPILED multiplies as it was built to; leave out "
                        "BLAS or COMPILED")
  endif()
  find_package(CLI11 QUIET)
  if(NOT CLI11_FOUND)
    message(FATAL_ERROR "fathom_add_language_model: its command line needs CLI11: install libcli11-dev")
  endif()
  if(NOT TARGET nlohmann_json::nlohmann_json)
    message(FATAL_ERROR "fathom_add_language_model: its checkpoints need nlohmann-json: install nlohmann-json3-dev")
  endif()
  set(source ${CMAKE_CURRENT_BINARY_DIR}/${MODEL_NAME}.cpp)
  configure_file(${CMAKE_CURRENT_FUNCTION_LIST_DIR}/language_model.cpp.in ${source} @ONLY)
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
  if(MODEL_BLAS)
    find_package(BLAS REQUIRED)
    target_link_libraries(${MODEL_NAME} PRIVATE BLAS::BLAS)
    target_compile_definitions(${MODEL_NAME} PRIVATE FATHOM_USE_BLAS)
  endif()
  target_compile_options(${MODEL_NAME} PRIVATE $<$<CONFIG:>:-O3>  # a project without a build type
                                               -fno-fast-math)    # whatever the project's flags say
  # Where there is the library, that says what it is for.
  if(NOT MODEL_COMPILED AND NOT CMAKE_CROSSCOMPILING AND (NOT DEFINED FATHOM_NATIVE OR FATHOM_NATIVE))
    target_compile_options(${MODEL_NAME} PRIVATE -march=native)
  endif()
  fathom_check_processor(${MODEL_NAME})
endfunction()
