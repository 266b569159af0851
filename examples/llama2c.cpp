// SPDX-License-Identifier: Apache-2.0
#include <CLI/CLI.hpp>
#include <fathom/backend/cpu/cpu.hpp>
#include <fathom/generate/generate.hpp>
#include <fathom/text/llama2c.hpp>
#include <iostream>
#include <programs/llama2c_model.hpp>

/// Runs the weights of llama2.c in fathom: another trainer's model is a type of ours.
namespace fathom::program {

template <class Shape>
bool tell(const Llama2cFile& file, const text::Llama2c& tokenizer, const std::string& prompt,
          const GenerateOptions& options) {
  if (!file.is<Shape>()) return false;
  generate(file.weights<Shape, Cpu<>>(), prompt, options, tokenizer);
  std::cout << std::endl;
  return true;
}

template <class... Shapes>
void tell_any(const Llama2cFile& file, const auto&... arguments) {
  if (!(tell<Shapes>(file, arguments...) || ...)) file.refuse("is a llama2.c model of a shape that is not built in");
}

}  // namespace fathom::program

int main(int argc, char** argv) {
  using namespace fathom;
  std::string model, tokenizer, prompt;
  GenerateOptions options{.begin = text::Llama2c::begin, .stop = text::Llama2c::begin};
  options.stream = [](std::string_view piece) { std::cout << piece << std::flush; };

  CLI::App app("Tells a story with a model of llama2.c");
  app.add_option("model", model, "such as stories260K.bin")->required();
  app.add_option("tokenizer", tokenizer, "that belongs to it, such as tok512.bin")->required();
  app.add_option("--prompt", prompt, "how the story begins");
  app.add_option("--tokens", options.tokens, "at most; 0: as many as fit the context");
  app.add_option("--temperature", options.sampling.temperature, "0: always the most probable token");
  app.add_option("--top-p", options.sampling.top_p, "draw from the most probable tokens that have this share");
  app.add_option("--seed", options.seed, "of the draws");
  CLI11_PARSE(app, argc, argv);
  try {
    std::cout << prompt << std::flush;
    program::tell_any<program::Stories260K, program::Stories15M, program::Stories42M, program::Stories110M>(
        program::Llama2cFile(model), text::Llama2c::from_file(tokenizer), prompt, options);
    return 0;
  } catch (const Error& error) {
    std::cerr << "fathom-llama2c: " << error.what() << "\n";
    return 1;
  }
}
