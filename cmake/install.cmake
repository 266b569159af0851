# SPDX-License-Identifier: Apache-2.0
# Installs the headers, the library and the package that `find_package(fathom)` finds. share/fathom keeps the places that
# the functions that make programs have in the source tree, so that they find templates and programs' headers in both.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(share ${CMAKE_INSTALL_DATADIR}/fathom)
install(TARGETS fathom fathom_compiled EXPORT fathomTargets FILE_SET HEADERS)
install(EXPORT fathomTargets NAMESPACE fathom:: DESTINATION ${share}/cmake)
configure_package_config_file(cmake/fathomConfig.cmake.in fathomConfig.cmake INSTALL_DESTINATION ${share}/cmake
                              NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(fathomConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/fathomConfig.cmake ${PROJECT_BINARY_DIR}/fathomConfigVersion.cmake
              cmake/fathomLanguageModel.cmake cmake/language_model.cpp.in cmake/fathomSlowBuild.cmake
              cmake/fathomCuda.cmake cmake/fathomTranslation.cmake cmake/fathomTranslator.cmake cmake/translator.cpp.in
              cmake/fathomProgram.cmake cmake/fathomProcessorCheck.cmake cmake/processor_check.cpp
              cmake/processor_needs.cpp
        DESTINATION ${share}/cmake)
install(DIRECTORY include/fathom/backend/cuda DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/fathom/backend)
install(DIRECTORY src/cuda DESTINATION ${share}/src)
install(DIRECTORY examples/programs DESTINATION ${share}/examples FILES_MATCHING PATTERN *.hpp)
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
