# SPDX-License-Identifier: Apache-2.0
# cmake -D ARGUMENTS=… -P add_language_model.cmake: calls the function, which ends the script where it refuses.
include(${CMAKE_CURRENT_LIST_DIR}/../../cmake/fathomLanguageModel.cmake)
fathom_add_language_model(${ARGUMENTS})
