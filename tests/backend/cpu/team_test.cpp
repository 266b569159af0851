// SPDX-License-Identifier: Apache-2.0
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/cpu/team.hpp>
#include <fstream>
#include <string_view>

#include "support/sanitized.hpp"

namespace {
using namespace fathom;

TEST_CASE("threads that the system does not give end in an error, not in a wait", "[cpu]") {
  if (fathom_test::sanitized) SKIP("sanitizers need the address space that this test takes away");
  const pid_t child = fork();
  if (child == 0) {
    rlim_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    const rlim_t limit = pages * rlim_t(sysconf(_SC_PAGESIZE)) + (rlim_t{256} << 20);  // room for a few stacks
    const rlimit space{limit, limit};
    if (setrlimit(RLIMIT_AS, &space) != 0) _exit(2);
    alarm(60);
    try {
      const cpu::Team team(10'000);
      _exit(3);
    } catch (const Error& error) {
      _exit(std::string_view(error.what()).starts_with("Cpu: cannot start 10000 threads") ? 0 : 4);
    }
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}

}  // namespace
