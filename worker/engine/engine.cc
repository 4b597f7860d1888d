#include "worker/engine/engine.h"

#include "common/status_macros.h"
#include "worker/engine/compress_run.h"
#include "worker/engine/engine_status.h"
#include "worker/engine/evaluate_run.h"
#include "worker/engine/inspect.h"

namespace lathe::engine {

absl::StatusOr<CompressResult> Compress(const CompressRequest& request, const Hooks& hooks) {
  CompressResult result;
  RETURN_IF_ERROR(CatchExceptions([&] { return CompressRun(request, hooks).Run(&result); }));
  return result;
}

absl::StatusOr<CompressResult> Evaluate(const EvaluateRequest& request, const Hooks& hooks) {
  CompressResult result;
  RETURN_IF_ERROR(CatchExceptions([&] { return EvaluateRun(request, hooks).Run(&result); }));
  return result;
}

absl::StatusOr<InspectResult> Inspect(const std::string& folder, const std::string& main_file,
                                      const std::map<std::string, int64_t>& bindings,
                                      const InspectRuntime& runtime) {
  InspectResult result;
  RETURN_IF_ERROR(
      CatchExceptions([&] { return InspectModel(folder, main_file, bindings, runtime, &result); }));
  return result;
}

}  // namespace lathe::engine
