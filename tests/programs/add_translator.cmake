# SPDX-License-Identifier: Apache-2.0
# cmake -D ARGUMENTS=… -P add_translator.cmake: calls the function, which ends the script where it refuses.
include(${CMAKE_CURRENT_LIST_DIR}/../../cmake/fathomTranslator.cmake)
fathom_add_translator(${ARGUMENTS})
