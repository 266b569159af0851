# SPDX-License-Identifier: Apache-2.0
# Fails unless the file `program`, without its license line, stands in `readme` as a listing.
file(READ ${readme} text)
file(READ ${program} listing)
string(REGEX REPLACE "^// SPDX[^\n]*\n" "" listing "${listing}")
string(FIND "${text}" "```cpp\n${listing}```\n" place)
if(listing STREQUAL "" OR place EQUAL -1)
  message(FATAL_ERROR "${readme} has no listing that is ${program}: copy the program there")
endif()
