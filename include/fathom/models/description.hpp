// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/core/error.hpp>
#include <fathom/core/parameters.hpp>
#include <fathom/io/json.hpp>
#include <fathom/layers/residual.hpp>
#include <string>
#include <utility>

/// What a model is, in words: what stands beside its tensors in a file, so that those of another model are refused.
namespace fathom::inline FATHOM_ABI::detail {

/// Adds a fact to those of the layer or policy `owner`. Errors: `Error` when there is one of that key.
inline void add_fact(Json& facts, const char* owner, const char* key, Json fact) {
  if (!facts.emplace(key, std::move(fact)).second)
    throw Error("fathom: the description of '" + std::string(owner) + "' has '" + key +
                "' twice; rename it in its describe");
}

template <class L>
Json describe_layer(int depth);

/// What a layer, norm or policy says of itself: its name, and the facts of its `describe`, where it has one.
template <class L>
Json facts_of(int depth) {
  Json facts{{"name", L::name}};
  const auto add = [&]<class T>(const char* key, const T& value) {
    if constexpr (requires { typename T::type; })
      add_fact(facts, L::name, key, describe_layer<typename T::type>(depth));
    else
      add_fact(facts, L::name, key, value);
  };
  if constexpr (requires { L::describe(add); }) L::describe(add);
  return facts;
}

/// Skip and gain are those of the first block; a policy's name says how they go on.
template <class Policy, class NormLayer>
Json describe_residual(int depth) {
  static_assert(
      requires { Policy::name; },
      "fathom: this policy has no name, which a checkpoint stores: say `static constexpr const char* name = "
      "\"…\";` in it");
  Json residual = facts_of<Policy>(depth);
  const auto add = [&](const char* key, Json fact) { add_fact(residual, Policy::name, key, std::move(fact)); };
  add("alpha", Policy::skip({0, depth}));
  add("beta", Policy::gain(Role::feed_forward_output, {0, depth}));
  add("branch", Policy::branch({0, depth}));
  add("norm", describe_layer<NormLayer>(depth));
  return residual;
}

template <class L>
struct ResidualOf {
  static constexpr bool is_one = false;
};
template <class Policy, class SublayerType, class NormLayer, SublayerPlace Place>
struct ResidualOf<Residual<Policy, SublayerType, NormLayer, Place>> {
  static constexpr bool is_one = true;
  using Sublayer = SublayerType;
  static Json describe(int depth) { return describe_residual<Policy, NormLayer>(depth); }
};

/// A layer with those inside it.
template <class L>
Json describe_layer(int depth) {
  Json json;
  if constexpr (ResidualOf<L>::is_one) {
    using Sublayer = typename ResidualOf<L>::Sublayer;
    if constexpr (ResidualOf<Sublayer>::is_one)
      json = {{"name", L::name}, {"layers", Json::array({describe_layer<Sublayer>(depth)})}};
    else
      json = describe_layer<Sublayer>(depth);
    add_fact(json, L::name, "residual", ResidualOf<L>::describe(depth));
  } else {
    json = facts_of<L>(depth);
    if constexpr (requires { typename L::Block; }) {
      add_fact(json, L::name, "block", describe_layer<typename L::Block>(depth));
    } else if constexpr (requires { L::each_child([](auto) {}); }) {
      Json layers = Json::array();
      L::each_child([&](auto child) { layers.push_back(describe_layer<typename decltype(child)::type>(depth)); });
      add_fact(json, L::name, "layers", std::move(layers));
    }
  }
  return json;
}

/// What a model is, apart from the shapes of its tensors, which stand in their file.
template <class Model>
Json describe_model() {
  Json facts{{"name", Model::name}};
  Model::describe([&]<class T>(const char* key, const T& value) {
    if constexpr (requires { typename T::type; })
      add_fact(facts, Model::name, key, describe_layer<typename T::type>(T::type::depth));
    else
      add_fact(facts, Model::name, key, value);
  });
  return facts;
}

/// A value, fit for a one-line message.
inline std::string shortened(const Json& value) {
  const std::string text = value.dump(-1, ' ', true);
  return text.size() <= 200 ? text : text.substr(0, 200) + "…";
}

/// Where `found`, the field of that name, is not as `expected`: "field '/model/depth' is 6 where 12 is needed". Empty
/// where it is.
inline std::string difference_of(const std::string& field, const Json& expected, const Json& found) {
  const Json difference = Json::diff(expected, found);
  if (difference.empty()) return {};
  const std::string inner = difference[0]["path"].get<std::string>();
  const Json::json_pointer place(inner);
  const auto text = [&](const Json& value) { return value.contains(place) ? shortened(value.at(place)) : "absent"; };
  return "field '/" + field + inner + "' is " + text(found) + " where " + text(expected) + " is needed";
}

}  // namespace fathom::inline FATHOM_ABI::detail
