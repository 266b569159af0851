// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <fathom/io/safetensors_format.hpp>  // IWYU pragma: export
#include <fathom/io/safetensors_reader.hpp>  // IWYU pragma: export
#include <fathom/io/safetensors_writer.hpp>  // IWYU pragma: export
