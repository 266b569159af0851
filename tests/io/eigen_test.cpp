// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <fathom/backend/ref/ref.hpp>
#include <fathom/core/batch.hpp>
#include <fathom/io/eigen.hpp>
#include <fathom/models/language_model.hpp>
#include <fathom/models/weights.hpp>
#include <numeric>
#include <vector>

namespace eigen_test {

using namespace fathom;

using Model = LanguageModel<Vocabulary<9>, ContextLength<4>, deepnet::DecoderOnly<2, 8, 2>>;

std::vector<float> counted(int size) {
  std::vector<float> values(std::size_t(size), 0.0f);
  std::iota(values.begin(), values.end(), 0.0f);
  return values;
}

TEST_CASE("a strided view is a map of Eigen's, and that is the view again", "[eigen]") {
  std::vector<float> values = counted(30);
  const Matrix<float> view(values.data() + 1, 4, 3, 7);
  auto map = as_eigen(view);
  REQUIRE((map.rows() == 4 && map.cols() == 3));
  CHECK(map(2, 1) == view.row(2)[1]);
  map(3, 2) = -1;
  CHECK(view.row(3)[2] == -1);

  const Matrix<float> back = from_eigen(map);
  CHECK((back.data == view.data && back.rows == 4 && back.columns == 3 && back.stride == 7));
  const Matrix<float> block = from_eigen(map.block(1, 1, 2, 2));
  CHECK((block.data == view.row(1) + 1 && block.rows == 2 && block.columns == 2 && block.stride == 7));
  const Matrix<const float> readable = view;
  static_assert(std::is_same_v<decltype(from_eigen(as_eigen(readable))), Matrix<const float>>);
  CHECK(as_eigen(readable).sum() == map.sum());
}

TEST_CASE("weights are read and written as matrices of Eigen's", "[eigen]") {
  Weights<Model, Ref<float>> weights(1);
  for (const ParameterInfo& info : describe<Model>()) {
    if (info.name != "output.weight") continue;
    float* const tensor = weights.flat().data() + info.offset;
    auto matrix = as_eigen(Matrix<float>(tensor, info.rows, info.columns));
    REQUIRE((matrix.rows() == 9 && matrix.cols() == 8));
    matrix.setIdentity();
  }
  const auto output = as_eigen(weights.params().output.separate);
  CHECK(output.trace() == 8);
  CHECK(output.sum() == 8);
  const Matrix<const float> view = from_eigen(output);
  CHECK(view.data == weights.params().output.separate.data);
}

TEST_CASE("hidden states go through Eigen and an op alike", "[eigen]") {
  std::vector<float> values = counted(3 * 8), logits(3 * 9);
  const Rows<float, 8> hidden(values.data(), 3);
  const Weights<Model, Ref<float>> weights(1);
  const auto matrix = weights.params().output.separate;
  Eigen::Matrix<float, 3, 9, Eigen::RowMajor> by_op;
  QuietLane lane;
  const Packing packing{{3, 1, 3}, {}, {}, {}, {}};
  lane.on(packing);
  Ref<float>::run(lane, op::LinearForward<Single>{.x = hidden, .weight = matrix, .bias = {}, .y = from_eigen(by_op)});
  CHECK(by_op.isApprox(as_eigen(hidden) * as_eigen(matrix).transpose()));
}

TEST_CASE("tokens and vectors are maps of one column", "[eigen]") {
  const std::vector<int> tokens{3, 1, 2}, targets{1, 2, -1};
  const TokenBatch batch{{}, tokens, targets};
  CHECK(as_eigen(batch.tokens).maxCoeff() == 3);
  CHECK((as_eigen(batch.targets).array() >= 0).count() == 2);

  Eigen::VectorXi own(2);
  own << 5, 6;
  const TokenBatch from{{}, from_eigen(own), {}};
  CHECK((from.tokens.data() == own.data() && from.tokens.size() == 2));
  std::vector<double> values{1, 2, 3};
  const Vector<double, 3> vector{values.data()};
  as_eigen(vector) *= 2;
  CHECK(values == std::vector<double>{2, 4, 6});
}

TEST_CASE("memory that no view can show is refused", "[eigen]") {
  EigenMatrix<float> matrix(4, 6);
  using Every = Eigen::Map<EigenMatrix<float>, Eigen::Unaligned, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>>;
  const Every every_second(matrix.data(), 4, 3, {6, 2});
  CHECK_THROWS_AS(from_eigen(every_second), ShapeError);
  CHECK_THROWS_AS(from_eigen(matrix.col(1)), ShapeError);
}

}  // namespace eigen_test
