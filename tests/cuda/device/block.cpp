// SPDX-License-Identifier: Apache-2.0
#include "block.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <deque>
#include <exception>
#include <numeric>
#include <string>
#include <utility>

#include "device.hpp"
#include "fault.hpp"
#include "fiber.hpp"
#include "mutation.hpp"

namespace emulated {

namespace {

constexpr std::size_t page = 4096, most_shared = std::size_t{227} << 10;

std::string place(const std::source_location& where) {
  const std::string file = where.file_name();
  return file.substr(file.find_last_of('/') + 1) + ":" + std::to_string(where.line());
}

const char* running_text() {
  static char text[256];
  std::snprintf(text, sizeof text, "kernel %s, block %d, thread %d", running().kernel, running().block,
                running().thread);
  return text;
}

/// Fibers that are used again, and what they throw.
struct Fibers {
  std::deque<Fiber> all;
  std::exception_ptr thrown;
};
Fibers& fibers() {
  static Fibers* const fibers = new Fibers;
  return *fibers;
}

/// The end of this memory is that of the shared bytes, and behind it is a page without rights.
std::byte* shared_end() {
  static std::byte* const begin = [] {
    constexpr std::size_t bytes = (most_shared + page - 1) / page * page;
    void* const memory = ::mmap(nullptr, bytes + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    ::mprotect(static_cast<std::byte*>(memory) + bytes, page, PROT_NONE);
    return static_cast<std::byte*>(memory) + bytes;
  }();
  return begin;
}

struct Argument {
  const std::function<void(int)>* body;
  int index;
};

}  // namespace

Running& running() {
  static Running running;
  return running;
}

void wrong(const std::string& what) { throw Mistake{std::string(running_text()) + ": " + what}; }

std::vector<int> ordered(int count, Order order, std::uint64_t& random) {
  std::vector<int> list(static_cast<std::size_t>(count));
  std::iota(list.begin(), list.end(), 0);
  if (order == Order::reverse) std::ranges::reverse(list);
  if (order == Order::random)
    for (std::size_t i = list.size(); i > 1; --i) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      std::swap(list[i - 1], list[std::size_t((random >> 33) % i)]);
    }
  return list;
}

Block& Block::current() {
  static Block* const block = new Block;
  return *block;
}

void Block::run(const char* kernel, int number, int threads, std::size_t shared, Order order,
                const std::function<void(int)>& body) {
  Block& block = current();
  block.start(kernel, number, threads, shared, body);
  set_running_thread(running_text);
  block.schedule(order);
  set_running_thread(nullptr);
}

void Block::start(const char* kernel, int number, int threads, std::size_t shared,
                  const std::function<void(int)>& body) {
  kernel_ = kernel;
  number_ = number;
  body_ = &body;
  threads_.assign(std::size_t(threads), Thread{});
  shared_ = shared_end() - (shared + 15) / 16 * 16;
  std::memset(shared_, 0xFF, std::size_t(shared_end() - shared_));
  while (int(fibers().all.size()) < threads) fibers().all.emplace_back();
  for (int i = 0; i < threads; ++i)
    fibers().all[std::size_t(i)].begin(
        [](void* of) {
          Block& block = *static_cast<Block*>(of);
          const int index = block.running_;
          try {
            (*block.body_)(index);
          } catch (...) {
            fibers().thrown = std::current_exception();
          }
          block.threads_[std::size_t(index)].state = State::ended;
        },
        this);
}

void Block::schedule(Order order) {
  const int count = int(threads_.size()), warps = (count + warp_size - 1) / warp_size;
  do {
    for (const int warp : ordered(warps, order, random_)) run_warp(warp, order);
    if (std::ranges::all_of(threads_, [](const Thread& t) { return t.state == State::ended; })) return;
  } while (release(State::barrier, 0, count));
  divergent();
}

void Block::run_warp(int warp, Order order) {
  const int first = warp * warp_size, lanes = std::min(warp_size, int(threads_.size()) - first);
  do {
    for (const int lane : ordered(lanes, order, random_)) {
      const int index = first + lane;
      if (threads_[std::size_t(index)].state != State::runs) continue;
      running_ = index;
      running() = {kernel_, number_, index};
      fibers().all[std::size_t(index)].resume();
      if (fibers().thrown) std::rethrow_exception(std::exchange(fibers().thrown, nullptr));
    }
  } while (release(State::warp, first, lanes));
}

bool Block::release(State state, int first, int count) {
  const auto begin = threads_.begin() + first, end = begin + count;
  const bool there = std::all_of(begin, end, [&](const Thread& thread) {
    return thread.state == state && thread.where.line() == begin->where.line() &&
           std::strcmp(thread.where.file_name(), begin->where.file_name()) == 0;
  });
  if (!there) return false;
  std::for_each(begin, end, [](Thread& thread) { thread.state = State::runs; });
  return true;
}

void Block::divergent() const {
  const auto describe = [&](std::size_t index) {
    const Thread& thread = threads_[index];
    const std::string name = "thread " + std::to_string(index);
    if (thread.state == State::ended) return name + " has ended";
    return name + " is at the " + (thread.state == State::barrier ? "barrier" : "shuffle") + " at " +
           place(thread.where);
  };
  const auto waits = [](const Thread& thread) { return thread.state != State::ended; };
  const std::size_t first = std::size_t(std::ranges::find_if(threads_, waits) - threads_.begin());
  std::size_t other = first;  // the next that is elsewhere, of the warp if it waits for the warp alone
  for (std::size_t i = 0; i < threads_.size() && other == first; ++i)
    if (threads_[i].state != threads_[first].state || threads_[i].where.line() != threads_[first].where.line())
      other = i;
  throw Mistake{std::string("kernel ") + kernel_ + ", block " + std::to_string(number_) +
                ": divergent: " + describe(first) + ", and " + describe(other)};
}

void Block::barrier(int index, const std::source_location& where) {
  if (!dropped(where)) wait(index, State::barrier, where);
}

void Block::warp_barrier(int index, const std::source_location& where) {
  if (!dropped(where)) bring(index, 0, where);
}

bool Block::dropped(const std::source_location& where) const {
  return mutation().kind == Mutation::Kind::barrier &&
         mutation().hits_barrier(std::string(kernel_) + ", " + place(where));
}

void Block::wait(int index, State state, const std::source_location& where) {
  Thread& thread = threads_[std::size_t(index)];
  thread.state = state;
  thread.where = where;
  fibers().all[std::size_t(index)].stop();
}

}  // namespace emulated
