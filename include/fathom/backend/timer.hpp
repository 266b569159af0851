// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <fathom/backend/observed.hpp>
#include <fathom/core/config.hpp>
#include <fathom/core/indexed.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fathom::inline FATHOM_ABI {

/// What all calls of an op together cost, or whatever else a lane spends its time on ("waiting").
struct OpCost {
  std::string name;
  std::int64_t calls = 0;
  double seconds = 0;  ///< mean of the lanes, waiting inside of the op not included
  double waiting = 0;  ///< seconds, mean of the lanes: barriers inside of the op
  double flops = 0, bytes = 0;

  OpCost& operator+=(const OpCost& other) {
    calls += other.calls;
    seconds += other.seconds;
    waiting += other.waiting;
    flops += other.flops;
    bytes += other.bytes;
    return *this;
  }
};

/// Where the time of timed regions has gone. All parts add up to `seconds`.
struct Profile {
  /// What one scope costs, scopes inside of it not included.
  struct Scope {
    std::string path;  ///< backward.blocks.attention: all indices of a scope together
    std::vector<OpCost> ops;
    double between = 0;  ///< seconds that no op explains: the code of layers

    void add(const OpCost& cost) {
      const auto found = std::ranges::find(ops, cost.name, &OpCost::name);
      if (found != ops.end())
        *found += cost;
      else
        ops.push_back(cost);
    }
    double seconds() const {
      double sum = between;
      for (const OpCost& op : ops) sum += op.seconds + op.waiting;
      return sum;
    }
  };
  double seconds = 0;  ///< mean of the lanes
  std::vector<Scope> scopes;

  Profile& operator+=(const Profile& other) {
    seconds += other.seconds;
    for (const Scope& scope : other.scopes) {
      Scope& sum = at(scope.path);
      sum.between += scope.between;
      for (const OpCost& op : scope.ops) sum.add(op);
    }
    return *this;
  }
  Scope& at(const std::string& path) {
    const auto found = std::ranges::find(scopes, path, &Scope::path);
    return found != scopes.end() ? *found : scopes.emplace_back(Scope{path, {}, 0});
  }

  /// The ops of all scopes by name, most expensive first.
  std::vector<OpCost> ops() const {
    Scope all;
    for (const Scope& scope : scopes)
      for (const OpCost& op : scope.ops) all.add(op);
    std::ranges::sort(all.ops, std::ranges::greater{}, [](const OpCost& op) { return op.seconds + op.waiting; });
    return all.ops;
  }
  /// Seconds that no op explains.
  double between() const {
    double sum = 0;
    for (const Scope& scope : scopes) sum += scope.between;
    return sum;
  }
};

/// The clock of one lane. At any moment it charges one place: a scope, an op in a scope, or waiting and deferred work
/// inside of either. Deferred work is charged where it runs, which is the scope in which its frame closes; its calls,
/// operations and bytes are counted where the layer has asked for it.
///
/// Two readings of the steady clock for each op, barrier and piece of deferred work, about 25 ns each. Allocates when
/// it meets a place for the first time.
class alignas(64) Stopwatch final : public Listener {
 public:
  void start() {
    here_ = 0;
    since_ = Clock::now();
  }
  void stop() { charge(); }

  void enter(std::string_view name, int /*index*/) { here_ = inside(name, Kind::scope); }
  void leave() { here_ = places_[here_].parent; }

  template <class Op>
  void begin(const Op& op) {
    charge();
    here_ = inside(Op::name, Kind::work);
    Place& place = places_[here_];
    ++place.calls;
    place.flops += op.flops();
    place.bytes += op.bytes();
  }
  void end(const auto& /*op*/, const auto& /*lane*/) { end(); }

  /// Forgets what was charged; the places stay, so that the next region allocates nothing.
  void clear() {
    for (Place& place : places_) place.calls = 0, place.flops = place.bytes = 0, place.time = {};
  }

 private:
  using Clock = std::chrono::steady_clock;
  friend Profile profile_of(std::span<const Stopwatch>);

  enum class Kind { scope, work };
  /// The places inside of one are a list.
  struct Place {
    std::string_view name;  // of ops and scopes: literals
    Kind kind = Kind::scope;
    int parent = 0, first = 0, next = 0;  // 0: none
    std::int64_t calls = 0;
    double flops = 0, bytes = 0;
    Clock::duration time{};
  };

  void begin(const char* what) override {
    charge();
    here_ = inside(what, Kind::work);
  }
  void end() override {
    charge();
    here_ = places_[here_].parent;
  }

  /// The scopes around a place; its own name when it is one.
  std::string path_of(const Place& place) const {
    if (place.name.empty()) return {};
    const std::string around = path_of(places_[place.parent]);
    if (place.kind == Kind::work) return around;
    return around + (around.empty() ? "" : ".") + std::string(place.name);
  }

  void charge() {
    const auto now = Clock::now();
    places_[here_].time += now - since_;
    since_ = now;
  }
  int inside(std::string_view name, Kind kind) {
    int place = places_[here_].first;
    while (place != 0 && !(places_[place].name == name && places_[place].kind == kind)) place = places_[place].next;
    if (place != 0) return place;
    place = int(places_.size());
    places_.push_back({.name = name, .kind = kind, .parent = here_, .next = places_[here_].first});
    places_[here_].first = place;
    return place;
  }

  Indexed<std::vector<Place>> places_ = std::vector<Place>(1);
  int here_ = 0;
  Clock::time_point since_;
};

/// Backend `B` with a clock for every lane; `profile_of(machine().observers())` is the result.
template <class B>
using Timed = Observed<B, Stopwatch>;

/// The profile of lanes that have run the same code. Call it between regions.
inline Profile profile_of(std::span<const Stopwatch> lanes) {
  using Place = Stopwatch::Place;
  Profile profile;
  for (const Stopwatch& lane : lanes) {
    const bool first = &lane == lanes.data();
    for (const Place& place : lane.places_) {
      const double seconds = std::chrono::duration<double>(place.time).count() / double(lanes.size());
      profile.seconds += seconds;
      Profile::Scope& scope = profile.at(lane.path_of(place));
      const Place& around = lane.places_[place.parent];
      if (place.kind == Stopwatch::Kind::scope)
        scope.between += seconds;
      else if (around.kind == Stopwatch::Kind::work && place.name == "waiting")
        scope.add({.name = std::string(around.name), .waiting = seconds});
      else
        scope.add({.name = std::string(place.name),
                   .calls = first ? place.calls : 0,
                   .seconds = seconds,
                   .flops = first ? place.flops : 0,
                   .bytes = first ? place.bytes : 0});
    }
  }
  return profile;
}

}  // namespace fathom::inline FATHOM_ABI
