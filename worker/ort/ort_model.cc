#include "worker/ort/ort_model.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/status_macros.h"
#include "worker/ort/ort_value.h"

namespace lathe::ort {
namespace {

using engine::GraphOptimization;
using engine::RuntimeOptions;
using engine::Value;

int LevelOf(GraphOptimization optimization) {
  switch (optimization) {
    case GraphOptimization::kNone:
      return kOptimizeNone;
    case GraphOptimization::kBasic:
      return kOptimizeBasic;
    default:
      return kOptimizeAll;
  }
}

absl::StatusOr<Owned<OrtSessionOptions>> MakeOptions(const Api& api,
                                                     const RuntimeOptions& options) {
  OrtSessionOptions* made = nullptr;
  RETURN_IF_ERROR(api.Try(kCreateSessionOptions, &made));
  Owned<OrtSessionOptions> owned = Own(api, kReleaseSessionOptions, made);
  RETURN_IF_ERROR(api.Try(kSetSessionLogSeverityLevel, made, kLogError));
  RETURN_IF_ERROR(api.Try(kSetSessionGraphOptimizationLevel, made, LevelOf(options.optimization)));
  RETURN_IF_ERROR(api.Try(kSetIntraOpNumThreads, made, options.threads));
  RETURN_IF_ERROR(api.Try(kSetInterOpNumThreads, made, 1));
  // Two sessions run in turn: threads of the one that waits must not take time from the other.
  for (const char* key : {"session.intra_op.allow_spinning", "session.inter_op.allow_spinning"}) {
    RETURN_IF_ERROR(api.Try(kAddSessionConfigEntry, made, key, "0"));
  }
  if (!options.optimized_path.empty()) {
    RETURN_IF_ERROR(api.Try(kSetOptimizedModelFilePath, made, options.optimized_path.c_str()));
  }
  return owned;
}

// What ONNX Runtime says names files by their whole path, which tells a reader of the report
// nothing.
absl::Status WithoutFolder(const absl::Status& status, const std::string& path) {
  const size_t slash = path.rfind('/');
  if (status.ok() || slash == std::string::npos) return status;
  return absl::Status(status.code(),
                      absl::StrReplaceAll(status.message(), {{path.substr(0, slash + 1), ""}}));
}

}  // namespace

absl::StatusOr<std::unique_ptr<OrtModel>> OrtModel::Open(const Api& api, const OrtEnv* env,
                                                         const std::string& path,
                                                         const RuntimeOptions& options) {
  ASSIGN_OR_RETURN(const Owned<OrtSessionOptions> session_options, MakeOptions(api, options));
  OrtMemoryInfo* memory = nullptr;
  RETURN_IF_ERROR(api.Try(kCreateCpuMemoryInfo, kDeviceAllocator, kDefaultMemory, &memory));
  Owned<OrtMemoryInfo> owned_memory = Own(api, kReleaseMemoryInfo, memory);
  OrtAllocator* allocator = nullptr;
  RETURN_IF_ERROR(api.Try(kGetAllocatorWithDefaultOptions, &allocator));
  OrtSession* session = nullptr;
  RETURN_IF_ERROR(
      WithoutFolder(api.Try(kCreateSession, env, path.c_str(),
                            static_cast<const OrtSessionOptions*>(session_options.get()), &session),
                    path));
  std::unique_ptr<OrtModel> model(
      new OrtModel(api, std::move(owned_memory), allocator, Own(api, kReleaseSession, session)));
  RETURN_IF_ERROR(model->ReadNames());
  return model;
}

OrtModel::OrtModel(const Api& api, Owned<OrtMemoryInfo> memory, OrtAllocator* allocator,
                   Owned<OrtSession> session)
    : api_(api), memory_(std::move(memory)), allocator_(allocator), session_(std::move(session)) {}

absl::Status OrtModel::ReadNames() {
  const OrtSession* session = session_.get();
  const auto read = [this, session](auto count_of, auto name_of,
                                    std::vector<std::string>* names) -> absl::Status {
    size_t count = 0;
    RETURN_IF_ERROR(api_.Try(count_of, session, &count));
    for (size_t i = 0; i < count; ++i) {
      char* name = nullptr;
      RETURN_IF_ERROR(api_.Try(name_of, session, i, allocator_, &name));
      names->emplace_back(name);
      RETURN_IF_ERROR(api_.Try(kAllocatorFree, allocator_, static_cast<void*>(name)));
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(read(kSessionGetInputCount, kSessionGetInputName, &inputs_));
  RETURN_IF_ERROR(read(kSessionGetOutputCount, kSessionGetOutputName, &outputs_));
  for (const std::string& name : inputs_) input_pointers_.push_back(name.c_str());
  for (const std::string& name : outputs_) output_pointers_.push_back(name.c_str());
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Value>> OrtModel::Run(const std::map<std::string, Value>& inputs) {
  const ValueFactory factory{api_, memory_.get(), allocator_};
  std::vector<Owned<OrtValue>> owned;
  std::vector<const OrtValue*> given;
  for (const std::string& name : inputs_) {
    const auto found = inputs.find(name);
    if (found == inputs.end()) {
      return absl::InvalidArgumentError(absl::StrCat("the model's input '", name, "' is missing"));
    }
    ASSIGN_OR_RETURN(Owned<OrtValue> value, ToOrt(factory, name, found->second));
    given.push_back(value.get());
    owned.push_back(std::move(value));
  }
  std::vector<OrtValue*> made(outputs_.size(), nullptr);
  const absl::Status ran = api_.Try(
      kRun, session_.get(), static_cast<const OrtRunOptions*>(nullptr), input_pointers_.data(),
      given.data(), given.size(), output_pointers_.data(), output_pointers_.size(), made.data());
  std::vector<Owned<OrtValue>> results;
  for (OrtValue* value : made) results.push_back(Own(api_, kReleaseValue, value));
  RETURN_IF_ERROR(ran);
  std::vector<Value> outputs;
  for (Owned<OrtValue>& result : results) {
    ASSIGN_OR_RETURN(Value value, FromOrt(api_, std::move(result)));
    outputs.push_back(std::move(value));
  }
  return outputs;
}

}  // namespace lathe::ort
