// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/thread.hpp>
#include <fathom/text/batch.hpp>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace fathom::inline FATHOM_ABI::text {

/// Hands out a sampler's batches in their order and lets a thread of its own prepare the next ones in the meantime. The
/// batches are the same with and without that thread, and all of them are allocated at construction.
///
/// An exception of the sampler is thrown by the call of `next` that would have had the batch, and by every later one.
template <Sampler S>
class Prefetch {
 public:
  using Packed = PackedBy<S>;

  /// Starts at `cursor`, which is 0 or what `cursor()` returned in an earlier run. `ahead` is the number of batches
  /// that may be ready beside the one in use; with 0, or where the system gives none, there is no thread. Errors:
  /// `Error` for a negative one.
  explicit Prefetch(S sampler, std::uint64_t cursor = 0, int ahead = 2)
      : sampler_(std::move(sampler)), cursor_(cursor) {
    if (ahead < 0) throw Error("Prefetch: " + std::to_string(ahead) + " batches ahead; give 0 or more");
    for (int i = 0; i <= ahead; ++i) slots_.push_back({Packed(sampler_.capacity()), cursor});
    if (ahead == 0) return;
    try {
      thread_ = Thread([this] { prepare(); });
    } catch (const std::system_error&) {  // the system gives none
    }
  }
  Prefetch(const Prefetch&) = delete;
  Prefetch& operator=(const Prefetch&) = delete;
  ~Prefetch() {
    const std::lock_guard lock(mutex_);
    over_ = true;
    changed_.notify_all();
  }

  /// The next batch, which stays as it is until the following call.
  const Packed& next() {
    const Slot& slot = thread_.joinable() ? wait_for_slot() : fill_slot();
    cursor_ = slot.after;
    return slot.batch;
  }

  /// The cursor after the last batch that `next` returned: what a checkpoint stores.
  std::uint64_t cursor() const { return cursor_; }
  const S& sampler() const { return sampler_; }

 private:
  struct Slot {
    Packed batch;
    std::uint64_t after;  // cursor of the batch that follows
  };

  const Slot& fill_slot() {
    Slot& slot = slots_.front();
    slot.after = sampler_.fill(cursor_, slot.batch);
    return slot;
  }

  const Slot& wait_for_slot() {
    std::unique_lock lock(mutex_);
    in_use_ = false;
    changed_.notify_all();
    changed_.wait(lock, [&] { return ready_ > 0 || failure_; });
    if (ready_ == 0) std::rethrow_exception(failure_);
    --ready_;
    in_use_ = true;
    return slots_[taken_++ % slots_.size()];
  }

  void prepare() try {
    std::uint64_t cursor = cursor_at_start_;
    for (std::size_t prepared = 0;; ++prepared) {
      Slot& slot = slots_[prepared % slots_.size()];
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return over_ || ready_ + (in_use_ ? 1 : 0) < slots_.size(); });
        if (over_) return;
      }
      cursor = slot.after = sampler_.fill(cursor, slot.batch);
      const std::lock_guard lock(mutex_);
      ++ready_;
      changed_.notify_all();
    }
  } catch (...) {
    const std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
    changed_.notify_all();
  }

  const S sampler_;
  std::uint64_t cursor_;                               // of the consumer
  const std::uint64_t cursor_at_start_ = cursor_;      // of the thread
  std::vector<Slot> slots_;                            // a ring: the one in use, then the ready ones
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t ready_ = 0, taken_ = 0;
  bool in_use_ = false;
  bool over_ = false;  // the consumer is
  std::exception_ptr failure_;
  Thread thread_;  // last: it ends before what it uses
};

}  // namespace fathom::inline FATHOM_ABI::text
