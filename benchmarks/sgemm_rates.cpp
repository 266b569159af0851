// SPDX-License-Identifier: Apache-2.0
#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <fathom/backend/cpu/lane.hpp>
#include <fathom/backend/cpu/matmul/native.hpp>
#include <fathom/backend/cpu/products.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "machine.hpp"
#include "shape.hpp"

/// The fastest matrix products at a model's own shapes, and how long a training step would take at their rate:
///   sgemm_rates 12,512,8,2048,4096,4,128 --threads 2 [--precision Mixed]
///
/// Times every product of a step with weights (forward, input gradient, weight gradient of query-key-value, output, up,
/// down, logits), operands warm in the caches, by fathom's engine with rows or outputs dealt to the threads and, when
/// there is a libopenblas to load, by OpenBLAS: dealt likewise, and threaded by itself. The best of these counts; in
/// mixed precision there are fathom's products of bf16 numbers alone. Attention counts as in `op::AttentionForward` and
/// `op::AttentionBackward`, the causal half of its pairs, at the mean rate of the products. Prints one line of JSON for
/// compare_pytorch.py.
namespace {
using namespace fathom;
using cpu::MatmulSize, cpu::Range;

/// An OpenBLAS loaded while the program runs, so that the build needs none.
class OpenBlas {
 public:
  static std::optional<OpenBlas> load() {
    void* const library = ::dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return std::nullopt;
    OpenBlas blas;
    blas.sgemm_ = reinterpret_cast<Sgemm*>(::dlsym(library, "cblas_sgemm"));
    blas.set_threads_ = reinterpret_cast<SetThreads*>(::dlsym(library, "openblas_set_num_threads"));
    if (blas.sgemm_ == nullptr || blas.set_threads_ == nullptr) return std::nullopt;
    return blas;
  }
  void set_threads(int threads) const { set_threads_(threads); }
  /// C (m, n) = op(A) op(B) + beta · C, row-major.
  void multiply(bool transpose_a, bool transpose_b, MatmulSize size, const float* a, std::size_t a_stride,
                const float* b, std::size_t b_stride, float beta, float* c, std::size_t c_stride) const {
    constexpr int row_major = 101, plain = 111, transposed = 112;
    sgemm_(row_major, transpose_a ? transposed : plain, transpose_b ? transposed : plain, int(size.m), int(size.n),
           int(size.k), 1, a, int(a_stride), b, int(b_stride), beta, c, int(c_stride));
  }

 private:
  using Sgemm = void(int, int, int, int, int, int, float, const float*, int, const float*, int, float, float*, int);
  using SetThreads = void(int);
  Sgemm* sgemm_ = nullptr;
  SetThreads* set_threads_ = nullptr;
};

enum Form { forward, input_gradient, weight_gradient };
constexpr std::array form_names{"forward", "dx", "dw"};

/// The three products of one weight (out, in) with all rows of a batch.
template <class P>
class Product {
 public:
  using Engine = cpu::Products<P, cpu::Native>;
  using Number = typename P::Activation;

  Product(cpu::Team& team, const OpenBlas* blas, int rows, int out, int in)
      : team_(team),
        blas_(blas),
        rows_(rows),
        out_(out),
        in_(in),
        x_(std::size_t(rows) * in),
        y_(std::size_t(rows) * out),
        weight_(std::size_t(out) * in),
        bias_(std::size_t(out)),
        dweight_(weight_.size()),
        dbias_(bias_.size()),
        scratch_each_(Engine::scratch_size({std::size_t(rows), std::size_t(out), std::size_t(in)})),
        scratch_(scratch_each_ * std::size_t(team.size())) {}

  double flops() const { return 2.0 * rows_ * out_ * in_; }

  /// FLOP/s, all threads together.
  double fathom(Form form) {
    return rate([&](int thread) { native(form, thread); });
  }
  double openblas_dealt(Form form)
    requires(std::is_same_v<P, Single>)
  {
    blas_->set_threads(1);
    return rate([&](int thread) { blas(form, share(form, thread)); });
  }
  double openblas_threaded(Form form)
    requires(std::is_same_v<P, Single>)
  {
    blas_->set_threads(team_.size());
    cpu::Team alone(1);
    return flops() * bench::calls_per_second(alone, [&](int) { blas(form, {0, dealt(form)}); });
  }

 private:
  int dealt(Form form) const { return form == weight_gradient ? out_ : rows_; }
  Range share(Form form, int thread) const {
    return cpu::share_of(dealt(form), thread, team_.size(), form == weight_gradient ? 16 : 1);
  }
  template <class F>
  double rate(F&& f) {
    return flops() * bench::calls_per_second(team_, f);
  }

  void native(Form form, int thread) {
    const Range own = share(form, thread);
    const auto begin = std::size_t(own.begin), size = std::size_t(own.size()), out = std::size_t(out_),
               in = std::size_t(in_);
    auto* const scratch = scratch_.data() + scratch_each_ * std::size_t(thread);
    if (form == forward) {
      Engine::forward({size, out, in}, {x_.data() + begin * in, in}, {weight_.data(), in}, bias_.data(),
                      cpu::RowMajor<Number>{y_.data() + begin * out, out}, scratch);
    } else if (form == input_gradient) {
      typename Engine::Result dx;
      if constexpr (std::is_same_v<P, Mixed>)
        dx.rounded = {x_.data() + begin * in, in};
      else
        dx = {x_.data() + begin * in, in};
      Engine::input_gradient({size, out, in}, {y_.data() + begin * out, out}, {weight_.data(), in}, {nullptr, 0}, 0, dx,
                             scratch);
    } else {
      Engine::weight_gradient({std::size_t(rows_), size, in}, {y_.data() + begin, out}, {x_.data(), in},
                              {dweight_.data() + begin * in, in}, dbias_.data() + begin, scratch);
    }
  }
  void blas(Form form, Range own) {
    const auto begin = std::size_t(own.begin), size = std::size_t(own.size()), out = std::size_t(out_),
               in = std::size_t(in_), rows = std::size_t(rows_);
    if (form == forward)
      blas_->multiply(false, true, {size, out, in}, x_.data() + begin * in, in, weight_.data(), in, 0,
                      y_.data() + begin * out, out);
    else if (form == input_gradient)
      blas_->multiply(false, false, {size, in, out}, y_.data() + begin * out, out, weight_.data(), in, 0,
                      x_.data() + begin * in, in);
    else
      blas_->multiply(true, false, {size, in, rows}, y_.data() + begin, out, x_.data(), in, 1,
                      dweight_.data() + begin * in, in);
  }

  cpu::Team& team_;
  const OpenBlas* blas_;
  int rows_, out_, in_;
  bench::NumbersOf<Number> x_, y_, weight_, bias_;
  bench::Numbers dweight_, dbias_;
  std::size_t scratch_each_;
  bench::NumbersOf<typename Engine::Number> scratch_;
};

/// The numbers of "12,512,8,2048,4096,4,128"; fewer when it is not a shape.
std::vector<int> numbers_of(std::string_view text) {
  std::vector<int> numbers;
  for (std::size_t end = 0; end != text.npos; text.remove_prefix(std::min(text.size(), end + 1))) {
    end = text.find(',');
    const auto number = format::parse<int>(text.substr(0, end));
    if (!number) return {};
    numbers.push_back(*number);
  }
  return numbers;
}

template <class P>
void print_rates(const std::vector<int>& shape, int threads) {
  const int layers = shape[0], width = shape[1], hidden = shape[3], vocabulary = shape[4], batch = shape[5],
            context = shape[6], rows = batch * context;
  cpu::Team team(threads);
  std::optional<OpenBlas> blas;
  if (std::is_same_v<P, Single>) blas = OpenBlas::load();

  struct Weight {
    const char* name;
    int out, in, count;
  };
  const Weight weights[] = {{"qkv", 3 * width, width, layers},
                            {"output", width, width, layers},
                            {"up", hidden, width, layers},
                            {"down", width, hidden, layers},
                            {"logits", vocabulary, width, 1}};
  struct Rates {
    Product<P> product;
    int count;
    std::string name;
    Form form;
    double fathom = 0, dealt = 0, threaded = 0;
  };
  std::vector<std::unique_ptr<Rates>> all;
  for (const Weight& weight : weights)
    for (const Form form : {forward, input_gradient, weight_gradient})
      all.push_back(std::unique_ptr<Rates>(
          new Rates{{team, blas ? &*blas : nullptr, rows, weight.out, weight.in}, weight.count, weight.name, form}));
  // OpenBLAS last: its threads keep a core busy for a moment after they were used.
  for (auto& rates : all) rates->fathom = rates->product.fathom(rates->form);
  if constexpr (std::is_same_v<P, Single>)
    if (blas) {
      for (auto& rates : all) rates->dealt = rates->product.openblas_dealt(rates->form);
      for (auto& rates : all) rates->threaded = rates->product.openblas_threaded(rates->form);
    }

  double flops = 0, seconds = 0, fathom_seconds = 0;
  std::printf("{\"products\": [");
  for (const auto& rates : all) {
    const double work = rates->count * rates->product.flops();
    flops += work;
    seconds += work / std::max({rates->fathom, rates->dealt, rates->threaded});
    fathom_seconds += work / rates->fathom;
    std::printf(
        "%s{\"weight\": \"%s\", \"form\": \"%s\", \"fathom\": %.4g, \"openblas\": %.4g, "
        "\"openblas_threaded\": %.4g}",
        rates == all.front() ? "" : ", ", rates->name.c_str(), form_names[rates->form], rates->fathom, rates->dealt,
        rates->threaded);
  }
  // One product of queries and keys; forward has two of them, backward five.
  const double attention = (2 + 5) * 2.0 * layers * batch * width * (double(context) * context / 2);
  std::printf(
      "], \"flops_per_second\": %.4g, \"fathom_flops_per_second\": %.4g, \"product_seconds\": %.5g, "
      "\"attention_seconds\": %.5g, \"ideal_seconds_per_step\": %.5g}\n",
      flops / seconds, flops / fathom_seconds, seconds, attention * seconds / flops, seconds * (1 + attention / flops));
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<int> shape = argc > 1 ? numbers_of(argv[1]) : std::vector<int>{};
  std::string_view precision = "Single";
  for (int i = 2; i + 1 < argc; ++i)
    if (argv[i] == std::string_view("--precision")) precision = argv[i + 1];
  if (shape.size() != 7 || *std::ranges::min_element(shape) < 1 || (precision != "Single" && precision != "Mixed")) {
    std::fprintf(stderr,
                 "usage: sgemm_rates layers,width,heads,feed-forward,vocabulary,batch,context [--threads N] "
                 "[--precision Single|Mixed]\n");
    return 2;
  }
  const int threads = bench::option(argc, argv, "--threads", 2);
  precision == "Mixed" ? print_rates<Mixed>(shape, threads) : print_rates<Single>(shape, threads);
}
