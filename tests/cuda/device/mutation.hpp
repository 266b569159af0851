// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <set>
#include <string>

namespace emulated {

/// One mistake of the kinds that a backend makes, made for it here: what tests of it must notice.
struct Mutation {
  enum class Kind {
    none,
    barrier,            ///< the barrier `place` of a kernel lets everyone pass
    leading_dimension,  ///< of A of a product: one less
    transpose,          ///< of A of a product: the other
    beta,               ///< of a product: 0 where it is something, and C too
    wait,               ///< for a copy to the host: cudaStreamSynchronize returns at once
    ragged_offset,      ///< of a sequence in cuDNN's attention: in rows instead of elements
  };
  Kind kind = Kind::none;
  std::int64_t at = 0;                ///< the how manieth such thing, from 0
  std::string place = {};             ///< of a barrier; see `places`
  std::int64_t met = 0;               ///< such things so far
  bool awaited = false;               ///< a copy to the host is on its way
  std::set<std::string> places = {};  ///< barriers that were met: "kernel, file:line"

  /// Whether this one thing is to go wrong.
  bool hits(Kind which) { return kind == which && met++ == at; }
  bool hits_barrier(const std::string& where) {
    places.insert(where);
    if (where != place) return false;
    ++met;
    return true;
  }
};

/// The one that is in force. Set anew by each test, and by `Mutation{}` ended.
inline Mutation& mutation() {
  static Mutation mutation;
  return mutation;
}

}  // namespace emulated
