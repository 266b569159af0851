// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/backend/worker.hpp>
#include <utility>

namespace {
using namespace fathom;

/// Whether a worker may move to rows that are packed by a `P`.
template <class P>
concept MayMoveTo = requires(Worker<Ref<float>>& worker) { worker.on(std::declval<P>()); };

TEST_CASE("a worker moves to rows whose packing outlives the move alone", "[worker]") {
  STATIC_CHECK(MayMoveTo<const Packing&>);
  STATIC_CHECK_FALSE(MayMoveTo<Packing>);
  STATIC_CHECK_FALSE(MayMoveTo<const PackedRows&>);  // would give a packing that is gone after the call
}

}  // namespace
