# `cmake --install`: binaries, public headers, and the `lathe` CMake package (lathe::client, lathe::engine).
include(GNUInstallDirs)
