# SPDX-License-Identifier: Apache-2.0
#[=[
fathom::translation: fathom, and what programs need beside it that read parallel corpora: zlib for files that are packed
by gzip, sentencepiece for subwords. Headers that need one of them are not in <fathom/fathom.hpp>: they are included by
name. What is missing is said, and left out; fathom_HAS_SUBWORDS is whether sentencepiece is there.
]=]
include(CheckCXXSourceCompiles)
include(CMakePushCheckState)

find_package(ZLIB QUIET GLOBAL)
if(NOT TARGET ZLIB::ZLIB)
  message(STATUS "fathom: zlib is not there, so files packed by gzip cannot be read (zlib1g-dev has it)")
endif()

find_path(fathom_SENTENCEPIECE_INCLUDE sentencepiece_trainer.h)
find_library(fathom_SENTENCEPIECE_LIBRARY sentencepiece)
find_library(fathom_SENTENCEPIECE_TRAINER sentencepiece_train)
mark_as_advanced(fathom_SENTENCEPIECE_INCLUDE fathom_SENTENCEPIECE_LIBRARY fathom_SENTENCEPIECE_TRAINER)
set(fathom_HAS_SUBWORDS OFF)
if(fathom_SENTENCEPIECE_INCLUDE AND fathom_SENTENCEPIECE_LIBRARY AND fathom_SENTENCEPIECE_TRAINER)
  # Its functions take containers of the standard library, which must be the one that it was built with.
  cmake_push_check_state(RESET)
  set(CMAKE_REQUIRED_QUIET ON)
  set(CMAKE_REQUIRED_INCLUDES ${fathom_SENTENCEPIECE_INCLUDE})
  set(CMAKE_REQUIRED_LIBRARIES ${fathom_SENTENCEPIECE_TRAINER} ${fathom_SENTENCEPIECE_LIBRARY})
  set(CMAKE_REQUIRED_FLAGS ${CMAKE_CXX17_STANDARD_COMPILE_OPTION})
  check_cxx_source_compiles("
    #include <sentencepiece_trainer.h>
    int main() {
      const std::unordered_map<std::string, std::string> arguments;
      return sentencepiece::SentencePieceTrainer::Train(arguments).ok();
    }" fathom_SENTENCEPIECE_LINKS)
  cmake_pop_check_state()
  if(fathom_SENTENCEPIECE_LINKS)
    set(fathom_HAS_SUBWORDS ON)
  else()
    message(STATUS "fathom: sentencepiece was built with another standard library, so subwords are left out")
  endif()
else()
  message(STATUS "fathom: sentencepiece is not there, so subwords are left out (libsentencepiece-dev has it)")
endif()

if(NOT TARGET fathom::translation)
  add_library(fathom::translation INTERFACE IMPORTED GLOBAL)
  target_link_libraries(fathom::translation INTERFACE fathom::fathom $<TARGET_NAME_IF_EXISTS:ZLIB::ZLIB>)
  if(fathom_HAS_SUBWORDS)
    target_include_directories(fathom::translation INTERFACE ${fathom_SENTENCEPIECE_INCLUDE})
    target_link_libraries(fathom::translation INTERFACE ${fathom_SENTENCEPIECE_TRAINER} ${fathom_SENTENCEPIECE_LIBRARY})
  endif()
endif()
