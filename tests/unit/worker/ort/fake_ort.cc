// A library that calls itself ONNX Runtime LATHE_FAKE_VERSION and has no table of functions.
#include <cstdint>

namespace {

const void* const* NoTable(uint32_t) { return nullptr; }
const char* Version() { return LATHE_FAKE_VERSION; }

struct Base {
  const void* const* (*get_api)(uint32_t version);
  const char* (*get_version_string)();
};
constexpr Base kBase = {NoTable, Version};

}  // namespace

extern "C" const Base* OrtGetApiBase();
extern "C" const Base* OrtGetApiBase() { return &kBase; }
