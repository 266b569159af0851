// SPDX-License-Identifier: Apache-2.0
#include "work.hpp"

#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>
#include <utility>

namespace emulated {

namespace {

std::uint64_t next_random(std::uint64_t& state) {  // xorshift64
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

}  // namespace

bool WorkQueue::reached(const Points& points) const {
  return std::ranges::all_of(points, [](const WorkPointer& point) { return point->done; });
}

void WorkQueue::reach(const Points& points, Order order, const std::function<void(Work&)>& perform) {
  if (reached(points)) return;
  if (order != Order::forward) return reach_all(order, perform);
  std::unordered_set<const Work*> needed;
  for (const WorkPointer& point : points) needed.insert(point.get());
  std::vector<WorkPointer> chosen;
  for (auto work = pending_.rbegin(); work != pending_.rend(); ++work) {
    if (!needed.contains(work->get())) continue;
    chosen.push_back(*work);
    for (const WorkPointer& before : (*work)->after) needed.insert(before.get());
  }
  std::ranges::reverse(chosen);
  perform_all(std::move(chosen), order, perform);
}

void WorkQueue::reach_all(Order order, const std::function<void(Work&)>& perform) {
  perform_all(pending_, order, perform);
}

void WorkQueue::perform_all(std::vector<WorkPointer> chosen, Order order, const std::function<void(Work&)>& perform) {
  std::unordered_map<const Work*, std::vector<std::size_t>> followers;
  std::vector<int> open(chosen.size());  // pieces that each comes after, and that are not done
  std::set<std::pair<std::uint64_t, std::size_t>> ready;
  const auto offer = [&](std::size_t index) {
    const std::uint64_t key = order == Order::forward   ? index
                              : order == Order::reverse ? chosen.size() - index
                                                        : next_random(random_);
    ready.emplace(key, index);
  };
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    for (const WorkPointer& before : chosen[i]->after)
      if (!before->done) {
        ++open[i];
        followers[before.get()].push_back(i);
      }
    if (open[i] == 0) offer(i);
  }
  while (!ready.empty()) {
    const std::size_t index = ready.begin()->second;
    ready.erase(ready.begin());
    Work& work = *chosen[index];
    perform(work);
    work.run = nullptr;
    work.done = true;
    work.after.clear();
    for (const std::size_t follower : followers[&work])
      if (--open[follower] == 0) offer(follower);
  }
  std::erase_if(pending_, [](const WorkPointer& work) { return work->done; });
}

void WorkQueue::clear() {
  for (const WorkPointer& work : pending_) work->done = true, work->after.clear();
  pending_.clear();
}

}  // namespace emulated
