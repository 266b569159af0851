// SPDX-License-Identifier: Apache-2.0
#include "fathom/core/thread.hpp"

#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <utility>

namespace thread_test {

using fathom::Thread;

TEST_CASE("A thread's owner waits for it where it ends, is replaced, or is asked", "[threads]") {
  std::atomic<int> done{0};
  const auto work = [&] {
    std::this_thread::yield();
    ++done;
  };
  {
    const Thread thread(work);
    REQUIRE(thread.joinable());
  }
  REQUIRE(done == 1);

  Thread thread(work);
  thread = Thread(work);
  REQUIRE(done >= 2);
  thread.join();
  REQUIRE(done == 3);
  REQUIRE_FALSE(thread.joinable());
  thread.join();  // there is none

  Thread first(work);
  Thread second(std::move(first));
  REQUIRE_FALSE(first.joinable());
  REQUIRE(second.joinable());
  second.join();
  REQUIRE(done == 4);
}

}  // namespace thread_test
