// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <fathom/models/weights_file.hpp>
#include <fathom/train/checkpoint.hpp>
#include <filesystem>
#include <string>
#include <vector>

#include "train/models.hpp"

/// write FOLDER: saves a checkpoint and the weights alone in each precision and prints what a reader has to find, a
/// tensor a line: the file in FOLDER, the tensor's name, its type and shape, and its values in hexadecimal.
namespace {
using namespace fathom_test;

template <class T>
void print(const std::string& file, const std::string& name, const std::string& shape, const std::vector<T>& values) {
  std::printf("%s %s %s %s", file.c_str(), name.c_str(), sizeof(T) == 4 ? "float32" : "float64", shape.c_str());
  for (const T value : values) std::printf(" %a", double(value));
  std::printf("\n");
}

template <class P>
void write(const std::filesystem::path& folder, const std::string& name) {
  Trainer<SmallModel, Cpu<P>, AdamW> trainer({4 * context, 4, context}, {.average = 0.5}, {}, {.threads = 1});
  for (std::uint64_t seed = 0; seed < 2; ++seed) trainer.step(SomeBatch(seed));
  save_checkpoint(folder / name, trainer);
  save_weights(folder / (name + ".safetensors"), trainer.weights());

  for (const ParameterInfo& info : trainer.table()) {
    const std::string columns = std::to_string(info.columns);
    const std::string shape = info.is_vector() ? columns : std::to_string(info.rows) + "," + columns;
    print(name + "/model.safetensors", info.name, shape, read_tensor(trainer.weights().flat(), info));
    print(name + ".safetensors", info.name, shape, read_tensor(trainer.weights().flat(), info));
    print(name + "/average.safetensors", info.name, shape, read_tensor(trainer.average()->flat(), info));
  }
  for (const StateTensor& tensor : AdamW::describe_state(parameter_extent<SmallModel>(), trainer.table()))
    print(name + "/state.safetensors", tensor.name, std::to_string(tensor.rows) + "," + std::to_string(tensor.columns),
          read_tensor(trainer.optimizer_state(), tensor));
}

}  // namespace

int main(int, char** arguments) {
  write<Single>(arguments[1], "single");
  write<Double>(arguments[1], "double");
}
