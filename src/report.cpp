// SPDX-License-Identifier: Apache-2.0
#include <fathom/report/progress_inl.hpp>
