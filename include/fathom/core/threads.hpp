// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <cmath>
#include <fathom/core/config.hpp>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace fathom::inline FATHOM_ABI {

namespace detail {

/// Processors that the calling thread's affinity (taskset, a batch system) lets it run on; 0 where the system does not
/// say.
inline int processors_of_affinity() {
#if defined(__linux__)
  // The call fails as long as the kernel has more.
  for (std::size_t possible = 1024; possible <= 1 << 20; possible *= 2) {
    cpu_set_t* const set = CPU_ALLOC(possible);
    if (set == nullptr) return 0;
    const std::size_t bytes = CPU_ALLOC_SIZE(possible);
    const int count = ::sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
#endif
  return 0;
}

/// The quota of one control group, in processors; infinite where there is none. Of version 2, and of version 1:
/// https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files,
/// https://docs.kernel.org/scheduler/sched-bwc.html
inline double quota_of_group(const std::filesystem::path& group) {
  double quota = 0, period = 0;
  const bool limited = std::ifstream(group / "cpu.max") >> quota >> period        // "max 100000" is no number
                       || (std::ifstream(group / "cpu.cfs_quota_us") >> quota &&  // -1: none
                           std::ifstream(group / "cpu.cfs_period_us") >> period);
  return limited && quota > 0 && period > 0 ? quota / period : std::numeric_limits<double>::infinity();
}

/// A group and those around it, up to where their file system is mounted.
inline double quota_of_groups(const std::filesystem::path& mount, const std::filesystem::path& group) {
  double quota = quota_of_group(mount);
  std::filesystem::path place = mount;
  for (const std::filesystem::path& part : group.relative_path())
    quota = std::min(quota, quota_of_group(place /= part));
  return quota;
}

/// The group of this process in the hierarchy whose controllers in /proc/self/cgroup are `controllers` (version 2:
/// none) or have "cpu" among them; empty where there is none. See cgroups(7).
inline std::string group_of_process(const std::filesystem::path& root, bool version_2) {
  std::ifstream lines(root / "proc/self/cgroup");
  for (std::string number, controllers, group;
       std::getline(lines, number, ':') && std::getline(lines, controllers, ':') && std::getline(lines, group);)
    if (version_2 ? controllers.empty() : ("," + controllers + ",").find(",cpu,") != std::string::npos) return group;
  return {};
}

/// The least quota of any group that this process is in. `root` is where /proc and /sys are.
inline double processors_of_quota(const std::filesystem::path& root) {
  double quota = std::numeric_limits<double>::infinity();
  std::ifstream mounts(root / "proc/self/mountinfo");  // proc_pid_mountinfo(5)
  for (std::string line; std::getline(mounts, line);) {
    std::string ignored, top, mount, type, options;
    const auto separator = line.find(" - ");
    if (separator == std::string::npos) continue;
    std::istringstream(line) >> ignored >> ignored >> ignored >> top >> mount;
    std::istringstream(line.substr(separator + 3)) >> type >> ignored >> options;
    const bool version_2 = type == "cgroup2";
    if (!version_2 && !(type == "cgroup" && ("," + options + ",").find(",cpu,") != std::string::npos)) continue;
    std::string group = group_of_process(root, version_2);
    if (top != "/" && group.starts_with(top)) group.erase(0, top.size());  // only a part of the hierarchy is mounted
    quota = std::min(quota, quota_of_groups(root / std::filesystem::path(mount).relative_path(), group));
  }
  return quota;
}

}  // namespace detail

/// How many threads this process may run at the same time, at least 1: as many as there are processors in its affinity,
/// or fewer where a quota of its control groups (a container's limit) gives it less time than theirs. A part of a
/// processor counts as one. `root`: where /proc and /sys are.
inline int available_threads(const std::filesystem::path& root = "/") {
  const int affinity = detail::processors_of_affinity();
  const int processors = affinity > 0 ? affinity : std::max(1, int(std::thread::hardware_concurrency()));
  return int(std::clamp(std::ceil(detail::processors_of_quota(root)), 1.0, double(processors)));
}

}  // namespace fathom::inline FATHOM_ABI
