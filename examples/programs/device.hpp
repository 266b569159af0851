// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/backend/cuda/cuda.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/threads.hpp>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>
#include <type_traits>

/// One program, several machines: which of its backends a command runs on.
namespace fathom::program {

/// What `--device` calls a backend.
template <class B>
inline constexpr const char* device_name = "cpu";
template <class P>
inline constexpr const char* device_name<Cuda<P>> = "cuda";

/// Where a command computes.
struct Device {
  std::string name = "cpu";
  int threads = 0;    ///< of the CPU; 0: one for each core that the process may use
  std::string plans;  ///< of a GPU: where plans of cuDNN are kept, a folder in that of the run
};

template <class B>
typename B::Options machine_options(const Device& device) {
  if constexpr (requires(typename B::Options options) { options.threads; })
    return {.threads = device.threads};
  else if (std::error_code ignored;
           std::filesystem::is_directory(std::filesystem::path(device.plans).parent_path(), ignored))
    return {.plans = device.plans};
  else
    return {};
}

/// The lanes of a machine of B.
template <class B>
int lanes(const Device& device) {
  if constexpr (requires(typename B::Options options) { options.threads; })
    return device.threads > 0 ? device.threads : available_threads();
  else
    return 1;
}

/// The machine in words: "2 threads", or the name of a device.
template <class B>
std::string text_of(const Device& device) {
  return device.name == "cpu" ? std::to_string(lanes<B>(device)) + " threads" : device.name;
}

/// f(std::type_identity<B>{}) with that of the backends Bs which the device names. Errors: `Error` when it is none.
template <class... Bs, class F>
int on_device(const Device& device, F&& f) {
  std::optional<int> code;
  const auto try_one = [&]<class B>(std::type_identity<B> backend) {
    if (!code && device.name == device_name<B>) code = f(backend);
  };
  (try_one(std::type_identity<Bs>{}), ...);
  if (code) return *code;
  std::string names;
  for (const char* const name : {device_name<Bs>...}) names += (names.empty() ? "" : " and ") + std::string(name);
  throw Error("--device " + device.name + ": this program has " + names +
              (sizeof...(Bs) == 1 ? "; CUDA in the line of CMake that makes it adds cuda" : ""));
}

}  // namespace fathom::program
