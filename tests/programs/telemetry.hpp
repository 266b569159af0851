// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <catch2/catch_test_macros.hpp>
#include <cstddef>
#include <fathom/io/file.hpp>
#include <fathom/report/log.hpp>
#include <filesystem>
#include <string>
#include <vector>

/// What programs leave in the folder of a run with --telemetry.
namespace fathom_test {

/// A table and a picture of each quantity: `rows` measurements of `layers`, at equal distances, and of the model's
/// update; and a line of what they cost on stdout.
inline void check_telemetry(const std::filesystem::path& output, const std::string& out,
                            const std::vector<std::string>& layers, std::size_t rows) {
  const auto check_table = [&](const std::string& name, std::vector<std::string> columns) {
    INFO(name);
    CHECK(fathom::read_file(output / "telemetry" / (name + ".svg")).ends_with("</svg>\n"));
    const fathom::CsvTable table = fathom::read_csv(output / "telemetry" / (name + ".csv"));
    columns.insert(columns.begin(), "step");
    CHECK(table.columns == columns);
    REQUIRE(table.rows.size() == rows);
    for (std::size_t row = 0; row < rows; ++row) {
      CHECK(*table.rows[row][0] == double(row + 1) * *table.rows[0][0]);
      for (std::size_t column = 1; column < columns.size(); ++column) {
        INFO("row " << row << ", " << columns[column]);
        REQUIRE(table.rows[row][column].has_value());
        CHECK((*table.rows[row][column] > 0 && *table.rows[row][column] < 1e3));
      }
    }
  };
  for (const char* quantity : {"activation", "norm_input", "branch_share", "gradient", "update"})
    check_table(quantity, layers);
  check_table("model_update", {"all", "branches", "queries_and_keys", "norms_and_biases", "rest"});
  CAPTURE(out);
  const std::size_t cost = out.find("telemetry took ");
  REQUIRE(cost != std::string::npos);
  CHECK(out.find(" s, ", cost) != std::string::npos);
  CHECK(out.find(" s of training\n", cost) != std::string::npos);
}

}  // namespace fathom_test
