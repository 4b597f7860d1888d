#include "worker/ort/ort_library.h"

#include <dlfcn.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "common/status_macros.h"
#include "worker/ort/ort_model.h"

namespace lathe::ort {
namespace {

// While a model is loaded, its file as read, its constants and the packed copies that kernels make
// of them exist at once; activations lie in an arena that grows by doubling.
constexpr int64_t kModelCopies = 3;
constexpr int64_t kActivationCopies = 2;
constexpr int64_t kFixedBytes = 64 << 20;

constexpr size_t kMaxVersion = 32;

// A version is shown to people and sent on: nothing but what versions are made of.
bool IsVersion(const std::string& text) {
  return !text.empty() && text.size() <= kMaxVersion &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '.' || c == '-' || c == '+' || c == '_';
         });
}

absl::Status NotUsable(const std::string& path, const std::string& why) {
  return absl::FailedPreconditionError(
      absl::StrCat(path, " ", why,
                   "; --ort-library wants ONNX Runtime's libonnxruntime.so.VERSION for this "
                   "machine, such as the onnxruntime package of PyPI has in its folder capi/"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<OrtLibrary>> OrtLibrary::Load(const std::string& path,
                                                             OrtOptions options) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    return absl::NotFoundError(
        absl::StrCat("there is no file ", path, error ? absl::StrCat(": ", error.message()) : "",
                     "; --ort-library names ONNX Runtime's libonnxruntime.so.VERSION"));
  }
  // From 1.29 on the official builds tell Microsoft about each model that is loaded, and write into
  // the home folder for it. Nothing leaves a house that hosts its own service.
  setenv("ORT_DISABLE_TELEMETRY", "1", /*overwrite=*/1);
  dlerror();
  void* const handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) {
    const char* why = dlerror();
    return NotUsable(path, absl::StrCat("cannot be loaded (", why == nullptr ? "?" : why, ")"));
  }
  const auto get_base = reinterpret_cast<const ApiBase* (*)()>(dlsym(handle, "OrtGetApiBase"));
  const ApiBase* const base = get_base == nullptr ? nullptr : get_base();
  if (base == nullptr) return NotUsable(path, "has no OrtGetApiBase: it is another library");
  const char* const version = base->get_version_string();
  const std::string named = version == nullptr ? "" : version;
  if (!IsVersion(named)) return NotUsable(path, "does not tell its version");
  const void* const* const table = base->get_api(kApiVersion);
  if (table == nullptr) {
    return NotUsable(path, absl::StrCat("is version ", named, " and lacks version ", kApiVersion,
                                        " of the C interface, which came with 1.5"));
  }
  const Api api(table);
  OrtEnv* env = nullptr;
  const absl::Status made = api.Try(kCreateEnv, kLogError, "lathe", &env);
  if (!made.ok()) {
    return NotUsable(path, absl::StrCat("does not start (", made.message(), ")"));
  }
  Owned<OrtEnv> owned = Own(api, kReleaseEnv, env);
  RETURN_IF_ERROR(api.Try(kDisableTelemetryEvents, static_cast<const OrtEnv*>(env)));
  return std::unique_ptr<OrtLibrary>(
      new OrtLibrary(api, named, std::move(owned), std::move(options)));
}

OrtLibrary::OrtLibrary(const Api& api, std::string version, Owned<OrtEnv> env, OrtOptions options)
    : api_(api), version_(std::move(version)), env_(std::move(env)), options_(std::move(options)) {}

absl::Status OrtLibrary::CheckSpare(const engine::RuntimeOptions& options) const {
  if (!options_.spare_bytes) return absl::OkStatus();
  const std::optional<int64_t> model = CheckedMul(options.model_bytes, kModelCopies);
  const std::optional<int64_t> activations =
      CheckedMul(options.activation_bytes, kActivationCopies);
  const int64_t spare = options_.spare_bytes();
  if (model && activations && *model <= spare && *activations <= spare &&
      *model + *activations + kFixedBytes <= spare) {
    return absl::OkStatus();
  }
  constexpr int64_t kMebibyte = 1 << 20;
  return absl::ResourceExhaustedError(absl::StrCat(
      "ONNX Runtime may take ", kModelCopies, " times the model's ",
      options.model_bytes / kMebibyte, " MiB and ", kActivationCopies, " times a run's ",
      options.activation_bytes / kMebibyte, " MiB, and the job may take ",
      std::max<int64_t>(spare, 0) / kMebibyte, " MiB more; raise the worker's --memory-limit-mb"));
}

absl::StatusOr<std::unique_ptr<engine::RuntimeSession>> OrtLibrary::Open(
    const std::string& path, const engine::RuntimeOptions& options) {
  RETURN_IF_ERROR(CheckSpare(options));
  ASSIGN_OR_RETURN(std::unique_ptr<OrtModel> model,
                   OrtModel::Open(api_, env_.get(), path, options));
  return std::unique_ptr<engine::RuntimeSession>(std::move(model));
}

}  // namespace lathe::ort
