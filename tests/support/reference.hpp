// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/io/safetensors.hpp>
#include <string>
#include <vector>

namespace fathom_test {

/// The tensors of one case that tests/reference/generate.py computed with PyTorch; its header says what they are named.
/// Read from the working directory, which is the project's root.
class Reference {
 public:
  explicit Reference(const std::string& name) : file_("tests/reference/" + name + ".safetensors") {}

  bool has(const std::string& name) const { return file_.find(name) != nullptr; }
  std::vector<double> values(const std::string& name) const { return read<double>(name); }
  std::vector<int> integers(const std::string& name) const { return read<int>(name); }

  int integer(const std::string& setting) const { return integers("setting." + setting).at(0); }
  double number(const std::string& setting) const { return values("setting." + setting).at(0); }

  /// Rows of each sequence, from their offsets; empty without such a tensor.
  std::vector<int> lengths(const std::string& offsets_name) const {
    if (!has(offsets_name)) return {};
    std::vector<int> lengths = integers(offsets_name);
    for (std::size_t i = 0; i + 1 < lengths.size(); ++i) lengths[i] = lengths[i + 1] - lengths[i];
    lengths.pop_back();
    return lengths;
  }

  int columns(const std::string& name) const { return int(file_.at(name).shape.back()); }
  /// How many tensors' names start so.
  int count(const std::string& prefix) const {
    int count = 0;
    for (const auto& tensor : file_.tensors()) count += tensor.name.starts_with(prefix);
    return count;
  }

 private:
  template <class T>
  std::vector<T> read(const std::string& name) const {
    const auto& tensor = file_.at(name);
    std::vector<T> values(std::size_t(tensor.elements()));
    file_.read(name, tensor.shape, std::span<T>(values));
    return values;
  }

  fathom::safetensors::File file_;
};

}  // namespace fathom_test
