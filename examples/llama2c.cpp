// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <fathom/generate/generate.hpp>
#include <fathom/text/llama2c.hpp>
#include <iostream>
#include <iterator>
#include <programs/llama2c_model.hpp>
#include <programs/precision.hpp>
#include <programs/rules.hpp>
#include <programs/run_program.hpp>
#include <string>
#include <string_view>
#include <type_traits>

/// Runs the weights of llama2.c in fathom: another trainer's model is a type of ours.
namespace fathom::program {

template <class Shape, class B>
bool tell(const Llama2cFile& file, const text::Llama2c& tokenizer, const std::string& prompt, GenerateOptions options) {
  if (!file.is<Shape>()) return false;
  const auto weights = file.weights<Shape, B>();
  options.stream = [](std::string_view piece) {
    std::cout << piece;
    flush_stdout();
  };
  options.stream(prompt);
  generate(weights, prompt, options, tokenizer);
  std::cout << '\n';
  return true;
}

template <class... Shapes>
void tell_any(const Llama2cFile& file, const text::Llama2c& tokenizer, const std::string& prompt,
              const GenerateOptions& options, const PrecisionOption& precision) {
  if (!(file.is<Shapes>() || ...)) file.refuse_shape();
  if (tokenizer.vocabulary() != file.vocabulary())
    throw Error("the tokenizer has " + std::to_string(tokenizer.vocabulary()) + " tokens and the model " +
                std::to_string(file.vocabulary()) + "; give the tokenizer that belongs to the model");
  const auto room = file.context() - std::ssize(tokenizer.encode(prompt));
  if (room < 1)
    throw Error("--prompt has more tokens than fit the model's context of " + std::to_string(file.context()) +
                "; give a shorter one");
  if (options.tokens > room)
    throw Error("--tokens " + std::to_string(options.tokens) + ": behind the prompt the model's context of " +
                std::to_string(file.context()) + " has room for " + std::to_string(room) +
                "; ask for fewer, or 0 for all");
  precision.with_backend(
      [&]<class B>(std::type_identity<B>) { (tell<Shapes, B>(file, tokenizer, prompt, options) || ...); });
}

}  // namespace fathom::program

int main(int argc, char** argv) {
  using namespace fathom;
  using namespace fathom::program;
  return run_program([&] {
    std::string model, tokenizer, prompt;
    GenerateOptions options{.begin = text::Llama2c::begin, .stop = text::Llama2c::begin};

    CLI::App app("Tells a story with a model of llama2.c");
    app.option_defaults()->always_capture_default();
    app.add_option("model", model, "such as stories260K.bin")->required();
    app.add_option("tokenizer", tokenizer, "that belongs to it, such as tok512.bin")->required();
    app.add_option("--prompt", prompt, "how the story begins");
    app.add_option("--tokens", options.tokens, "at most; 0: as many as fit the context")
        ->transform(whole(options.tokens, 0));
    app.add_option("--temperature", options.sampling.temperature, "0: always the most probable token")
        ->check(not_negative());
    app.add_option("--top-p", options.sampling.top_p, "draw from the most probable tokens with this share")
        ->check(share());
    app.add_option("--seed", options.seed, "of the draws")->transform(whole(options.seed, 0));
    PrecisionOption precision;
    precision.add_to(app);
    return run_command(app, argc, argv, [&] {
      const Llama2cFile file(model);
      tell_any<Stories260K, Stories15M, Stories42M, Stories110M>(file, text::Llama2c::from_file(tokenizer), prompt,
                                                                 options, precision);
      return 0;
    });
  });
}
