// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <fathom/io/file.hpp>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace fathom_test {

/// How a process ended, and what it wrote.
struct Ended {
  int code;  ///< exit code, or minus the signal that ended it
  std::string out, err;
};

struct ProcessOptions {
  std::filesystem::path out{};         ///< where its stdout goes instead of into `Ended`
  std::vector<int> ignored_signals{};  ///< from the start, as shells and nohup do it
};

/// A program in a process of its own. It is killed after two minutes, and when the object goes.
class Process {
 public:
  explicit Process(const std::vector<std::string>& command, const ProcessOptions& options = {}) {
    std::vector<char*> arguments;
    for (const std::string& argument : command) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    const int out = options.out.empty() ? -1 : ::open(options.out.c_str(), O_WRONLY | O_CLOEXEC);
    child_ = ::fork();
    if (child_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (child_ == 0) {
      for (const int signal : options.ignored_signals) ::signal(signal, SIG_IGN);
      ::alarm(120);
      ::dup2(options.out.empty() ? out_.write_end : out, STDOUT_FILENO);
      ::dup2(err_.write_end, STDERR_FILENO);
      ::execvp(arguments[0], arguments.data());
      ::_exit(127);
    }
    ::close(out);
    out_.close_write_end();
    err_.close_write_end();
  }
  ~Process() {
    if (child_ == 0) return;
    signal(SIGKILL);
    ::waitpid(child_, nullptr, 0);
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void signal(int number) const { ::kill(child_, number); }

  bool running() const {
    siginfo_t info = {};
    return ::waitid(P_PID, id_t(child_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
  }

  /// Bytes that the process has in memory, without those of files.
  std::int64_t memory() const { return std::stoll(status("RssAnon:")) * 1024; }  // it is in kB

  /// Whether the process has the file open.
  bool has_open(const std::filesystem::path& path) const {
    std::error_code gone;  // a file that is closed meanwhile, a process that ends
    for (const auto& file : std::filesystem::directory_iterator("/proc/" + std::to_string(child_) + "/fd", gone))
      if (std::filesystem::read_symlink(file, gone) == path) return true;
    return false;
  }

  /// Whether the process has a handler for the signal by now.
  bool catches(int signal) const { return std::stoull(status("SigCgt:"), nullptr, 16) >> (signal - 1) & 1; }

  /// From now on a write that would make a file longer than that many bytes fails, much as on a full disk.
  void limit_files(std::uint64_t bytes) const {
    const rlimit limit{bytes, bytes};
    if (::prlimit(child_, RLIMIT_FSIZE, &limit, nullptr) != 0)
      throw std::system_error(errno, std::generic_category(), "prlimit");
  }

  /// Waits for the end. A program that writes more than a pipe holds to stdout, and then to stderr, would wait too.
  Ended wait() {
    Ended ended{0, {}, err_.read()};
    ended.out = out_.read();
    int status = 0;
    if (::waitpid(std::exchange(child_, 0), &status, 0) < 0)
      throw std::system_error(errno, std::generic_category(), "waitpid");
    ended.code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    return ended;
  }

 private:
  /// What the system says of the process under that name.
  std::string status(const std::string& name) const {
    const std::string text = fathom::read_file("/proc/" + std::to_string(child_) + "/status");
    return text.substr(text.find(name) + name.size());
  }

  /// No file, because files can be limited.
  struct Pipe {
    int read_end, write_end;

    Pipe() {
      int ends[2];
      if (::pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
      read_end = ends[0], write_end = ends[1];
    }
    ~Pipe() {
      ::close(read_end);
      close_write_end();
    }
    Pipe(const Pipe&) = delete;
    Pipe& operator=(const Pipe&) = delete;

    void close_write_end() {
      if (write_end >= 0) ::close(std::exchange(write_end, -1));
    }
    std::string read() const { return fathom::read_file("/proc/self/fd/" + std::to_string(read_end)); }
  };

  Pipe out_, err_;
  pid_t child_ = 0;
};

inline Ended run(const std::vector<std::string>& command, const ProcessOptions& options = {}) {
  return Process(command, options).wait();
}

}  // namespace fathom_test
