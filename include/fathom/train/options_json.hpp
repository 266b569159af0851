// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/core/config.hpp>
#include <fathom/optim/adafactor.hpp>
#include <fathom/optim/adam.hpp>
#include <fathom/optim/lion.hpp>
#include <fathom/optim/sgd.hpp>
#include <fathom/train/trainer.hpp>
#include <nlohmann/json.hpp>
#include <vector>

/// The options that decide what an update does, as JSON: checkpoints store them, and refuse to go on with others. A
/// learning rate is none of them, because each update is given its own. An optimizer of one's own joins in by the same
/// macro; its options are not checked without.
namespace fathom::inline FATHOM_ABI {

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LossOptions, smoothing, z_loss)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(DropoutRates, embedding, attention, activation, residual)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ParameterRule, names, role, rate, decay)

/// Rules stand there when there are any: so checkpoints are as they were before there were rules.
template <class Json>
void to_json(Json& json, const TrainerOptions& options) {
  json = Json{{"seed", options.seed},
              {"loss", options.loss},
              {"dropout", options.dropout},
              {"clip_norm", options.clip_norm},
              {"spike_factor", options.spike_factor},
              {"average", options.average}};
  if (!options.rules.empty()) json["rules"] = options.rules;
}
template <class Json>
void from_json(const Json& json, TrainerOptions& options) {
  json.at("seed").get_to(options.seed);
  json.at("loss").get_to(options.loss);
  json.at("dropout").get_to(options.dropout);
  json.at("clip_norm").get_to(options.clip_norm);
  json.at("spike_factor").get_to(options.spike_factor);
  json.at("average").get_to(options.average);
  options.rules = json.value("rules", std::vector<ParameterRule>());
}

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Sgd::Options, weight_decay)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(MomentumSgd::Options, momentum, weight_decay, nesterov)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Lion::Options, beta1, beta2, weight_decay)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Adafactor::Options, decay_exponent, epsilon1, epsilon2, clip_threshold, weight_decay)
namespace detail {  // where the options of Adam and AdamW are
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(AdamW::Options, beta1, beta2, epsilon, weight_decay)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Adam::Options, beta1, beta2, epsilon, weight_decay)
}  // namespace detail

}  // namespace fathom::inline FATHOM_ABI
