// SPDX-License-Identifier: Apache-2.0
#if __has_include(<nlohmann/json.hpp>)
#include <fathom/train/checkpoint_config_inl.hpp>
#endif
