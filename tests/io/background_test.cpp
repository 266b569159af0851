// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/core/error.hpp>
#include <fathom/io/background.hpp>
#include <support/no_threads.hpp>
#include <support/temporary_directory.hpp>
#include <thread>

namespace background_test {

using namespace fathom;
using namespace fathom_test;

TEST_CASE("work is done beside the caller, and its error told once", "[background][threads]") {
  Background background;
  std::thread::id worker;
  background.start([&] { worker = std::this_thread::get_id(); });
  background.wait();
  CHECK(worker != std::thread::id{});
  CHECK(worker != std::this_thread::get_id());
  background.start([] { throw Error("no"); });
  CHECK(message_of<Error>([&] { background.wait(); }) == "no");
  CHECK_NOTHROW(background.check());
}

TEST_CASE("work is done by the caller where no thread can be started", "[background][threads]") {
  const NoThreads none;
  Background background;
  std::thread::id worker;
  background.start([&] { worker = std::this_thread::get_id(); });
  CHECK(worker == std::this_thread::get_id());
  CHECK_NOTHROW(background.wait());
  CHECK_NOTHROW(background.start([] { throw Error("no"); }));
  CHECK(message_of<Error>([&] { background.check(); }) == "no");
}

}  // namespace background_test
