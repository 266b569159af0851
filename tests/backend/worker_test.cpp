// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/backend/worker.hpp>
#include <string_view>
#include <utility>

namespace worker_test {

using namespace fathom;

/// Whether a worker may move to rows that are packed by a `P`.
template <class P>
concept MayMoveTo = requires(Worker<Ref<float>>& worker) { worker.on(std::declval<P>()); };

TEST_CASE("a worker moves to rows whose packing outlives the move alone", "[worker]") {
  STATIC_CHECK(MayMoveTo<const Packing&>);
  STATIC_CHECK_FALSE(MayMoveTo<Packing>);
  STATIC_CHECK_FALSE(MayMoveTo<const PackedRows&>);  // would give a packing that is gone after the call
}

/// A backend whose lane counts how often it was to end what was put off.
struct Settling {
  using Precision = Uniform<float>;
  struct Lane {
    int settled = 0;
    void use(Arena&) {}
    void on(const Packing&) {}
    void enter(std::string_view, int) {}
    void leave() {}
    void settle() { ++settled; }
  };
};

TEST_CASE("frames and turns free what was taken in them; frames alone wait for it", "[worker]") {
  Settling::Lane lane;
  Arena workspace;
  const PackedRows rows = PackedRows::uniform(2, 3);
  const Packing packing = rows.view();
  Worker<Settling> worker(lane, workspace, packing, {});
  {
    const auto frame = worker.frame();
    worker.rows<float, 16>(1);
    for (int index = 0; index < 3; ++index) {
      const auto turn = worker.turn();
      CHECK(workspace.used() == 64);
      worker.rows<float, 16>(2);
    }
    CHECK(workspace.used() == 64);
    CHECK(lane.settled == 0);
  }
  CHECK(workspace.used() == 0);
  CHECK(workspace.peak() == 192);
  CHECK(lane.settled == 1);
}

}  // namespace worker_test
