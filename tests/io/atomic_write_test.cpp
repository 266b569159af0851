// SPDX-License-Identifier: Apache-2.0
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch_test_macros.hpp>
#include <catch2/matchers/catch_matchers_string.hpp>
#include <fathom/io/atomic_write.hpp>
#include <filesystem>
#include <functional>
#include <iterator>
#include <string>
#include <support/temporary_directory.hpp>
#include <thread>

namespace atomic_write_test {

using namespace fathom;
using namespace fathom_test;
using Catch::Matchers::ContainsSubstring;
namespace fs = std::filesystem;

void write_version(const fs::path& directory, const std::string& content) {
  fs::create_directories(directory / "deep");
  for (const char* name : {"a", "deep/b"}) {
    OutputFile file(directory / name);
    file.write(content);
    file.close();
  }
}

void commit_version(const fs::path& target, const std::string& content) {
  fs::create_directories(fs::absolute(target).parent_path());
  AtomicDirectory directory(target);
  write_version(directory.path(), content);
  directory.commit();
}

/// The version of a directory, if it is complete and consistent.
std::string version_of(const fs::path& target) {
  const fs::path directory = committed_directory(target);
  const std::string content = read_file(directory / "a");
  return read_file(directory / "deep/b") == content ? content : "inconsistent";
}

std::ptrdiff_t entries(const fs::path& directory) {
  return std::distance(fs::directory_iterator(directory), fs::directory_iterator());
}

/// The number of a process that has ended.
pid_t ended_process() {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  ::waitpid(child, nullptr, 0);
  return child;
}

/// Runs `action` in a process of its own; what it returns is the exit status.
int run_apart(const std::function<int()>& action) {
  const pid_t child = ::fork();
  if (child == 0) {
    int status = 99;
    try {
      status = action();
    } catch (...) {
    }
    ::_exit(status);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/// Mounts a file system that no other process sees; false without the permission.
bool mount_apart(const char* type, const fs::path& where, const std::string& options) {
  return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
         ::mount(type, where.c_str(), type, 0, options.c_str()) == 0;
}

TEST_CASE("a file is replaced whole or stays", "[atomic_write]") {
  const TemporaryDirectory folder;
  write_file(folder / "new/folder/a", "one");
  write_file(folder / "new/folder/a", "two");
  CHECK(read_file(folder / "new/folder/a") == "two");
  CHECK(entries(folder / "new/folder") == 1);
  CHECK_THAT(message_of<FileError>([&] { write_file(folder / "new", "x"); }), ContainsSubstring("not a regular file"));
  CHECK_THAT(message_of<FileError>([] { write_file("/dev/null", "x"); }), ContainsSubstring("not a regular file"));
}

TEST_CASE("a committed directory replaces the old one, and nothing else remains", "[atomic_write]") {
  const TemporaryDirectory folder;
  const fs::path target = folder / "runs/model";
  commit_version(target, "1");
  CHECK(version_of(target) == "1");
  commit_version(target, "2");
  CHECK(version_of(target) == "2");
  commit_version(folder / "runs/model/", "3");  // a slash at the end is the same directory
  CHECK(version_of(folder / "runs/model/") == "3");
  CHECK(entries(folder / "runs") == 1);
  fs::create_directory_symlink("model", folder / "runs/latest");
  commit_version(folder / "runs/latest", "4");
  CHECK(version_of(target) == "4");
  CHECK(fs::is_symlink(folder / "runs/latest"));
}

TEST_CASE("without a commit the old directory stays", "[atomic_write]") {
  const TemporaryDirectory folder;
  const fs::path target = folder / "model";
  commit_version(target, "1");
  { write_version(AtomicDirectory(target).path(), "2"); }
  CHECK(version_of(target) == "1");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("what dead processes left is removed, the rest is not", "[atomic_write]") {
  const TemporaryDirectory folder;
  const fs::path target = folder / "model";
  const std::string dead = std::to_string(ended_process());
  fs::create_directories(folder / ("model.tmp-" + dead + "/deep"));
  fs::create_directories(folder / ("model.tmp-" + std::to_string(::getpid()) + "/deep"));
  fs::create_directories(folder / "model.tmp-1");  // alive as long as the system is
  fs::create_directories(folder / "model.tmp-x");
  fs::create_directories(folder / ("other.tmp-" + dead));
  commit_version(target, "1");
  CHECK(version_of(target) == "1");
  CHECK(entries(folder.path()) == 4);
  CHECK(fs::exists(folder / "model.tmp-1"));
}

TEST_CASE("replacing in steps leaves a complete version at every instant", "[atomic_write]") {
  const TemporaryDirectory folder;
  const fs::path target = folder / "model", successor = folder / "model.committed";
  commit_version(target, "1");
  write_version(folder / "fresh", "2");
  detail::make_successor(folder / "fresh", target);
  CHECK(version_of(target) == "2");
  detail::finish_replacement(target);
  CHECK(version_of(target) == "2");
  CHECK(entries(folder.path()) == 1);

  // A crash at each moment: before the old version is touched, in the middle of its removal, and behind it.
  write_version(successor, "3");
  CHECK(version_of(target) == "3");
  fs::remove(target / "a");
  CHECK(version_of(target) == "3");
  fs::remove_all(target);
  CHECK(version_of(target) == "3");
  CHECK(version_of(folder / "model/") == "3");
  { AtomicDirectory unfinished(target); }
  CHECK(version_of(target) == "3");
  CHECK(entries(folder.path()) == 1);
  write_version(successor, "4");
  commit_version(target, "5");
  CHECK(version_of(target) == "5");
  CHECK(entries(folder.path()) == 1);

  // The same where no directory can be renamed: the successor is a link to the temporary one.
  const fs::path temporary = folder / ("model.tmp-" + std::to_string(ended_process()));
  write_version(temporary, "6");
  fs::create_directory_symlink(temporary.filename(), successor);
  CHECK(version_of(target) == "6");
  fs::remove(target / "a");
  CHECK(version_of(target) == "6");
  { AtomicDirectory unfinished(target); }
  CHECK(version_of(target) == "6");
  CHECK(entries(folder.path()) == 1);
  fs::create_directory_symlink("nothing", successor);
  CHECK(version_of(target) == "6");
  fs::remove(successor);

  CHECK_THROWS_AS(detail::make_successor(folder / "absent", target), FileError);
  CHECK(version_of(target) == "6");
}

TEST_CASE("a directory of a lower layer is replaced", "[atomic_write]") {
  const TemporaryDirectory folder;
  const int status = run_apart([&] {
    if (!mount_apart("tmpfs", folder.path(), "")) return 77;
    for (const char* name : {"lower", "upper", "work", "merged"}) fs::create_directory(folder / name);
    commit_version(folder / "lower/model", "1");
    const auto layer = [&](const char* name) { return std::string(name) + "dir=" + (folder / name).string(); };
    if (!mount_apart("overlay", folder / "merged",
                     layer("lower") + ',' + layer("upper") + ',' + layer("work") + ",redirect_dir=off"))
      return 77;
    const fs::path target = folder / "merged/model";
    const DirectoryLock lock(folder / "merged");
    if (::rename(target.c_str(), (folder / "merged/moved").c_str()) == 0 || errno != EXDEV) return 3;
    for (const char* version : {"2", "3"}) {
      commit_version(target, version);
      if (version_of(target) != version || entries(folder / "merged") != 1) return 1;
    }
    return lock.is_there() && version_of(folder / "lower/model") == "1" ? 0 : 2;
  });
  if (status == 77) SKIP("no permission to mount an overlay");
  CHECK(status == 0);
}

TEST_CASE("a folder that may not be looked into is not taken for an empty one", "[atomic_write]") {
  const TemporaryDirectory folder;
  const fs::path target = folder / "closed/model";
  commit_version(target, "1");
  fs::permissions(folder / "closed", fs::perms::none);
  const int status = run_apart([&] {
    if (::geteuid() == 0 && (::chown(folder.path().c_str(), 65534, 65534) != 0 || ::setuid(65534) != 0)) return 77;
    for (const auto& message : {message_of<FileError>([&] { find_committed_directory(target); }),
                                message_of<FileError>([&] { committed_directory(target); }),
                                message_of<FileError>([&] { DirectoryLock lock(target); })})
      if (message.find((folder / "closed").string()) == std::string::npos ||
          message.find("Permission denied; check the permissions") == std::string::npos)
        return 1;
    return find_committed_directory(folder / "none") ? 2 : 0;
  });
  fs::permissions(folder / "closed", fs::perms::owner_all);
  if (status == 77) SKIP("root may look everywhere");
  CHECK(status == 0);
}

TEST_CASE("a target that cannot be is refused", "[atomic_write]") {
  const TemporaryDirectory folder;
  folder.write("file", "x");
  CHECK_THAT(message_of<FileError>([&] { AtomicDirectory(folder / "file"); }), ContainsSubstring("is a file where"));
  CHECK_THAT(message_of<FileError>([&] { AtomicDirectory(folder / "file/model"); }), ContainsSubstring("cannot"));
  CHECK_THAT(message_of<FileError>([&] { AtomicDirectory(folder / "none/model"); }),
             ContainsSubstring("cannot create"));
  CHECK(!fs::exists(folder / "none"));
  CHECK_THAT(message_of<FileError>([&] { committed_directory(folder / "none"); }), ContainsSubstring("does not exist"));
  CHECK_THAT(message_of<FileError>([&] { committed_directory(folder / "file"); }),
             ContainsSubstring("is not a directory"));
}

TEST_CASE("a full disk costs neither the old version nor the space", "[atomic_write]") {
  const TemporaryDirectory folder;
  const fs::path target = folder / "disk/model";
  fs::create_directory(folder / "disk");
  const int status = run_apart([&] {
    if (!mount_apart("tmpfs", folder / "disk", "size=256k")) return 77;
    commit_version(target, "1");
    const std::string message = message_of<FileError>([&] { commit_version(target, std::string(300'000, 'x')); });
    if (message.find("cannot write: No space left on device; free some disk space") == std::string::npos) return 1;
    if (version_of(target) != "1" || entries(folder / "disk") != 1) return 2;
    commit_version(target, "2");
    return version_of(target) == "2" ? 0 : 3;
  });
  if (status == 77) SKIP("no permission to mount a small file system");
  CHECK(status == 0);
}

TEST_CASE("a limit on the size of files is reported like a full disk", "[atomic_write]") {
  const TemporaryDirectory folder;
  const fs::path target = folder / "model";
  const int status = run_apart([&] {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{10'000, 10'000};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) return 77;
    commit_version(target, "1");
    const std::string message = message_of<FileError>([&] { commit_version(target, std::string(20'000, 'x')); });
    if (message.find("cannot write: File too large; raise the file size limit") == std::string::npos) return 1;
    return version_of(target) == "1" && entries(folder.path()) == 1 ? 0 : 2;
  });
  CHECK(status == 0);
}

TEST_CASE("a killed writer leaves the complete old or the complete new version", "[atomic_write]") {
  const TemporaryDirectory folder;
  const fs::path target = folder / "model";
  commit_version(target, "0");
  for (int round = 0; round < 25; ++round) {
    const pid_t writer = ::fork();
    if (writer == 0) {
      for (int i = 1;; ++i) commit_version(target, std::to_string(1000 * round + i));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(1000 + 1733 * round));
    ::kill(writer, SIGKILL);
    ::waitpid(writer, nullptr, 0);
    REQUIRE(version_of(target) != "inconsistent");
  }
  commit_version(target, "last");
  CHECK(version_of(target) == "last");
  CHECK(entries(folder.path()) == 1);
}

TEST_CASE("a locked directory is another's only when the lock goes", "[atomic_write]") {
  const TemporaryDirectory folder;
  {
    const DirectoryLock lock(folder.path());
    const std::string message = message_of<FileError>([&] { DirectoryLock second(folder.path()); });
    CHECK(message.starts_with(folder.path().string() + ": is in use by another process; "));
  }
  CHECK_NOTHROW(DirectoryLock(folder.path()));
  CHECK_THROWS_AS(DirectoryLock(folder.write("file", "")), FileError);
  CHECK_THROWS_AS(DirectoryLock(folder / "file/run"), FileError);
}

TEST_CASE("a lock makes its directory, which goes with it when it is empty", "[atomic_write]") {
  const TemporaryDirectory folder;
  {
    const DirectoryLock lock(folder / "runs/deep/one");
    CHECK(fs::is_directory(lock.path()));
    CHECK(lock.is_there());
    CHECK(lock.sibling(".x") == fs::canonical(folder.path()) / "runs/deep/one.x");
  }
  CHECK(entries(folder.path()) == 0);
  {
    const DirectoryLock lock(folder / "runs/deep/one/");
    folder.write("runs/deep/file", "");
  }
  CHECK(entries(folder / "runs/deep") == 1);
  fs::create_directory(folder / "mine");
  { const DirectoryLock lock(folder / "mine"); }
  CHECK(fs::exists(folder / "mine"));
}

TEST_CASE("a lock knows that its directory is gone, or another one", "[atomic_write]") {
  const TemporaryDirectory folder;
  const fs::path path = folder / "run";
  const DirectoryLock lock(path);
  CHECK_NOTHROW(lock.check());
  fs::remove(path);
  CHECK((!lock.is_there() && lock.is_gone()));
  {
    const DirectoryLock second(path);  // of the same name, and perhaps in the same place on the disk
    CHECK(second.is_there());
    CHECK(!lock.is_there());
    CHECK(message_of<FileError>([&] { lock.check(); }).starts_with(path.string() + ": was removed or replaced"));
    folder.write("run/file", "");
  }
  CHECK(fs::exists(path / "file"));
}

TEST_CASE("a directory that cannot be reached is neither there nor gone", "[atomic_write]") {
  const TemporaryDirectory folder;
  fs::create_directory(folder / "disk");
  fs::create_directory_symlink("disk", folder / "link");
  const DirectoryLock lock(folder / "link/run");
  CHECK((lock.is_there() && !lock.is_gone()));
  fs::remove(folder / "link");
  fs::create_symlink("link", folder / "link");
  CHECK((!lock.is_there() && !lock.is_gone()));
  CHECK_NOTHROW(lock.check());
}

}  // namespace atomic_write_test
