// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/check_op.hpp"

using namespace fathom_test;

namespace {

using sample::Heads;
using sample::Keys;
/// f(heads, causal, keys) for what attention is defined on: causal queries are among the keys.
template <class F>
void each_case(F f) {
  constexpr Heads one{1, 1, 20}, several{4, 4, 8}, grouped{6, 2, 16};
  f(one, true, Keys::own);
  f(several, false, Keys::own);
  f(grouped, true, Keys::own);
  f(several, true, Keys::longer);
  f(grouped, false, Keys::longer);
  f(several, false, Keys::other);
}

}  // namespace

TEMPLATE_LIST_TEST_CASE("attention", "[ops][threads]", Backends) {
  each_case([](const Heads& heads, bool causal, Keys keys) {
    check_op<TestType>([=](auto& o) { return sample::attention(o, heads, causal, keys, false); }, {.dropout = true});
  });
}

TEMPLATE_LIST_TEST_CASE("attention with a cache", "[ops][threads]", Backends) {
  each_case([](const Heads& heads, bool causal, Keys keys) {
    check_op<TestType>([=](auto& o) { return sample::attention(o, heads, causal, keys, true); }, {.dropout = true});
  });
}

TEMPLATE_LIST_TEST_CASE("attention, backward", "[ops][threads]", Backends) {
  each_case([](const Heads& heads, bool causal, Keys keys) {
    for (const bool restores : {false, true})
      if (!restores || keys != Keys::own || causal)
        check_op<TestType>([=](auto& o) { return sample::attention_backward(o, heads, causal, keys, restores); },
                           {.dropout = true});
  });
}

TEMPLATE_LIST_TEST_CASE("rotary", "[ops][threads]", Backends) {
  for (const bool backward : {false, true})
    check_op<TestType>([=](auto& o) { return sample::rotary(o, 3, 12, backward); });
}

TEMPLATE_LIST_TEST_CASE("copies in a cache", "[ops][threads]", Backends) {
  const std::vector<CacheCopy> copies{{1, 0, 9}, {1, 3, 4}, {2, 4, 0}};
  for (const Heads heads : {Heads{4, 1, 20}, Heads{6, 3, 8}}) {
    check_op<TestType>([=, &copies](auto& o) { return sample::copy_cache(o, heads, copies); });
    check_op<TestType>([=](auto& o) { return sample::copy_cache(o, heads, {}); });
  }
}
