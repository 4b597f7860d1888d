# The build id (common/build_info.h): version plus a SHA-256 over every source that can change a result. It keys the result
# cache, so it must change whenever the engine does, and must not change with the time or place of the build.
set(LATHE_BUILD_ID_FILE ${CMAKE_BINARY_DIR}/generated/build_id.inc)
add_custom_target(lathe_build_id
  COMMAND ${CMAKE_COMMAND} -DSOURCE_DIR=${PROJECT_SOURCE_DIR} -DVERSION=${PROJECT_VERSION}
          -DCOMPILER=${CMAKE_CXX_COMPILER_ID}-${CMAKE_CXX_COMPILER_VERSION} -DBUILD_TYPE=${CMAKE_BUILD_TYPE}
          -DOUTPUT=${LATHE_BUILD_ID_FILE} -P ${PROJECT_SOURCE_DIR}/cmake/WriteBuildId.cmake
  BYPRODUCTS ${LATHE_BUILD_ID_FILE} VERBATIM)
