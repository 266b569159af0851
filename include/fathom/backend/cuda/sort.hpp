// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cstddef>
#include <deque>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/core/config.hpp>
#include <span>
#include <utility>

struct CUstream_st;

namespace fathom::inline FATHOM_ABI::cuda {

/// Memory that Thrust asks for while it sorts; kept for the next time.
class SortMemory {
 public:
  using value_type = char;

  char* allocate(std::ptrdiff_t bytes) {
    for (Piece& piece : pieces_)
      if (piece.free && piece.memory.size() >= bytes) return taken(piece);
    return taken(pieces_.emplace_back(Piece{DeviceBuffer<char>(std::max<std::ptrdiff_t>(bytes, 1)), true}));
  }
  void deallocate(char* memory, std::size_t) {
    for (Piece& piece : pieces_)
      if (piece.memory.data() == memory) piece.free = true;
  }

 private:
  struct Piece {
    DeviceBuffer<char> memory;
    bool free;
  };
  static char* taken(Piece& piece) {
    piece.free = false;
    return piece.memory.data();
  }

  std::deque<Piece> pieces_;
};

/// Tokens in ascending order, and the places that they came from; equal ones in their order. Defined where kernels are
/// launched, by Thrust. Not to be called while a graph is captured: it waits.
void sort_tokens(CUstream_st* stream, SortMemory& memory, std::span<const int> tokens, int* sorted, int* order);

}  // namespace fathom::inline FATHOM_ABI::cuda
