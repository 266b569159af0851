// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/backend/ops.hpp>
#include <fathom/backend/slots.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/dropout.hpp>
#include <fathom/core/key.hpp>
#include <fathom/core/packing.hpp>
#include <string_view>
#include <utility>

namespace fathom::inline FATHOM_ABI {

/// The scope of a sum that adds no branch, but the input of a layer to its stream.
inline constexpr std::string_view layer_input_scope = "layer_input";

/// What the layers of one pass have in common besides the machine.
struct Pass {
  Key key;               ///< (seed, step): dropout masks follow from it
  DropoutRates dropout;  ///< all zero in inference
};

/// The backend has the op; the template arguments are the message.
template <class B, class Op>
struct CheckOp {
  static_assert(Runs<B, Op>,
                "fathom: a layer asks for an op that this backend does not have: CheckOp<Backend, Op> names both; give "
                "the backend a run(lane, op) for it, or leave the layer out");
  static constexpr bool value = Runs<B, Op>;
};

/// What a layer is handed: one thread (or stream) of a backend, the workspace, the packing of the rows and the current
/// scope. All workers of a context run the same layer code with the same views; each op does the worker's share of it.
///
///   worker(op::LinearForward<P>{.x = x, …});             runs an op
///   auto scope = worker.scope("attention");       names what follows, and derives its random key
///   auto frame = worker.frame();                  workspace taken from here on is given back when the frame closes
///   auto turn = worker.turn();                    the same, for the next turn of a loop that does the same once more
///   auto rows = worker.template rows<T, Width>(n) uninitialized workspace
///   worker.slot(&Slots::loss)                     where an op writes a result for all lanes
///   worker.read(&Slots::loss)                     what it has written
///   worker.repeat(n, [&](int index) { … })        a loop over pieces that cost the same, such as blocks
template <class B>
class Worker {
 public:
  using Precision = typename B::Precision;
  using Lane = typename B::Lane;

  constexpr Worker(Lane& lane, Arena& workspace, const Packing& packing, const Pass& pass, Slots* slots = nullptr)
      : lane_(lane), workspace_(workspace), packing_(&packing), pass_(pass), key_(pass.key), slots_(slots) {
    lane_.use(workspace_);
    lane_.on(packing);
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  template <class Op>
  constexpr void operator()(const Op& op) {
    if constexpr (CheckOp<B, Op>::value) B::run(lane_, op);
  }

  class Scope {
   public:
    constexpr Scope(Worker& worker, std::string_view name, int index) : worker_(worker), outer_(worker.key_) {
      worker.key_ = worker.key_.child(name);
      if (index >= 0) worker.key_ = worker.key_.child(std::uint64_t(index));
      worker.lane_.enter(name, index);
    }
    constexpr ~Scope() {
      worker_.lane_.leave();
      worker_.key_ = outer_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Worker& worker_;
    Key outer_;
  };
  [[nodiscard]] constexpr Scope scope(std::string_view name, int index = -1) { return {*this, name, index}; }

  /// A scope that listeners see and keys do not: "forward" or "backward".
  class Phase {
   public:
    constexpr Phase(Worker& worker, std::string_view name) : worker_(worker) { worker.lane_.enter(name, -1); }
    constexpr ~Phase() { worker_.lane_.leave(); }
    Phase(const Phase&) = delete;
    Phase& operator=(const Phase&) = delete;

   private:
    Worker& worker_;
  };
  [[nodiscard]] constexpr Phase phase(std::string_view name) { return {*this, name}; }

  /// Closing a frame ends all work that was put off, then frees the workspace taken since it was opened.
  class Frame {
   public:
    constexpr explicit Frame(Worker& worker) : worker_(worker), mark_(worker.workspace_.used()) {}
    constexpr ~Frame() {
      worker_.lane_.settle();
      worker_.workspace_.release(mark_);
    }
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;

   private:
    Worker& worker_;
    std::int64_t mark_;
  };
  [[nodiscard]] constexpr Frame frame() { return Frame(*this); }

  /// A turn of a loop within a frame: the next turn finds the workspace that this one took, and uses it alike, with the
  /// same rows in the same places. So it is freed without waiting for anybody. Nothing may be put off in a turn.
  class Turn {
   public:
    constexpr explicit Turn(Arena& workspace) : workspace_(workspace), mark_(workspace.used()) {}
    constexpr ~Turn() { workspace_.release(mark_); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

   private:
    Arena& workspace_;
    std::int64_t mark_;
  };
  [[nodiscard]] constexpr Turn turn() { return Turn(workspace_); }

  /// Calls f(0), …, f(count - 1), whose ops have the same extents except in the first and the last call, as has what
  /// each takes of the workspace and of `kept`, where that is given. A dry run calls f for those two and once for all
  /// others.
  template <class F>
  constexpr void repeat(int count, Arena* kept, F&& f) {
    if constexpr (requires { lane_.repeat(count, kept, f); })
      lane_.repeat(count, kept, f);
    else
      for (int index = 0; index < count; ++index) f(index);
  }
  template <class F>
  constexpr void repeat(int count, F&& f) {
    repeat(count, nullptr, f);
  }

  template <class T, int Width>
  constexpr Rows<T, Width> rows(int count) {
    return workspace_.rows<T, Width>(count);
  }
  constexpr Arena& workspace() { return workspace_; }

  /// Rows of another packing (the encoder's, inside the decoder) until the returned guard is gone; the packing is not
  /// copied.
  class Elsewhere {
   public:
    constexpr Elsewhere(Worker& worker, const Packing& packing) : worker_(worker), outer_(worker.packing_) {
      worker_.move_to(&packing);
    }
    constexpr ~Elsewhere() { worker_.move_to(outer_); }
    Elsewhere(const Elsewhere&) = delete;
    Elsewhere& operator=(const Elsewhere&) = delete;

   private:
    Worker& worker_;
    const Packing* outer_;
  };
  [[nodiscard]] constexpr Elsewhere on(const Packing& packing) { return {*this, packing}; }
  Elsewhere on(Packing&&) = delete;

  /// The address of a slot, for an op. Null in a dry run.
  template <class T>
  constexpr T* slot(T Slots::*member) const {
    return slots_ == nullptr ? nullptr : &(slots_->*member);
  }
  /// What the last op that was handed the slot has written there: how layers, models and trainers get values from the
  /// machine while a region runs. Every lane makes it, waits for the value, and gets the same. Nothing in a dry run.
  template <class T>
  constexpr T read(T Slots::*member) {
    T value{};
    if (slots_ != nullptr) lane_.read(&value, slot(member), sizeof value);
    return value;
  }

  constexpr const Packing& packing() const { return *packing_; }
  constexpr const DropoutRates& dropout_rates() const { return pass_.dropout; }
  /// Dropout at `rate`, keyed by the current scope and the site in it.
  constexpr Dropout dropout(std::string_view site, double rate) const { return {rate, key_.child(site)}; }
  /// Whether this is the one lane that reports for all.
  constexpr bool first() const { return lane_.first(); }
  /// Waits until all lanes have come here.
  constexpr void wait() { lane_.wait(); }

 private:
  constexpr void move_to(const Packing* packing) {
    packing_ = packing;
    lane_.on(*packing);
  }

  Lane& lane_;
  Arena& workspace_;
  const Packing* packing_;
  Pass pass_;
  Key key_;
  Slots* slots_;
};

}  // namespace fathom::inline FATHOM_ABI
