// A model loaded by ONNX Runtime.
#ifndef LATHE_WORKER_ORT_ORT_MODEL_H_
#define LATHE_WORKER_ORT_ORT_MODEL_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/evaluate/runtime_probe.h"
#include "worker/ort/ort_api.h"

namespace lathe::ort {

class OrtModel : public engine::RuntimeSession {
 public:
  // `env` must outlive it. Errors as RuntimeProbe::Open.
  static absl::StatusOr<std::unique_ptr<OrtModel>> Open(const Api& api, const OrtEnv* env,
                                                        const std::string& path,
                                                        const engine::RuntimeOptions& options);

  const std::vector<std::string>& output_names() const override { return outputs_; }
  absl::StatusOr<std::vector<engine::Value>> Run(
      const std::map<std::string, engine::Value>& inputs) override;

 private:
  OrtModel(const Api& api, Owned<OrtMemoryInfo> memory, OrtAllocator* allocator,
           Owned<OrtSession> session);
  absl::Status ReadNames();

  const Api api_;
  const Owned<OrtMemoryInfo> memory_;
  OrtAllocator* const allocator_;  // the library's own
  const Owned<OrtSession> session_;
  std::vector<std::string> inputs_;
  std::vector<std::string> outputs_;
  // Both for the library, which takes C strings.
  std::vector<const char*> input_pointers_;
  std::vector<const char*> output_pointers_;
};

}  // namespace lathe::ort

#endif  // LATHE_WORKER_ORT_ORT_MODEL_H_
