// SPDX-License-Identifier: Apache-2.0
#include "backend/ops/check_op.hpp"

namespace loss_test {

using namespace fathom_test;

TEMPLATE_LIST_TEST_CASE("linear + cross-entropy", "[ops][threads]", Backends) {
  constexpr int width = 20;
  constexpr LossOptions plain, all{.smoothing = 0.1, .z_loss = 1e-2};
  for (const bool gradients : {false, true}) {
    for (const int vocabulary : {7, 300})
      for (const bool bias : {false, true})
        for (const LossOptions& options : {plain, all})
          check_op<TestType>(
              [=](auto& o) { return sample::linear_cross_entropy(o, width, vocabulary, bias, gradients, options); });
    check_op<TestType>(all_rows()[2], [=](auto& o) {  // in several chunks
      return sample::linear_cross_entropy(o, width, 20'000, true, gradients, all);
    });
  }
}

TEMPLATE_LIST_TEST_CASE("ranks of logits", "[ops][threads]", Backends) {
  for (const int vocabulary : {2, 40, 1500})
    for (const int count : {1, 6, 30})
      for (const bool equal : {false, true})
        check_op<TestType>([=](auto& o) { return sample::rank_logits(o, vocabulary, count, equal); });
}

TEMPLATE_LIST_TEST_CASE("logits that cannot be ranked say so in their sum", "[ops]", Backends) {
  using T = typename TestType::Precision::Activation;
  constexpr T infinity = std::numeric_limits<T>::infinity(), nan = std::numeric_limits<T>::quiet_NaN();
  constexpr int vocabulary = 700;
  for (const T bad : {nan, infinity, -infinity}) {
    std::vector<T> logits(std::size_t(2 * vocabulary), bad == -infinity ? bad : T(1)), values(8);
    std::vector<int> indices(8);
    std::vector<typename TestType::Precision::Statistic> log_sum(2);
    logits[300] = bad;
    logits[vocabulary + 5] = T(2);  // the other row is as good as ever
    const PackedRows rows = PackedRows::uniform(1, 2);
    Context<TestType> context(TestType::one_lane());
    const op::RankLogits<typename TestType::Precision> op{.logits = {logits.data(), 2, vocabulary, vocabulary},
                                                          .values = {values.data(), 2, 4, 4},
                                                          .indices = {indices.data(), 2, 4, 4},
                                                          .log_sum = {log_sum.data(), 2}};
    context.reserve(dry_run<TestType>(rows.capacity(), {}, [&](auto& worker) { worker(op); }).size);
    OnDevice memory;
    const auto add = [&](auto& list) { memory.add(list.data(), std::int64_t(list.size() * sizeof list[0])); };
    add(logits), add(values), add(indices), add(log_sum);
    context.run(rows, Pass{}, [&](auto& worker) { worker(memory.moved(op)); });
    memory.take_back();
    CHECK(std::isnan(log_sum[0]));
    CHECK(std::isfinite(log_sum[1]));
    CHECK(indices[4] == 5);
    CHECK(values[4] == T(2));
  }
}

}  // namespace loss_test
