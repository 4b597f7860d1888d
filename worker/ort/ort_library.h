// ONNX Runtime's shared library, loaded at run time: nothing here is linked with it, and a machine
// without it lacks its figures and nothing else.
#ifndef LATHE_WORKER_ORT_ORT_LIBRARY_H_
#define LATHE_WORKER_ORT_ORT_LIBRARY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/evaluate/runtime_probe.h"
#include "worker/ort/ort_api.h"

namespace lathe::ort {

struct OrtOptions {
  // Bytes of memory that the process may still take; asked before each model is loaded. Empty: no
  // bound.
  std::function<int64_t()> spare_bytes;
};

// One is enough for a process. The library stays loaded when this ends: it cannot be relied on to
// leave nothing behind.
class OrtLibrary : public engine::RuntimeProbe {
 public:
  // Loads libonnxruntime.so (1.5 or newer) from `path` and lets it set itself up, its telemetry
  // switched off: for that it sets the variable ORT_DISABLE_TELEMETRY of this process. Errors:
  // NOT_FOUND (there is no such file), FAILED_PRECONDITION (it cannot be loaded, is another
  // library, or too old; says which).
  static absl::StatusOr<std::unique_ptr<OrtLibrary>> Load(const std::string& path,
                                                          OrtOptions options);

  const std::string& version() const override { return version_; }
  absl::StatusOr<std::unique_ptr<engine::RuntimeSession>> Open(
      const std::string& path, const engine::RuntimeOptions& options) override;

 private:
  OrtLibrary(const Api& api, std::string version, Owned<OrtEnv> env, OrtOptions options);
  // RESOURCE_EXHAUSTED when the model would not fit.
  absl::Status CheckSpare(const engine::RuntimeOptions& options) const;

  const Api api_;
  const std::string version_;
  const Owned<OrtEnv> env_;
  const OrtOptions options_;
};

}  // namespace lathe::ort

#endif  // LATHE_WORKER_ORT_ORT_LIBRARY_H_
