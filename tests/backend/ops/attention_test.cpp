// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/check_op.hpp"

namespace attention_test {

using namespace fathom_test;

using sample::Heads;
using sample::Keys;
/// f(heads, causal, keys, biased) for what attention is defined on: causal queries are among the keys.
template <class F>
void each_case(F f) {
  constexpr Heads one{1, 1, 20}, several{4, 4, 8}, grouped{6, 2, 16};
  for (const bool biased : {false, true}) {
    f(one, true, Keys::own, biased);
    f(several, false, Keys::own, biased);
    f(grouped, true, Keys::own, biased);
    f(several, true, Keys::longer, biased);
    f(grouped, false, Keys::longer, biased);
    f(several, false, Keys::other, biased);
  }
}

TEMPLATE_LIST_TEST_CASE("attention", "[ops][threads]", Backends) {
  each_case([](const Heads& heads, bool causal, Keys keys, bool biased) {
    check_op<TestType>([=](auto& o) { return sample::attention(o, heads, causal, keys, false, biased); },
                       {.dropout = true});
  });
}

TEMPLATE_LIST_TEST_CASE("attention with a cache", "[ops][threads]", Backends) {
  each_case([](const Heads& heads, bool causal, Keys keys, bool biased) {
    check_op<TestType>([=](auto& o) { return sample::attention(o, heads, causal, keys, true, biased); },
                       {.dropout = true});
  });
}

TEMPLATE_LIST_TEST_CASE("attention, backward", "[ops][threads]", Backends) {
  each_case([](const Heads& heads, bool causal, Keys keys, bool biased) {
    for (const bool restores : {false, true})
      if (!restores || keys != Keys::own || causal)
        check_op<TestType>(
            [=](auto& o) { return sample::attention_backward(o, heads, causal, keys, restores, biased); },
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

}  // namespace attention_test
