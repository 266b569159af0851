// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch_test_macros.hpp>
#include <cmath>
#include <fathom/layers/linear.hpp>
#include <fathom/testing/gradient_check.hpp>
#include <string>

#include "support/convolution.hpp"

namespace gradient_check_test {

using namespace fathom;

/// A correct layer that faulty ones change in one point.
struct Sound {
  using Base = Linear<4, 4>;
  static constexpr const char* name = "sound";
  static constexpr int input_width = 4, output_width = 4;
  static constexpr Sees sees = Sees::itself;
  template <class T>
  using Params = Base::Params<T>;
  template <class P>
  struct Saved {
    Rows<typename P::Activation, 4> h;
    static constexpr Saved take(Arena& arena, const Capacity& capacity) {
      return {arena.rows<typename P::Activation, 4>(capacity.rows)};
    }
  };
  template <class W, class P = PrecisionOf<W>>
  static constexpr void forward(W& worker, const Params<const typename P::Weight>& p, const Flow<P>& flow, auto x,
                                auto y, Saved<P>& saved) {
    NothingSaved<P> nothing;
    worker(op::Copy<P>{.x = x, .y = resized(saved.h, x.count)});
    Base::forward(worker, p, flow, x, y, nothing);
  }
  template <class W, class P = PrecisionOf<W>>
  static constexpr void backward(W& worker, const Params<const typename P::Weight>& p,
                                 const Params<typename P::Gradient>& dp, const Flow<P>& flow, auto,
                                 const Saved<P>& saved, auto dy, auto dx, Skip<P> skip) {
    Base::backward(worker, p, dp, flow, resized(saved.h, dy.count), NothingSaved<P>{}, dy, dx, skip);
  }
};

struct ForgetsBias : Sound {
  static constexpr void backward(auto& worker, const auto& p, auto dp, const auto& flow, auto x, const auto& saved,
                                 auto dy, auto dx, auto skip) {
    dp.bias.data = worker.template rows<double, 4>(1).data;  // where nobody looks
    Sound::backward(worker, p, dp, flow, x, saved, dy, dx, skip);
  }
};
struct ForgetsSkip : Sound {
  static constexpr void backward(auto& worker, const auto& p, const auto& dp, const auto& flow, auto x,
                                 const auto& saved, auto dy, auto dx, auto skip) {
    Sound::backward(worker, p, dp, flow, x, saved, dy, dx, decltype(skip){});
  }
};
struct OverwritesGradient : Sound {
  static constexpr void backward(auto& worker, const auto& p, const auto& dp, const auto& flow, auto x,
                                 const auto& saved, auto dy, auto dx, auto skip) {
    worker(op::Zero<Double>{.y = {dp.weight.data, 1, 16}});
    Sound::backward(worker, p, dp, flow, x, saved, dy, dx, skip);
  }
};
struct WritesIntoGap : Sound {
  static constexpr void backward(auto& worker, const auto& p, const auto& dp, const auto& flow, auto x,
                                 const auto& saved, auto dy, auto dx, auto skip) {
    worker(op::Zero<Double>{.y = {dp.bias.data + 4, 1, 1}});
    Sound::backward(worker, p, dp, flow, x, saved, dy, dx, skip);
  }
};
struct ChangesSaved : Sound {
  static constexpr void backward(auto& worker, const auto& p, const auto& dp, const auto& flow, auto x,
                                 const auto& saved, auto dy, auto dx, auto skip) {
    Sound::backward(worker, p, dp, flow, x, saved, dy, dx, skip);
    worker(op::Copy<Double>{.x = dy, .y = resized(saved.h, dy.count)});
  }
};
struct NotDoubled : Sound {  // y doubled in forward alone
  static constexpr void forward(auto& worker, const auto& p, const auto& flow, auto x, auto y, auto& saved) {
    Sound::forward(worker, p, flow, x, y, saved);
    worker(op::Copy<Double>{.x = y, .y = y, .add = true});
  }
};
struct AddsToOutput : Sound {
  static constexpr void forward(auto& worker, const auto&, const auto&, auto x, auto y, auto&) {
    worker(op::Copy<Double>{.x = x, .y = y, .add = true});
  }
};
struct ReadsStaleWorkspace : Sound {
  static constexpr void forward(auto& worker, const auto& p, const auto& flow, auto x, auto y, auto& saved) {
    Sound::forward(worker, p, flow, x, y, saved);
    worker(op::Copy<Double>{.x = worker.template rows<double, 4>(x.count), .y = y, .add = true});
  }
};
struct SavesNothing : Sound {
  static constexpr void forward(auto& worker, const auto& p, const auto& flow, auto x, auto y, auto&) {
    NothingSaved<Double> nothing;
    Base::forward(worker, p, flow, x, y, nothing);
  }
};

template <class L>
std::string found() {
  const auto report = testing::check_gradients<L>();
  REQUIRE(report.error > 1e-3);
  REQUIRE(report.text().starts_with(report.tensor));
  return report.tensor;
}

TEST_CASE("a sound layer passes, all of its entries compared", "[testing]") {
  const auto report = testing::check_gradients<Sound>();
  REQUIRE(report.error <= 1e-6);
  REQUIRE(report.compared == 2 * (8 * 4 + 4 * 4 + 4));  // x, weight, bias; without and with a skip
  REQUIRE(testing::check_gradients<Sound>({.samples = 3}).compared == 2 * 3 * 3);
}

TEST_CASE("a sound layer whose rows see others passes", "[testing]") {
  REQUIRE(testing::check_gradients<fathom_test::Convolution<4>>().error <= 1e-6);
}

TEST_CASE("the gradient check names what a faulty layer gets wrong", "[testing]") {
  REQUIRE(found<ForgetsBias>().starts_with("bias"));
  REQUIRE(found<ForgetsSkip>() == "x with a skip");
  REQUIRE(found<OverwritesGradient>().starts_with("weight"));
  REQUIRE(found<WritesIntoGap>() == "backward wrote between the gradients of parameters");
  REQUIRE(found<ChangesSaved>() == "backward changed saved values");
  found<NotDoubled>();
}

TEST_CASE("the gradient check finds what is read before it is written", "[testing]") {
  REQUIRE(std::isinf(testing::check_gradients<AddsToOutput>().error));
  REQUIRE(std::isinf(testing::check_gradients<ReadsStaleWorkspace>().error));
  REQUIRE(std::isinf(testing::check_gradients<SavesNothing>().error));
}

}  // namespace gradient_check_test
