// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <concepts>
#include <fathom/backend/ops.hpp>
#include <fathom/core/arena.hpp>
#include <fathom/core/config.hpp>
#include <string_view>

/// What a backend is: a type that names a precision and a machine, and runs every op of the vocabulary.
///
///   Precision        the bundle of number types
///   Options          what the user chooses (threads, …)
///   Machine          owns threads or streams; `run(f)` calls f(lane) on each of them and waits
///   Lane             one thread or stream: `use(arena)` sets the workspace that ops may take of, `on(packing)` the
///                    rows that ops are about, `settle()` ends work that was put off, `enter(name, index)` and
///                    `leave()` tell of scopes, `first()` is true for one lane, `wait()` waits for all lanes
///   run(lane, op)    one overload for each op
///   scratch_bytes(op)            per-lane memory that the op needs while it runs
///   shared_bytes(op)             workspace, the same for all lanes, that the op needs while it runs
///   held_bytes(op, capacity)     workspace that the op keeps until the frame closes
namespace fathom::inline FATHOM_ABI {

template <class B, class Op>
concept Runs = requires(typename B::Lane& lane, const Op& op) {
  B::run(lane, op);
};

template <class B, class P = typename B::Precision>
concept LinearOps = Runs<B, op::Linear<P>> && Runs<B, op::LinearBackwardInput<P>> &&
    Runs<B, op::LinearBackwardWeight<P>> && Runs<B, op::LinearCrossEntropy<P>>;
template <class B, class P = typename B::Precision>
concept AttentionOps = Runs<B, op::Attention<P>> && Runs<B, op::AttentionBackward<P>> && Runs<B, op::Rotary<P>>;
template <class B, class P = typename B::Precision>
concept ActivationOps = Runs<B, op::Activation<P>> && Runs<B, op::ActivationBackward<P>>;
template <class B, class P = typename B::Precision>
concept NormOps = Runs<B, op::Norm<P>> && Runs<B, op::NormBackward<P>> && Runs<B, op::ResidualAddNorm<P>>;
template <class B, class P = typename B::Precision>
concept StreamOps = Runs<B, op::ResidualAdd<P>> && Runs<B, op::ResidualAddBackward<P>> && Runs<B, op::WeightedSum<P>> &&
    Runs<B, op::WeightedSumBackward<P>> && Runs<B, op::Variance<P>> && Runs<B, op::Copy<P>> && Runs<B, op::Zero<P>>;
template <class B, class P = typename B::Precision>
concept EmbeddingOps = Runs<B, op::Embedding<P>> && Runs<B, op::EmbeddingBackward<P>>;
template <class B, class P = typename B::Precision>
concept UpdateOps = Runs<B, op::SumOfSquares<P>> && Runs<B, op::Sgd<P>> && Runs<B, op::Adam<P>> &&
    Runs<B, op::Lion<P>> && Runs<B, op::Adafactor<P>> && Runs<B, op::Average<P>> && Runs<B, op::Scale<P>>;

template <class B>
concept Backend = LinearOps<B> && AttentionOps<B> && ActivationOps<B> && NormOps<B> && StreamOps<B> &&
    EmbeddingOps<B> && UpdateOps<B>;

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
};

}  // namespace fathom::inline FATHOM_ABI
