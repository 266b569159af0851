// SPDX-License-Identifier: Apache-2.0
#pragma once

/// fathom: very deep transformers as types. This header is the library for the CPU; what needs a dependency beyond the
/// standard library is left out where that is not installed. What a program would have to link to for it is named by
/// itself: <fathom/text/subwords.hpp>, subwords by sentencepiece, and <fathom/text/parallel.hpp>, parallel texts from
/// files that may be packed by zlib.

#include <fathom/backend/backend.hpp>        // IWYU pragma: export
#include <fathom/backend/context.hpp>        // IWYU pragma: export
#include <fathom/backend/cpu/cpu.hpp>        // IWYU pragma: export
#include <fathom/backend/dry_run.hpp>        // IWYU pragma: export
#include <fathom/backend/non_finite.hpp>     // IWYU pragma: export
#include <fathom/backend/ref/ref.hpp>        // IWYU pragma: export
#include <fathom/backend/timer.hpp>          // IWYU pragma: export
#include <fathom/generate/generate.hpp>      // IWYU pragma: export
#include <fathom/generate/translate.hpp>     // IWYU pragma: export
#include <fathom/layers/attention.hpp>       // IWYU pragma: export
#include <fathom/layers/dlcl.hpp>            // IWYU pragma: export
#include <fathom/layers/feed_forward.hpp>    // IWYU pragma: export
#include <fathom/layers/linear.hpp>          // IWYU pragma: export
#include <fathom/layers/norm.hpp>            // IWYU pragma: export
#include <fathom/layers/repeat.hpp>          // IWYU pragma: export
#include <fathom/layers/residual.hpp>        // IWYU pragma: export
#include <fathom/layers/residual_block.hpp>  // IWYU pragma: export
#include <fathom/layers/sequence.hpp>        // IWYU pragma: export
#include <fathom/layers/stacks.hpp>          // IWYU pragma: export
#include <fathom/models/language_model.hpp>  // IWYU pragma: export
#include <fathom/models/translator.hpp>      // IWYU pragma: export
#include <fathom/models/weights.hpp>         // IWYU pragma: export
#include <fathom/optim/adafactor.hpp>        // IWYU pragma: export
#include <fathom/optim/adam.hpp>             // IWYU pragma: export
#include <fathom/optim/average.hpp>          // IWYU pragma: export
#include <fathom/optim/clip.hpp>             // IWYU pragma: export
#include <fathom/optim/lion.hpp>             // IWYU pragma: export
#include <fathom/optim/schedule.hpp>         // IWYU pragma: export
#include <fathom/optim/sgd.hpp>              // IWYU pragma: export
#include <fathom/score/score.hpp>            // IWYU pragma: export
#include <fathom/text/text.hpp>              // IWYU pragma: export
#include <fathom/train/evaluate.hpp>         // IWYU pragma: export
#include <fathom/train/memory_plan.hpp>      // IWYU pragma: export
#include <fathom/train/run.hpp>              // IWYU pragma: export
#include <fathom/train/telemetry.hpp>        // IWYU pragma: export
#include <fathom/train/trainer.hpp>          // IWYU pragma: export

#if __has_include(<nlohmann/json.hpp>)
#include <fathom/models/weights_file.hpp>        // IWYU pragma: export
#include <fathom/train/average_checkpoints.hpp>  // IWYU pragma: export
#include <fathom/train/checkpoint.hpp>           // IWYU pragma: export
#include <fathom/train/run_checkpoints.hpp>      // IWYU pragma: export
#endif
