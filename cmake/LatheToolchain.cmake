# Compiler cache, fast linker, warnings: what every target is built with.

find_program(LATHE_CCACHE ccache)
if(LATHE_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${LATHE_CCACHE})
endif()

find_program(LATHE_MOLD mold)
if(LATHE_MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_library(lathe_warnings INTERFACE)
target_compile_options(lathe_warnings INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wno-unused-parameter
  $<$<BOOL:${LATHE_WERROR}>:-Werror>
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized -Wno-restrict>)  # g++ 12 false positives in std::string

# Portable baseline (x86-64-v2); kernels dispatch at run time.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_compile_options(-march=x86-64-v2)
endif()
# Bytes of the output must not depend on the processor: no fused multiply-add behind our back.
add_compile_options(-ffp-contract=off)
