// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <fathom/backend/ops.hpp>
#include <fathom/backend/slots.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/config.hpp>
#include <span>
#include <string_view>

/// What a backend is: a type that names a precision and a machine, and runs ops.
///
///   Precision        the bundle of number types
///   Options          what the user chooses (threads, …); all have a default
///   one_lane(options)            the same options for a machine with one lane; without: its own
///   Buffer<T>        owns zeroed memory of the machine, see `MachineBuffer`
///   Machine          made from options; owns threads or streams: `lanes()` of them. `run(f)`, a region, calls f on
///                    each lane and waits; `reserve(scratch)` makes sure that each has as many bytes for its ops;
///                    `allocated_bytes()` are those of all
///   Lane             one thread or stream: `use(arena)` sets the workspace that ops may take of, `on(packing)` the
///                    rows that ops are about, `settle()` ends work that was put off, `enter(name, index)` and
///                    `leave()` tell of scopes, `first()` is true for one lane, `wait()` waits for all lanes,
///                    `read(into, from, bytes)` copies what an op has written at `from` to the host, on every lane,
///                    and returns when all lanes have it
///   run(lane, op)    one overload for each op that it has
///   scratch_bytes(op)            per-lane memory that the op needs while it runs
///   shared_bytes(op)             workspace, the same for all lanes, that the op needs while it runs
///   held_bytes(op, capacity)     workspace that the op keeps until the frame closes
///   saves_all        if it is there and true: computing something a second time costs more there than the memory to
///                    keep it, so layers save all that their backward reads
///   free_bytes(options)          if it is there: bytes of the machine's memory that are free for buffers, which
///                    training is held to before it allocates
///   pads_batches     if it is there and true: something is made for each shape of a batch and kept, so training pads
///                    its batches to few shapes
///
/// A backend may have some of the ops alone: `RunsLinear`, `RunsAttention`, … beside the ops say which, and a layer
/// that asks for another does not compile. `CompleteBackend` has all.
namespace fathom::inline FATHOM_ABI {

/// Memory of a machine: `data()` is an address for views that ops are handed, and nobody else reads or writes there.
/// Values come and go by `upload(offset, values)` and `download(offset, values)`, offsets in elements; `zero()` clears
/// all. One made for a size is zero; one made without is empty.
template <class M, class T>
concept MachineBuffer = std::movable<M> && std::default_initializable<M> && std::constructible_from<M, std::int64_t> &&
    requires(M& memory, const M& constant, std::int64_t offset, std::span<const T> values, std::span<T> into) {
  { memory.data() } -> std::same_as<T*>;
  { constant.data() } -> std::same_as<const T*>;
  { constant.size() } -> std::same_as<std::int64_t>;
  memory.upload(offset, values);
  constant.download(offset, into);
  memory.zero();
};

template <class L>
concept MachineLane = requires(L& lane, Arena& arena, const Packing& packing, std::string_view name, void* host,
                               const void* machine) {
  lane.use(arena);
  lane.on(packing);
  lane.settle();
  lane.enter(name, 0);
  lane.leave();
  { lane.first() } -> std::same_as<bool>;
  lane.wait();
  lane.read(host, machine, std::size_t{});
};

template <class B>
concept HasMachine =
    std::constructible_from<typename B::Machine, const typename B::Options&> &&
    std::default_initializable<typename B::Options> &&
    requires(typename B::Machine& machine, const typename B::Machine& constant, void (&region)(typename B::Lane&)) {
      { constant.lanes() } -> std::same_as<int>;
      { constant.allocated_bytes() } -> std::same_as<std::int64_t>;
      machine.reserve(std::int64_t{});
      machine.run(region);
    };

/// Buffers of numbers, and of whatever else a machine holds.
template <class B, class... T>
concept HasBuffers = (MachineBuffer<typename B::template Buffer<T>, T> && ...);

template <class B>
concept Backend =
    PrecisionBundle<typename B::Precision> &&
    requires {
      { B::one_lane() } -> std::same_as<typename B::Options>;
      { B::one_lane(typename B::Options{}) } -> std::same_as<typename B::Options>;
    } && MachineLane<typename B::Lane> && HasMachine<B> &&
    HasBuffers<B, std::byte, std::int64_t, double, Slots, typename B::Precision::Weight,
               typename B::Precision::Activation, typename B::Precision::Stream, typename B::Precision::Statistic,
               typename B::Precision::Gradient, typename B::Precision::Master>;

template <class B>
concept CompleteBackend = Backend<B> && RunsLinear<B> && RunsAttention<B> && RunsActivation<B> && RunsNorm<B> &&
    RunsResidual<B> && RunsEmbedding<B> && RunsLoss<B> && RunsUpdate<B>;

/// Whether layers save all that their backward reads, rather than compute some of it again.
template <class B>
inline constexpr bool saves_all = false;
template <class B>
  requires requires { B::saves_all; }
inline constexpr bool saves_all<B> = B::saves_all;

/// Whether training pads its batches, so that they have few shapes (train/padding.hpp).
template <class B>
inline constexpr bool pads_batches = false;
template <class B>
  requires requires { B::pads_batches; }
inline constexpr bool pads_batches<B> = B::pads_batches;

/// The base of a backend in which an op needs no memory unless it says so.
struct NeedsNoMemory {
  static constexpr std::int64_t scratch_bytes(const auto& /*op*/) { return 0; }
  static constexpr std::int64_t shared_bytes(const auto& /*op*/) { return 0; }
  static constexpr std::int64_t held_bytes(const auto& /*op*/, const Capacity&) { return 0; }
};

/// Hears what a lane does beyond the ops it is handed: it waits for other lanes, or does work that ops have put off.
/// For profiles. A lane that does such things has `listen(Listener*)`; null: nobody listens.
class Listener {
 public:
  /// Tells a listener, when there is one, that `what` is done as long as this lives.
  class Notice {
   public:
    Notice(Listener* listener, const char* what) : listener_(listener) {
      if (listener_ != nullptr) listener_->begin(what);
    }
    ~Notice() {
      if (listener_ != nullptr) listener_->end();
    }
    Notice(const Notice&) = delete;
    Notice& operator=(const Notice&) = delete;

   private:
    Listener* listener_;
  };

 protected:
  ~Listener() = default;

 private:
  virtual void begin(const char* what) = 0;
  virtual void end() = 0;
};

/// A lane to which scopes and deferred work mean nothing.
struct QuietLane {
  const Packing* packing = nullptr;

  constexpr void use(Arena&) {}
  constexpr void on(const Packing& p) { packing = &p; }
  constexpr void settle() {}
  constexpr void enter(std::string_view, int) {}
  constexpr void leave() {}
  constexpr bool first() const { return true; }
  constexpr void wait() {}
  void read(void* into, const void* from, std::size_t bytes) { std::memcpy(into, from, bytes); }
};

}  // namespace fathom::inline FATHOM_ABI
