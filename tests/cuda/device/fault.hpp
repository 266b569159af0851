// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace emulated {

/// From now on, a program that touches memory of the device where it must not ends with a line that says what it
/// touched, and who: the host, or the work that the device was doing. What handled such faults before is called then.
void report_faults();

/// Which thread of a kernel runs, for that line. Null: none. The text must live as long as it is set.
void set_running_thread(const char* (*name)());

}  // namespace emulated
