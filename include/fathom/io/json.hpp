// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace fathom::inline FATHOM_ABI::detail {

using Json = nlohmann::json;

/// Bounds of the JSON that is read. A value is as deep on the stack as it is nested when it goes away, so the depth is
/// counted before anything is made of the text.
inline constexpr std::size_t longest_json = std::size_t{16} << 20;
inline constexpr int deepest_json = 64;

/// Brackets that are open at once, those in texts left out.
inline int json_depth(std::string_view text) {
  int depth = 0, deepest = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_text) {
      if (c == '\\') ++i;
      if (c == '"') in_text = false;
    } else if (c == '"') {
      in_text = true;
    } else if (c == '{' || c == '[') {
      deepest = ++depth > deepest ? depth : deepest;
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  return deepest;
}

/// The value of a JSON text. Errors: `Error` that says what is wrong with it, without a remedy.
inline Json parse_json(std::string_view text) {
  if (text.size() > longest_json)
    throw Error("has " + std::to_string(text.size()) + " bytes, more than " + std::to_string(longest_json));
  if (json_depth(text) > deepest_json) throw Error("is nested more than " + std::to_string(deepest_json) + " deep");
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    throw Error("is not valid JSON at byte " + std::to_string(error.byte));
  } catch (const Json::exception&) {
    throw Error("holds a number that is out of range");
  }
}

}  // namespace fathom::inline FATHOM_ABI::detail
