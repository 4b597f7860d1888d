#include "server/rpc/validation.h"

#include <algorithm>
#include <limits>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/digest.h"
#include "common/limits.h"
#include "common/recipe/validate.h"
#include "common/utf8.h"
#include "proto/grpc_status.h"
#include "proto/recipe_codec.h"

namespace lathe::server {
namespace {

// "" when the path is a plain relative one.
std::string PathProblem(absl::string_view path) {
  if (path.empty()) return "must not be empty";
  if (path.size() > static_cast<size_t>(limits::kMaxPathBytes)) {
    return absl::StrCat("has ", path.size(), " bytes; at most ", limits::kMaxPathBytes,
                        " are allowed");
  }
  if (!IsValidUtf8(path)) return "must be UTF-8";
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\') {
      return "must not hold control characters or backslashes";
    }
  }
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == "." || part == "..") {
      return "must be a plain relative path: no leading or double slash, no \".\" or \"..\"";
    }
    if (part.size() > 255) return "has a part of more than 255 bytes";
  }
  return "";
}

void CheckDisplayName(absl::string_view field, absl::string_view name, Violations* out) {
  if (name.size() > static_cast<size_t>(limits::kMaxDisplayNameBytes)) {
    out->push_back(
        {std::string(field), absl::StrCat("has ", name.size(), " bytes; at most ",
                                          limits::kMaxDisplayNameBytes, " are allowed")});
  }
}

absl::Duration FromProto(const google::protobuf::Duration& d) {
  return absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos());
}

void CheckDuration(absl::string_view field, const google::protobuf::Duration& d,
                   absl::Duration most, Violations* out) {
  const absl::Duration duration = FromProto(d);
  if (duration <= absl::ZeroDuration() || duration > most) {
    out->push_back({std::string(field), absl::StrCat("must be in (0, ", absl::FormatDuration(most),
                                                     "], got ", absl::FormatDuration(duration))});
  }
}

}  // namespace

absl::Status ToStatus(const Violations& violations) {
  return violations.empty() ? absl::OkStatus() : BadRequestError(violations);
}

void CheckName(absl::string_view field, absl::string_view collection, absl::string_view name,
               Violations* out) {
  const std::string prefix = absl::StrCat(collection, "/");
  absl::string_view id = name;
  const bool named = absl::StartsWith(name, prefix);
  if (named) id.remove_prefix(prefix.size());
  const bool plain =
      !id.empty() && id.size() <= 63 && std::all_of(id.begin(), id.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
      });
  if (!named || !plain) {
    out->push_back({std::string(field),
                    absl::StrCat("must be \"", prefix, "ID\", got \"", name.substr(0, 80), "\"")});
  }
}

void CheckDigest(absl::string_view field, absl::string_view digest, Violations* out) {
  if (const absl::Status status = ValidateDigest(digest); !status.ok()) {
    out->push_back({std::string(field), std::string(status.message())});
  }
}

void CheckRequestId(absl::string_view request_id, Violations* out) {
  if (request_id.size() > static_cast<size_t>(limits::kMaxRequestIdBytes)) {
    out->push_back({"request_id", absl::StrCat("has ", request_id.size(), " bytes; at most ",
                                               limits::kMaxRequestIdBytes, " are allowed")});
  }
}

void CheckPage(int page_size, Violations* out) {
  if (page_size < 0 || page_size > limits::kMaxPageSize) {
    out->push_back(
        {"page_size", absl::StrCat("must be in [1, ", limits::kMaxPageSize, "], or 0 for ",
                                   limits::kDefaultPageSize, ", got ", page_size)});
  }
}

absl::Status CheckCreateModel(const v1::CreateModelRequest& request) {
  Violations out;
  CheckRequestId(request.request_id(), &out);
  const v1::Model& model = request.model();
  CheckDisplayName("model.display_name", model.display_name(), &out);
  if (model.files().empty())
    out.push_back({"model.files", "at least one file is needed: the ONNX model"});
  if (model.files_size() > limits::kMaxModelFiles) {
    out.push_back({"model.files", absl::StrCat("holds ", model.files_size(), " files; at most ",
                                               limits::kMaxModelFiles, " are allowed")});
    return ToStatus(out);
  }
  std::set<std::string> paths;
  int onnx_files = 0;
  int64_t inline_bytes = 0;
  for (int i = 0; i < model.files_size(); ++i) {
    const v1::ModelFile& file = model.files(i);
    const std::string field = absl::StrCat("model.files[", i, "]");
    if (const std::string problem = PathProblem(file.path()); !problem.empty()) {
      out.push_back({field + ".path", problem});
    } else if (!paths.insert(file.path()).second) {
      out.push_back({field + ".path", absl::StrCat("\"", file.path(), "\" is given twice")});
    }
    onnx_files += absl::EndsWith(file.path(), ".onnx") ? 1 : 0;
    if (file.has_content()) {
      inline_bytes += static_cast<int64_t>(file.content().size());
    } else if (file.has_digest()) {
      CheckDigest(field + ".digest", file.digest(), &out);
    } else {
      out.push_back({field, "needs a digest of an uploaded blob, or content"});
    }
    if (out.size() > 20) break;
  }
  for (const std::string& path : paths) {  // "a" and "a/b" cannot both be files
    for (size_t slash = path.find('/'); slash != std::string::npos;
         slash = path.find('/', slash + 1)) {
      if (paths.count(path.substr(0, slash)) != 0) {
        out.push_back({"model.files", absl::StrCat("\"", path.substr(0, slash),
                                                   "\" is both a file and a folder")});
      }
    }
  }
  if (inline_bytes > limits::kMaxInlineBytes) {
    out.push_back(
        {"model.files", absl::StrCat("hold ", inline_bytes, " bytes of content; at most ",
                                     limits::kMaxInlineBytes, " fit one call: use UploadBlob")});
  }
  if (!model.main_file().empty() && paths.count(model.main_file()) == 0) {
    out.push_back({"model.main_file",
                   absl::StrCat("\"", model.main_file().substr(0, 80), "\" is none of the files")});
  }
  if (model.main_file().empty() && onnx_files != 1 && model.files_size() != 1) {
    out.push_back({"model.main_file", absl::StrCat("must say which file is the model: ", onnx_files,
                                                   " of the files end in .onnx")});
  }
  return ToStatus(out);
}

absl::Status CheckCreateDataset(const v1::CreateDatasetRequest& request) {
  Violations out;
  CheckRequestId(request.request_id(), &out);
  CheckDisplayName("dataset.display_name", request.dataset().display_name(), &out);
  CheckDigest("dataset.digest", request.dataset().digest(), &out);
  if (!v1::DatasetFormat_IsValid(request.dataset().format())) {
    out.push_back({"dataset.format", "must be DATASET_FORMAT_NPZ or DATASET_FORMAT_SAFETENSORS"});
  }
  return ToStatus(out);
}

absl::Status CheckCreateJob(const v1::CreateJobRequest& request) {
  Violations out;
  CheckRequestId(request.request_id(), &out);
  const v1::Job& job = request.job();
  CheckName("job.model", "models", job.model(), &out);
  if (!v1::JobKind_IsValid(job.kind())) {
    out.push_back({"job.kind", "must be JOB_KIND_COMPRESS or JOB_KIND_EVALUATE"});
  }
  const bool evaluate = job.kind() == v1::JOB_KIND_EVALUATE;
  if (!job.compared_model().empty()) {
    CheckName("job.compared_model", "models", job.compared_model(), &out);
    if (!evaluate) {
      out.push_back({"job.compared_model", "only a job of kind JOB_KIND_EVALUATE compares models"});
    }
  }
  if (evaluate && job.datasets_size() == 0) {
    out.push_back({"job.datasets", "an evaluation needs at least one dataset"});
  }
  const RecipeUse use = evaluate ? RecipeUse::kEvaluate : RecipeUse::kCompress;
  const Recipe recipe = RecipeFromProto(job.recipe());
  std::vector<Violation> violations = ValidateRecipe(recipe, use);
  if (violations.empty()) {
    std::vector<std::string> roles;
    for (const v1::JobDataset& dataset : job.datasets()) roles.push_back(dataset.role());
    violations = ValidateExamples(recipe, roles);
  }
  for (const Violation& violation : violations) {
    out.push_back({absl::StrCat("job.recipe.", violation.field), violation.description});
  }
  if (!job.teacher_model().empty()) {
    CheckName("job.teacher_model", "models", job.teacher_model(), &out);
    const bool learns = std::any_of(recipe.steps.begin(), recipe.steps.end(),
                                    [](const Step& step) { return step.method == "distill"; });
    if (!learns) {
      out.push_back({"job.teacher_model",
                     "only `distill` steps learn from a teacher, and the recipe has none; add one, "
                     "or leave the teacher out"});
    }
  }
  if (job.datasets_size() > 16) out.push_back({"job.datasets", "at most 16 datasets are allowed"});
  for (int i = 0; i < std::min(job.datasets_size(), 16); ++i) {
    const v1::JobDataset& dataset = job.datasets(i);
    CheckName(absl::StrCat("job.datasets[", i, "].dataset"), "datasets", dataset.dataset(), &out);
    static const std::vector<std::string> kRoles = {"calibration", "train", "test"};
    if (!dataset.role().empty() && std::count(kRoles.begin(), kRoles.end(), dataset.role()) == 0) {
      const std::string nearest = NearestName(dataset.role(), kRoles);
      out.push_back(
          {absl::StrCat("job.datasets[", i, "].role"),
           absl::StrCat("must be calibration, train, test or empty, got \"",
                        dataset.role().substr(0, 40), "\"",
                        nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?"))});
    }
  }
  if (job.bindings_size() > 256)
    out.push_back({"job.bindings", "at most 256 dimensions can be bound"});
  for (const auto& [symbol, size] : job.bindings()) {
    if (size < 1 || size > std::numeric_limits<int32_t>::max() || symbol.size() > 256) {
      out.push_back({absl::StrCat("job.bindings[", symbol.substr(0, 60), "]"),
                     absl::StrCat("must be in [1, 2147483647], got ", size)});
    }
  }
  if (job.priority() < -100 || job.priority() > 100) {
    out.push_back({"job.priority", absl::StrCat("must be in [-100, 100], got ", job.priority())});
  }
  if (job.has_max_pending_duration()) {
    CheckDuration("job.max_pending_duration", job.max_pending_duration(), absl::Hours(24 * 365),
                  &out);
  }
  if (job.has_max_run_duration()) {
    CheckDuration("job.max_run_duration", job.max_run_duration(), absl::Hours(24 * 7), &out);
  }
  if (job.labels_size() > limits::kMaxLabels) {
    out.push_back({"job.labels", absl::StrCat("holds ", job.labels_size(), " labels; at most ",
                                              limits::kMaxLabels, " are allowed")});
  }
  for (const auto& [key, value] : job.labels()) {
    if (key.empty() || key.size() > 63 || value.size() > 255) {
      out.push_back({absl::StrCat("job.labels[", key.substr(0, 63), "]"),
                     "keys have 1 to 63 bytes, values at most 255"});
    }
  }
  return ToStatus(out);
}

}  // namespace lathe::server
