// What this binary was built from.
#ifndef LATHE_COMMON_BUILD_INFO_H_
#define LATHE_COMMON_BUILD_INFO_H_

namespace lathe {

// "0.1.0".
const char* Version();
// Version plus a digest of the engine's sources and the compiler: "0.1.0+0123456789abcdef". Two
// builds with one id give the same bytes for the same inputs, recipe and seed; the id is part of
// the result cache's key.
const char* BuildId();

}  // namespace lathe

#endif  // LATHE_COMMON_BUILD_INFO_H_
