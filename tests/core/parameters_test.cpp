// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <fathom/core/buffer.hpp>
#include <fathom/core/parameters.hpp>
#include <span>
#include <string>
#include <vector>

namespace {
using namespace fathom;

// A made-up model: only its Params matter here. Every size leaves a gap behind it.
struct Leaf {
  template <class T>
  struct Params {
    WeightMatrix<T, 3, 5> weight;
    Vector<T, 17> bias;
    constexpr void each(auto& visitor) {
      visitor.tensor("weight", weight, Role::linear, init::normal(0.5));
      visitor.tensor("bias", bias, Role::bias, init::constant(2));
    }
  };
};
struct Fused {
  template <class T>
  struct Params {
    WeightMatrix<T, 6, 4> weight;
    Vector<T, 6> bias;
    constexpr void each(auto& visitor) {
      visitor.fused(weight, {Part{"query.weight", 3, Role::query, init::xavier},
                             Part{"key.weight", 1, Role::key, init::ones},
                             Part{"value.weight", 2, Role::value, init::xavier}});
      visitor.fused(bias, {Part{"query.bias", 4, Role::bias, init::zeros}, Part{"value.bias", 2, Role::bias, init::ones}});
    }
  };
};
double policy(Role role, Position at) { return role == Role::value ? 10 + at.index : at.depth; }
double inner_policy(Role, Position) { return 0.25; }
struct Block {
  template <class T>
  struct Params {
    Leaf::Params<T> first, second;
    Fused::Params<T> fused;
    struct Inner {
      Params& all;
      constexpr void each(auto& visitor) {
        all.fused.each(visitor);
        visitor.scaled(&inner_policy, all.first_holder());
      }
    };
    constexpr void each(auto& visitor) {}
  };
};
}  // namespace
