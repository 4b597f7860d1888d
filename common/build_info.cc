#include "common/build_info.h"

#include "build_id.inc"

namespace lathe {

const char* Version() { return LATHE_VERSION; }
const char* BuildId() { return LATHE_BUILD_ID; }

}  // namespace lathe
