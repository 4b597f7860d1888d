# `cmake --install`: component `runtime` is the binaries; `development` is the public headers, the static libraries and the CMake
# package `lathe` with the targets lathe::client and lathe::engine:
#   find_package(lathe REQUIRED)
#   target_link_libraries(app PRIVATE lathe::client)
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS lathed lathe-worker lathe-job lathe RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT runtime)

set(LATHE_EXPORTED lathe_common lathe_recipe lathe_report lathe_formats lathe_data lathe_proto lathe_client lathe_engine)
foreach(target ${LATHE_EXPORTED})
  string(REPLACE "lathe_" "" short ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${short})
  target_include_directories(${target} PUBLIC $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
endforeach()
set_target_properties(lathe_onnx_proto PROPERTIES EXPORT_NAME onnx_proto)
install(TARGETS ${LATHE_EXPORTED} lathe_onnx_proto EXPORT lathe-targets
  ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(EXPORT lathe-targets NAMESPACE lathe:: DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/lathe COMPONENT development)

install(FILES client/cpp/include/lathe/client.h worker/engine/engine.h
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/lathe COMPONENT development)
install(DIRECTORY ${CMAKE_BINARY_DIR}/proto/gen/lathe DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT development FILES_MATCHING PATTERN "*.h")
install(DIRECTORY proto/lathe DESTINATION ${CMAKE_INSTALL_DATADIR}/lathe/proto COMPONENT development
  FILES_MATCHING PATTERN "*.proto")

configure_package_config_file(cmake/lathe-config.cmake.in ${CMAKE_BINARY_DIR}/lathe-config.cmake
  INSTALL_DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/lathe)
write_basic_package_version_file(${CMAKE_BINARY_DIR}/lathe-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/lathe-config.cmake ${CMAKE_BINARY_DIR}/lathe-config-version.cmake
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/cmake/lathe COMPONENT development)
