// SPDX-License-Identifier: Apache-2.0
#include <array>
#include <catch2/catch_test_macros.hpp>
#include <fathom/core/view.hpp>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <vector>

namespace view_test {

using namespace fathom;

template <class From, class... To>
constexpr bool converts = (std::is_convertible_v<From, To> && ...);
template <class From, class... To>
constexpr bool converts_to_none = (!std::is_convertible_v<From, To> && ...);

// What may be written may be read, never the other way around.
static_assert(converts<Matrix<float>, Matrix<const float>> && converts_to_none<Matrix<const float>, Matrix<float>>);
static_assert(converts<Rows<float, 4, 8>, Rows<const float, 4, 8>, Matrix<float>, Matrix<const float>>);
static_assert(converts<Rows<const float, 4, 8>, Matrix<const float>>);
static_assert(converts_to_none<Rows<const float, 4, 8>, Rows<float, 4, 8>, Matrix<float>>);
static_assert(converts<WeightMatrix<float, 2, 3>, Matrix<float>, Matrix<const float>>);
static_assert(converts<WeightMatrix<const float, 2, 3>, Matrix<const float>>);
static_assert(converts_to_none<WeightMatrix<const float, 2, 3>, Matrix<float>>);
static_assert(converts<Vector<float, 3>, Elements<float>, Elements<const float>>);
static_assert(converts<Vector<const float, 3>, Elements<const float>>);
static_assert(converts_to_none<Vector<const float, 3>, Elements<float>>);
static_assert(converts<NoVector<float>, Elements<float>, Elements<const float>>);
static_assert(converts_to_none<NoVector<const float>, Elements<float>>);
static_assert(converts<Elements<float>, Elements<const float>, std::span<float>, std::span<const float>>);
static_assert(converts_to_none<Elements<const float>, Elements<float>, std::span<float>>);
static_assert(converts<std::span<float>, Elements<float>, Elements<const float>>);
static_assert(converts<const std::vector<float>&, Elements<const float>>);
static_assert(converts_to_none<const std::vector<float>&, Elements<float>>);

static_assert(converts_to_none<std::span<float>, Elements<double>, Elements<const double>>);

// Neither the number type nor a static extent changes on the way; no view is taken for a number.
static_assert(converts_to_none<Matrix<float>, Matrix<double>, Matrix<const double>, Rows<float, 4>, bool, int>);
static_assert(converts_to_none<Rows<float, 4>, Rows<float, 3>, Rows<float, 4, 8>, Rows<const double, 4>, bool>);
static_assert(converts_to_none<WeightMatrix<float, 2, 3>, WeightMatrix<float, 3, 2>, bool>);

constexpr std::array<int, 12> numbers = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
constexpr Matrix<const int> matrix(numbers.data(), 3, 4);
constexpr Matrix<const int> right(numbers.data() + 2, 3, 2, 4);
static_assert(matrix.stride == 4 && matrix.row(0)[0] == 0 && matrix.row(2)[1] == 9);
static_assert(right.row(0)[1] == 3 && right.row(2)[0] == 10, "rows are a stride apart");

constexpr auto block = right.block(1, 2);
static_assert(block.data == right.row(1) && block.rows == 2 && block.columns == 2 && block.stride == 4);
static_assert(matrix && right && !right.block(1, 0) && !Matrix<const int>());

// Columns and fewer rows are views of the same elements.
constexpr Rows<const int, 4> rows(numbers.data(), 3);
constexpr auto middle = rows.columns<1, 2>();
static_assert(std::is_same_v<decltype(middle), const Rows<const int, 2, 4>>);
static_assert(middle.count == 3 && Matrix<const int>(middle).row(1)[0] == 5 &&
              Matrix<const int>(middle).row(2)[1] == 10);
static_assert(Matrix<const int>(middle.columns<1, 1>()).row(1)[0] == 6);
static_assert(resized(middle, 2).count == 2 && resized(middle, 2).data == middle.data);
static_assert(std::is_same_v<decltype(resized(middle, 2)), Rows<const int, 2, 4>>);

constexpr WeightMatrix<const int, 3, 4> weight{numbers.data()};
static_assert(weight.rows == 3 && weight.columns == 4 && Matrix<const int>(weight).row(2)[3] == 11);
constexpr Vector<const int, 5> vector{numbers.data() + 1};
static_assert(vector.rows == 1 && vector.columns == 5);
static_assert(Elements<const int>(vector).size() == 5 && Elements<const int>(vector)[4] == 5);
static_assert(Elements<const int>(vector).part(3, 2)[1] == 5 && *(Elements<const int>(vector).end() - 1) == 5);

// Gaps lie between rows alone: one row has none, nor has an absent matrix.
static_assert(Matrix<const int>(numbers.data(), 3, 4).contiguous() &&
              !Matrix<const int>(numbers.data(), 3, 2, 4).contiguous());
static_assert(Matrix<const int>(numbers.data(), 1, 2, 4).contiguous() && Matrix<const int>().contiguous());

// An absent vector is one without elements.
static_assert(std::is_same_v<OptionalVector<int, 5, true>, Vector<int, 5>>);
static_assert(std::is_same_v<OptionalVector<int, 5, false>, NoVector<int>>);
static_assert(Elements<const int>(NoVector<int>()).empty() && std::is_empty_v<NoVector<int>>);

// Views of a dry run have extents and no elements: present, and null wherever one looks. Arithmetic on a null pointer
// would be no constant expression.
constexpr Rows<float, 4> planned(nullptr, 3);
static_assert(offset<float>(nullptr, 7) == nullptr && offset(numbers.data(), 7) == numbers.data() + 7);
static_assert(planned.columns<2, 2>().data == nullptr && planned.columns<2, 2>().count == 3);
static_assert(Matrix<float>(planned) && Matrix<float>(planned).row(2) == nullptr);
static_assert(Matrix<float>(planned).block(1, 2) && Matrix<float>(planned).block(1, 2).data == nullptr);
constexpr Elements<float> planned_elements(nullptr, 7);
static_assert(planned_elements.part(3, 4).data() == nullptr && Elements<const float>(planned_elements).size() == 7);

TEST_CASE("what is written through a view is in the memory behind it", "[core]") {
  std::array<int, 12> memory = numbers;
  const Rows<int, 4> all(memory.data(), 3);
  const Matrix<int> last = all.columns<3, 1>();
  for (int row = 0; row < last.rows; ++row) last.row(row)[0] = -row;
  CHECK(memory == std::array<int, 12>{0, 1, 2, 0, 4, 5, 6, -1, 8, 9, 10, -2});
  const std::span<int> bias = Elements<int>(Vector<int, 2>{memory.data()});
  bias[1] = 7;
  CHECK(memory[1] == 7);
}

TEST_CASE("a matrix may have more elements than an int can count", "[core]") {
  constexpr int side = 50'000;
  const std::unique_ptr<char[]> memory(new (std::nothrow) char[std::size_t(side) * side]);  // reserved, never touched
  if (memory == nullptr) SKIP("no 2.5 GB of addresses");
  const Matrix<char> large(memory.get(), side, side);
  CHECK(large.row(side - 1) - memory.get() == std::int64_t(side - 1) * side);
  CHECK(large.block(side - 1, 1).data == large.row(side - 1));
}

}  // namespace view_test
