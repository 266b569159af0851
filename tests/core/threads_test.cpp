// SPDX-License-Identifier: Apache-2.0
#include <sched.h>

#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/context.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/core/threads.hpp>
#include <limits>
#include <string>
#include <string_view>
#include <support/temporary_directory.hpp>
#include <thread>

namespace threads_test {

using namespace fathom;
using fathom_test::TemporaryDirectory;

/// As in a container with version 2 of control groups: one hierarchy, and the process sees its part of it.
const std::string version_2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
/// As in a container with version 1, where the mounted part begins at the container's group.
const std::string version_1 =
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro,nosuid master:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 /docker/abc /sys/fs/cgroup/cpuset ro,nosuid master:10 - cgroup cgroup rw,cpuset\n";

TEST_CASE("threads are no more than the affinity has processors", "[cpu][threads]") {
  // In a thread, which has an affinity of its own.
  int available = 0, lanes = 0;
  std::jthread([&] {
    cpu_set_t allowed, first;
    REQUIRE(::sched_getaffinity(0, sizeof allowed, &allowed) == 0);
    CPU_ZERO(&first);
    for (std::size_t i = 0; i < CPU_SETSIZE && CPU_COUNT(&first) == 0; ++i)
      if (CPU_ISSET(i, &allowed)) CPU_SET(i, &first);
    REQUIRE(::sched_setaffinity(0, sizeof first, &first) == 0);
    available = available_threads();
    lanes = Context<Cpu<>>().lanes();
  }).join();
  CHECK(available == 1);
  CHECK(lanes == 1);
}

TEST_CASE("the quota of a control group limits the threads", "[cpu]") {
  const TemporaryDirectory root;
  const auto quota = [&] { return fathom::detail::processors_of_quota(root.path()); };
  const double none = std::numeric_limits<double>::infinity();
  CHECK(quota() == none);  // no such files

  SECTION("version 2: the least of the group and those around it") {
    root.write("proc/self/mountinfo", version_2);
    root.write("proc/self/cgroup", "0::/batch/job\n");
    CHECK(quota() == none);
    root.write("sys/fs/cgroup/batch/job/cpu.max", "max 100000\n");
    CHECK(quota() == none);
    root.write("sys/fs/cgroup/batch/cpu.max", "350000 100000\n");
    CHECK(quota() == 3.5);
    root.write("sys/fs/cgroup/batch/job/cpu.max", "50000 100000\n");
    CHECK(quota() == 0.5);
    CHECK(available_threads(root.path()) == 1);
    root.write("sys/fs/cgroup/other/cpu.max", "1000 100000\n");
    CHECK(quota() == 0.5);
    for (const char* damaged : {"", "max", "50000", "x 100000", "50000 0", "-1 100000", "0 0"}) {
      CAPTURE(damaged);
      root.write("sys/fs/cgroup/batch/job/cpu.max", damaged);
      CHECK(quota() == 3.5);
    }
  }
  SECTION("version 2 in a namespace of its own: the group is where the mount is") {
    root.write("proc/self/mountinfo", version_2);
    root.write("proc/self/cgroup", "0::/\n");
    root.write("sys/fs/cgroup/cpu.max", "100000 100000\n");
    CHECK(quota() == 1);
  }
  SECTION("version 1") {
    root.write("proc/self/mountinfo", version_1);
    root.write("proc/self/cgroup",
               "5:cpuset:/docker/abc\n4:cpu,cpuacct:/docker/abc/inner\n1:name=systemd:/docker/abc\n");
    const std::string group = "sys/fs/cgroup/cpu,cpuacct/";
    root.write(group + "cpu.cfs_period_us", "100000\n");
    root.write(group + "cpu.cfs_quota_us", "-1\n");
    CHECK(quota() == none);
    root.write(group + "cpu.cfs_quota_us", "200000\n");
    CHECK(quota() == 2);
    root.write(group + "inner/cpu.cfs_period_us", "50000\n");
    root.write(group + "inner/cpu.cfs_quota_us", "60000\n");
    CHECK(quota() == 1.2);
    CHECK(available_threads(root.path()) <= 2);
  }
  SECTION("files that are damaged are no limit") {
    for (const std::string_view damaged : {"", "\n\n", " - ", "1 2 3", "0:", "1 2 3 / /sys/fs/cgroup - cgroup2"}) {
      root.write("proc/self/mountinfo", damaged);
      root.write("proc/self/cgroup", damaged);
      CHECK(quota() == none);
    }
  }
}

}  // namespace threads_test
