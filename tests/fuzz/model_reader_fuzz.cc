// Any bytes: a model, or a clear error; and a model that was read can be written and read again.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/graph/writer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lathe::engine;
  absl::StatusOr<Model> model =
      ReadModelFromBytes(absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!model.ok()) {
    if (model.status().message().empty()) std::abort();
    return 0;
  }
  if (!VerifyModel(*model).ok()) return 0;
  const absl::StatusOr<std::string> bytes = SerializeModel(*model);
  if (!bytes.ok()) return 0;
  const absl::StatusOr<Model> again = ReadModelFromBytes(*bytes);
  if (!again.ok()) {
    std::fprintf(stderr, "written, but not read back: %s\n", again.status().ToString().c_str());
    std::abort();
  }
  FindWeights(*model);
  return 0;
}
