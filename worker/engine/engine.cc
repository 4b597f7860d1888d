#include "worker/engine/engine.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <new>
#include <set>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/recipe/text.h"
#include "common/recipe/validate.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/count_cost.h"
#include "worker/engine/evaluate/report.h"
#include "worker/engine/evaluate/weight_error.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/graph/writer.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/passes/inline_functions.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {
namespace {

namespace fs = std::filesystem;

constexpr double kReadShare = 0.05;  // of the progress
constexpr double kStepsShare = 0.75;
constexpr double kWriteShare = 0.85;

absl::Status Reason(absl::Status status, absl::string_view reason) {
  if (!status.ok() && !status.GetPayload("lathe/reason"))
    status.SetPayload("lathe/reason", absl::Cord(reason));
  return status;
}

// Whose fault an error is: what a model makes fail is the model's, whichever part found it.
absl::Status ModelError(absl::Status status) {
  if (status.code() == absl::StatusCode::kInvalidArgument ||
      status.code() == absl::StatusCode::kNotFound ||
      status.code() == absl::StatusCode::kFailedPrecondition) {
    return Reason(std::move(status), "INVALID_MODEL");
  }
  return status;
}

// Plain reads and writes: the job's sandbox lets nothing else through.
absl::StatusOr<int64_t> CopyFile(const std::string& from, const std::string& to) {
  std::ifstream in(from, std::ios::binary);
  std::ofstream out(to, std::ios::binary | std::ios::trunc);
  std::vector<char> buffer(1 << 20);
  int64_t bytes = 0;
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    out.write(buffer.data(), in.gcount());
    bytes += in.gcount();
  }
  out.close();
  if (!in.eof() || !out)
    return absl::ResourceExhaustedError(absl::StrCat("cannot write ", to, ": is the disk full?"));
  return bytes;
}

class Run {
 public:
  Run(const CompressRequest& request, const Hooks& hooks) : request_(request), hooks_(hooks) {}

  absl::StatusOr<CompressResult> Go() {
    const double start = Now();
    RETURN_IF_ERROR(ParseTheRecipe());
    RETURN_IF_ERROR(Read());
    report_.timings["read"] = Now() - start;
    RETURN_IF_ERROR(ApplySteps());
    const double write_start = Now();
    ASSIGN_OR_RETURN(CompressResult result, Write());
    report_.timings["write"] = Now() - write_start;
    const double report_start = Now();
    RETURN_IF_ERROR(Check(result));
    report_.timings["report"] = Now() - report_start;
    report_.timings["total"] = Now() - start;
    result.report_json = ReportJson(report_);
    result.report_text = ReportText(report_);
    result.compression_ratio = report_.after.files.file_bytes > 0
                                   ? static_cast<double>(report_.before.files.file_bytes) /
                                         static_cast<double>(report_.after.files.file_bytes)
                                   : 1;
    Tell(steps(), "report", 1, "done");
    return result;
  }

 private:
  int steps() const { return static_cast<int>(report_.recipe.steps.size()); }
  double Now() const { return hooks_.seconds ? hooks_.seconds() : 0; }
  bool Cancelled() const { return hooks_.cancelled && hooks_.cancelled(); }

  void Tell(int step, const std::string& stage, double fraction, const std::string& message) {
    told_ = std::max(told_, fraction);
    if (hooks_.progress) hooks_.progress({step, steps(), stage, told_, message});
  }

  absl::Status ParseTheRecipe() {
    absl::StatusOr<Recipe> recipe = ParseRecipe(request_.recipe_json);
    if (!recipe.ok()) return Reason(recipe.status(), "INVALID_RECIPE");
    report_.recipe = *std::move(recipe);
    return Reason(ViolationsToStatus(ValidateRecipe(report_.recipe)), "INVALID_RECIPE");
  }

  absl::Status Read() {
    Tell(0, "read", 0, request_.main_file);
    absl::StatusOr<Model> model = ReadModel(request_.input_folder, request_.main_file);
    if (!model.ok()) return ModelError(model.status());
    model_ = *std::move(model);
    RETURN_IF_ERROR(ModelError(VerifyModel(model_)));
    report_.files = request_.input_files;
    report_.datasets = request_.datasets;
    if (!report_.datasets.empty())
      report_.notes.push_back("no step of this recipe uses data: the datasets were not read");
    report_.before.constants = CountConstants(model_);
    report_.before.cost = CountCost(model_, request_.bindings);
    report_.before.opset = model_.OpsetVersion("");
    std::vector<std::string> paths = model_.source_files;
    if (paths.empty()) paths.push_back(request_.main_file);
    ASSIGN_OR_RETURN(report_.before.files, MeasureFiles(request_.input_folder, paths));
    RETURN_IF_ERROR(ModelError(InlineFunctions(model_, &report_.notes)));
    Tell(0, "read", kReadShare, request_.main_file);
    return absl::OkStatus();
  }

  absl::Status ApplySteps() {
    const std::unique_ptr<Parallel> parallel =
        request_.threads > 1 ? MakeThreadPool(request_.threads) : MakeSerial();
    const double share = (kStepsShare - kReadShare) / std::max(1, steps());
    for (int i = 0; i < steps(); ++i) {
      const Step& step = report_.recipe.steps[static_cast<size_t>(i)];
      const Method* method = FindMethodImpl(step.method);
      if (method == nullptr)
        return Reason(absl::InvalidArgumentError(absl::StrCat("no method ", step.method)),
                      "INVALID_RECIPE");
      const double start = Now();
      StepRecord& record = report_.steps.emplace_back();
      record.step = step;
      const double base = kReadShare + share * i;
      Tell(i, step.method, base, "");
      StepContext ctx{model_,
                      step,
                      report_.recipe.seed,
                      *parallel,
                      [&, i, base](double fraction, const std::string& message) {
                        Tell(i, step.method, base + share * fraction, message);
                      },
                      [this] { return Cancelled(); },
                      record.outcome};
      RETURN_IF_ERROR(ModelError(method->apply(ctx)));
      record.seconds = Now() - start;
      RemoveUnusedConstants(model_);
      const absl::Status valid = VerifyModel(model_);
      if (!valid.ok()) {
        return absl::InternalError(
            absl::StrCat("after ", step.method,
                         " the model is not valid any more (a bug in Lathe): ", valid.message()));
      }
      for (const LayerOutcome& layer : record.outcome.layers)
        changed_ |= layer.skipped_reason.empty();
      if (Cancelled()) return absl::CancelledError("cancelled");
    }
    return absl::OkStatus();
  }

  absl::StatusOr<CompressResult> Write() {
    Tell(steps(), "write", kStepsShare, "");
    CompressResult result;
    std::string main = request_.output_file;
    if (main.empty()) main = fs::path(request_.main_file).filename().string();
    if (!changed_) {
      report_.notes.push_back("nothing was changed: the result is the input, byte for byte");
      std::vector<std::string> paths = model_.source_files;
      if (paths.empty()) paths.push_back(request_.main_file);
      for (const std::string& path : paths) {
        const std::string target = path == request_.main_file ? main : path;
        const fs::path from = fs::path(request_.input_folder) / path;
        const fs::path to = fs::path(request_.output_folder) / target;
        std::error_code error;
        fs::create_directories(to.parent_path(), error);
        ASSIGN_OR_RETURN(const int64_t bytes, CopyFile(from.string(), to.string()));
        result.files.push_back({target, bytes});
      }
      return result;
    }
    ASSIGN_OR_RETURN(const std::vector<WrittenFile> written,
                     WriteModel(model_, request_.output_folder, main));
    for (const WrittenFile& file : written) result.files.push_back({file.path, file.size_bytes});
    return result;
  }

  // Reads back what was written: figures and errors are those of the file, not of our memory.
  absl::Status Check(const CompressResult& result) {
    Tell(steps(), "report", kWriteShare, "reading the result back");
    model_ = Model();
    absl::StatusOr<Model> written = ReadModel(request_.output_folder, result.files.at(0).path);
    if (!written.ok() || !VerifyModel(*written).ok()) {
      return absl::InternalError(absl::StrCat(
          "the file just written cannot be read back (a bug in Lathe): ",
          written.ok() ? VerifyModel(*written).message() : written.status().message()));
    }
    report_.after.constants = CountConstants(*written);
    report_.after.cost = CountCost(*written, request_.bindings);
    report_.after.opset = written->OpsetVersion("");
    std::vector<std::string> paths;
    for (const OutputFile& file : result.files) paths.push_back(file.path);
    ASSIGN_OR_RETURN(report_.after.files, MeasureFiles(request_.output_folder, paths));
    if (changed_) {
      absl::StatusOr<Model> original = ReadModel(request_.input_folder, request_.main_file);
      if (original.ok()) {
        std::vector<std::string> ignored;
        RETURN_IF_ERROR(InlineFunctions(*original, &ignored));
        report_.layer_errors = WeightErrors(*original, *written);
      }
    }
    if (report_.after.files.file_bytes > report_.before.files.file_bytes) {
      report_.warnings.push_back(
          "the result is larger than the input: the report's layers say why");
    }
    return absl::OkStatus();
  }

  const CompressRequest& request_;
  const Hooks& hooks_;
  Model model_;
  ReportInput report_;
  bool changed_ = false;
  double told_ = 0;
};

}  // namespace

absl::StatusOr<CompressResult> Compress(const CompressRequest& request, const Hooks& hooks) {
  try {
    return Run(request, hooks).Go();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        "out of memory: give the worker a higher --memory-limit-mb");
  }
}

}  // namespace lathe::engine
