// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

namespace {

volatile float source[64];

/// Its constructor runs before main and holds vector instructions.
struct Table {
  float values[64];
  Table() {
    for (float& value : values) value = 1;
    for (int i = 0; i < 64; ++i) values[i] += 2 * source[i];
  }
};
Table table;

}  // namespace

int main() {
  float sum = 0;
  for (const float value : table.values) sum += value;
  std::printf("ran to its end: %g\n", double(sum));
}
