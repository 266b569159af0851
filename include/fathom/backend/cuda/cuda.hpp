// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <fathom/backend/backend.hpp>
#include <fathom/backend/backends.hpp>
#include <fathom/backend/cuda/error.hpp>
#include <fathom/backend/cuda/scratch.hpp>
#include <fathom/backend/ops.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/precision.hpp>
#include <memory>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

/// The backend of an NVIDIA GPU, as programs see it. This header needs nothing of the CUDA Toolkit: any compiler reads
/// it. What it declares is defined by cuda_inl.hpp, which one file of a program includes and nvcc compiles
/// (src/cuda/cuda.cu; the CMake target fathom::cuda adds it). No kernel is made of a model's type.
namespace fathom::inline FATHOM_ABI {

namespace cuda {

struct Options {
  /// Whether a region's work that has come before, but for numbers that change with the step, is launched as one CUDA
  /// graph. The same work and the same bits without.
  bool graphs = true;
  /// Whether attention is cuDNN's where it has an engine: `Cuda<Mixed>`, heads of a multiple of 8 up to 128, neither a
  /// cache nor a relative bias. Its dropout draws masks of its own, which differ from those of the CPU.
  bool cudnn = true;
  /// Bytes that cuBLASLt may use.
  std::int64_t workspace = 32_MiB;
  /// Bytes of the device that training leaves free for the CUDA libraries and for graphs, which may take half of them.
  std::int64_t reserve = 2_GiB;
  /// Whether a product is done by the fastest of eight algorithms, which are timed when its shape is first met. Another
  /// run may find another one the fastest, so runs may differ in bits then; cuBLASLt's own choice is always the same.
  bool timed = false;
  /// A folder for the plans of cuDNN, each of which takes seconds to make and milliseconds to read. Plans of another
  /// cuDNN, GPU or shape lie there side by side; what cannot be read is made again. Empty: none are kept.
  std::string_view plans = {};
};

// Memory of the device that is current. Each call returns when it is done. Errors: `CudaError`; of `allocate`, with how
// much was asked for, and how much the device has.
std::byte* allocate(std::int64_t bytes);
void release(std::byte* block) noexcept;
void upload(std::byte* to, std::span<const std::byte> values);
void download(const std::byte* from, std::span<std::byte> values);
void clear(std::byte* at, std::int64_t bytes);
/// Without what a machine with these options keeps for itself.
std::int64_t free_bytes(const Options& options);

/// Memory of the device, see `MachineBuffer`.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  /// Zeroed.
  explicit DeviceBuffer(std::int64_t count) : DeviceBuffer() {  // so that it is destroyed if it cannot be zeroed
    if (count == 0) return;
    data_ = reinterpret_cast<T*>(allocate(count * std::int64_t(sizeof(T))));
    size_ = count;
    zero();
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept { swap(other); }
  DeviceBuffer& operator=(DeviceBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  ~DeviceBuffer() { release(reinterpret_cast<std::byte*>(data_)); }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::int64_t size() const { return size_; }
  void upload(std::int64_t first, std::span<const T> values) {
    if (!values.empty()) cuda::upload(reinterpret_cast<std::byte*>(data_ + first), std::as_bytes(values));
  }
  void download(std::int64_t first, std::span<T> values) const {
    if (!values.empty())
      cuda::download(reinterpret_cast<const std::byte*>(data_ + first), std::as_writable_bytes(values));
  }
  void zero() {
    if (data_ != nullptr) clear(reinterpret_cast<std::byte*>(data_), size_ * std::int64_t(sizeof(T)));
  }

 private:
  void swap(DeviceBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

  T* data_ = nullptr;
  std::int64_t size_ = 0;
};

/// What a machine owns: a stream, the libraries, the program that is being written down. In session.hpp.
class Session;

/// The one lane: what it is handed is written down, and done when a result is read or the region ends.
class Lane {
 public:
  explicit Lane(Session& session) : session_(&session) {}

  void use(Arena& workspace) { workspace_ = &workspace; }
  void on(const Packing& packing) { packing_ = &packing; }
  void settle();
  void enter(std::string_view, int) {}
  void leave() {}
  bool first() const { return true; }
  void wait() {}
  void read(void* into, const void* from, std::size_t bytes);

  const Packing& packing() const { return *packing_; }
  Arena& workspace() { return *workspace_; }
  Session& session() { return *session_; }

 private:
  Session* session_;
  Arena* workspace_ = nullptr;
  const Packing* packing_ = nullptr;
};

/// Errors of all that it does: `CudaError`.
class Machine {
 public:
  explicit Machine(const Options& options);
  Machine(Machine&&) noexcept;
  ~Machine();

  int lanes() const { return 1; }
  std::int64_t allocated_bytes() const;
  void reserve(std::int64_t scratch);

  template <class F>
  void run(F&& f) {
    Lane lane(begin());
    const Region region{*this};
    f(lane);
    finish();
  }

 private:
  /// Forgets what an exception has left undone.
  struct Region {
    Machine& machine;
    ~Region() { machine.abandon(); }
  };
  Session& begin();
  void finish();
  void abandon() noexcept;

  std::unique_ptr<Session> session_;
};

/// Whether the backend has an op in precision P.
template <class P, class Op>
inline constexpr bool has_op = false;
template <class P, class T>
inline constexpr bool has_op<P, op::FirstNonFinite<T>> = true;
#define FATHOM_CUDA_HAS(Op, ...) \
  template <class P>             \
  inline constexpr bool has_op<P, op::Op<P>> = true;
FATHOM_EACH_OP(FATHOM_CUDA_HAS, )
#undef FATHOM_CUDA_HAS

}  // namespace cuda

/// An NVIDIA GPU in one of two precisions: `Single`; or `Mixed`, weights and activations of 16 bits. Ops compute and
/// sum in floats. Sums have one order, so a device gives the same bits every time, with and without graphs.
template <class P>
struct Cuda {
  static_assert(std::is_same_v<P, Single> || std::is_same_v<P, Mixed>,
                "fathom: Cuda has two precisions: Cuda<Single> and Cuda<Mixed>");
  using Precision = P;
  using Options = cuda::Options;
  using Lane = cuda::Lane;
  using Machine = cuda::Machine;
  template <class T>
  using Buffer = cuda::DeviceBuffer<T>;

  /// Without the folder of plans, which is the caller's to keep.
  static constexpr Options one_lane(Options options = {}) {
    options.plans = {};
    return options;
  }
  static std::int64_t free_bytes(const Options& options) { return cuda::free_bytes(options); }
  static constexpr bool saves_all = true;
  static constexpr bool pads_batches = true;

  template <class Op>
    requires(cuda::has_op<P, Op>)
  static void run(Lane& lane, const Op& op);

  static constexpr std::int64_t scratch_bytes(const auto& op) { return cuda::scratch_bytes(op); }
  static constexpr std::int64_t shared_bytes(const auto& /*op*/) { return 0; }
  static constexpr std::int64_t held_bytes(const auto& op, const Capacity&) { return cuda::held_bytes(op); }
};

static_assert(CompleteBackend<Cuda<Single>> && CompleteBackend<Cuda<Mixed>>);

}  // namespace fathom::inline FATHOM_ABI
