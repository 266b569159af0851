// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers.hpp>
#include <chrono>
#include <fathom/backend/cpu/team.hpp>
#include <fstream>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include "support/sanitized.hpp"

namespace team_test {

using namespace fathom;

/// Runs `body` in a process of its own that has address space for a few stacks more. It has a minute, and ends with
/// the code that `body` returns.
template <class F>
void check_with_little_space(F&& body) {
  if (fathom_test::sanitized) SKIP("sanitizers need the address space that this test takes away");
  const pid_t child = fork();
  if (child == 0) {
    rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t limit = pages * rlim_t(sysconf(_SC_PAGESIZE)) + (rlim_t{256} << 20);  // room for a few stacks
    const rlimit space{limit, limit};
    if (setrlimit(RLIMIT_AS, &space) != 0) _exit(2);
    alarm(60);
    _exit(body());
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("threads that the system does not give end in an error, not in a wait", "[cpu]") {
  check_with_little_space([] {
    try {
      const cpu::Team team(10'000);
      return 3;
    } catch (const Error& error) {
      return std::string_view(error.what()).starts_with("Cpu: cannot start 10000 threads") ? 0 : 4;
    }
  });
}

TEST_CASE("a team of the default size works with the threads that the system gives", "[cpu]") {
  check_with_little_space([] {
    char* volatile heap = new char[1 << 16];  // room for what the team allocates beside stacks
    std::vector<std::jthread> others;         // take what space there is
    others.reserve(10'000);
    std::atomic<bool> ends{false};
    try {
      for (;;) others.emplace_back([&] { ends.wait(false); });
    } catch (const std::system_error&) {
    }
    delete[] heap;
    int ran = 0;
    {
      cpu::Team team(0);
      team.run([&](int number) {
        ran += number == 0;
        team.advance(number);
        team.await(1);
        team.barrier();
      });
      if (team.size() != 1) return 3;
    }
    ends = true;
    ends.notify_all();
    return ran == 1 ? 0 : 4;
  });
}

TEST_CASE("tickets are drawn once, and begin at 0 in every region", "[cpu][threads]") {
  cpu::Team team(3);
  for (int region = 0; region < 2; ++region) {
    std::array<std::atomic<int>, 300> drawn{};
    team.run([&](int) {
      for (int ticket; (ticket = team.ticket()) < int(drawn.size());) ++drawn[ticket];
    });
    CHECK(std::ranges::all_of(drawn, [](int times) { return times == 1; }));
  }
}

TEST_CASE("who awaits a step waits for the last thread, in every region anew", "[cpu][threads]") {
  cpu::Team team(3);
  for (int region = 0; region < 2; ++region) {
    std::atomic<int> done[2] = {};
    std::atomic<bool> early{false};
    team.run([&](int number) {
      for (std::atomic<int>& step : done) {
        if (number == 2) std::this_thread::sleep_for(std::chrono::milliseconds(20));
        ++step;
        team.advance(number);
      }
      for (const int step : {0, 1}) {
        team.await(std::uint32_t(step) + 1);
        if (done[step] != 3) early = true;
      }
    });
    CHECK_FALSE(early);
  }
}

TEST_CASE("nobody waits for a thread that has failed", "[cpu][threads]") {
  cpu::Team team(2);
  CHECK_THROWS_WITH(team.run([&](int number) {
    if (number == 1) throw Error("number 1 fails");
    team.advance(number);
    team.await(1);
  }),
                    "number 1 fails");
}

}  // namespace team_test
