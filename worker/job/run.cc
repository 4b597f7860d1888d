#include "worker/job/run.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/file_error.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/engine.h"
#include "worker/job/checkpoint_file.h"
#include "worker/ort/ort_library.h"

namespace lathe::worker {
namespace {

constexpr size_t kMaxMessageBytes = 16 << 10;

double SteadySeconds() {
  using std::chrono::duration;
  return duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

absl::Status WriteFile(const std::string& path, const std::string& bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return FileError(errno, absl::StrCat("make ", path));
  absl::Cleanup close_it = [fd] { close(fd); };
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return FileError(errno, absl::StrCat("write ", path));
    done += static_cast<size_t>(n);
  }
  std::move(close_it).Cancel();
  if (close(fd) != 0) return FileError(errno, absl::StrCat("close ", path));
  return absl::OkStatus();
}

absl::Status WriteReport(const JobSpec& spec, const std::string& json, const std::string& text) {
  RETURN_IF_ERROR(WriteFile(absl::StrCat(spec.meta_folder, "/", kReportJsonName), json));
  return WriteFile(absl::StrCat(spec.meta_folder, "/", kReportTextName), text);
}

engine::CompressRequest ToRequest(const JobSpec& spec) {
  engine::CompressRequest request;
  request.input_folder = spec.input_folder;
  request.main_file = spec.main_file;
  request.output_folder = spec.output_folder;
  request.scratch_folder = spec.temp_folder;
  request.recipe_json = spec.recipe_json;
  request.bindings = spec.bindings;
  request.threads = spec.threads;
  for (const JobFile& f : spec.files) {
    request.input_files.push_back({f.path, f.sha256, f.size_bytes});
  }
  for (const JobDataset& d : spec.datasets) {
    request.datasets.push_back({d.role, d.name, d.sha256, d.path});
  }
  request.processor = spec.processor;
  request.teacher_folder = spec.teacher_folder;
  request.teacher_main_file = spec.teacher_main_file;
  request.checkpoint_file = spec.checkpoints.resume;
  return request;
}

engine::EvaluateRequest ToEvaluateRequest(const JobSpec& spec) {
  const engine::CompressRequest same = ToRequest(spec);
  engine::EvaluateRequest request;
  request.input_folder = same.input_folder;
  request.main_file = same.main_file;
  request.compared_folder = spec.compared_folder;
  request.compared_main_file = spec.compared_main_file;
  request.recipe_json = same.recipe_json;
  request.bindings = same.bindings;
  request.threads = same.threads;
  request.input_files = same.input_files;
  request.datasets = same.datasets;
  request.processor = same.processor;
  return request;
}

// ONNX Runtime of the library that `spec` names, loaded into `library` when it is first asked for:
// most jobs measure nothing.
std::function<absl::StatusOr<engine::RuntimeProbe*>()> RuntimeOf(
    const JobSpec& spec, const JobHooks& hooks, std::unique_ptr<ort::OrtLibrary>* library) {
  if (spec.ort_library.empty()) return nullptr;
  return [&spec, &hooks, library]() -> absl::StatusOr<engine::RuntimeProbe*> {
    ort::OrtOptions options;
    if (spec.limits.memory_bytes > 0 && hooks.private_bytes) {
      options.spare_bytes = [&spec, &hooks] {
        return spec.limits.memory_bytes - hooks.private_bytes();
      };
    }
    ASSIGN_OR_RETURN(*library, ort::OrtLibrary::Load(spec.ort_library, std::move(options)));
    return library->get();
  };
}

// Training leaves its state in a file of `spec`'s, where it names a folder. A state that cannot be
// written costs no more than itself.
std::unique_ptr<CheckpointFile> SaveStates(const JobSpec& spec, EventWriter* events,
                                           engine::Hooks* hooks) {
  if (spec.checkpoints.folder.empty() || spec.checkpoints.seconds <= 0) return nullptr;
  int64_t most = limits::kMaxCheckpointBytes;
  // A write past the process's own limit would end it.
  if (spec.limits.file_bytes > 0) most = std::min(most, spec.limits.file_bytes);
  auto file = std::make_unique<CheckpointFile>(
      spec.checkpoints.folder, static_cast<double>(spec.checkpoints.seconds), most, SteadySeconds);
  hooks->checkpoint_due = [saved = file.get()] { return saved->Due(); };
  hooks->save_checkpoint = [saved = file.get(),
                            events](const std::vector<absl::string_view>& pieces) {
    const absl::StatusOr<int64_t> bytes = saved->Save(pieces);
    if (bytes.ok()) {
      events->Write(CheckpointEvent{*bytes});
    } else {
      events->Write(LogEvent{
          absl::StrCat("the state of the training was not saved: ", bytes.status().message())});
    }
    return absl::OkStatus();
  };
  return file;
}

// Compresses or evaluates.
absl::StatusOr<ResultEvent> Work(const JobSpec& spec, const JobHooks& hooks, EventWriter* events) {
  std::unique_ptr<ort::OrtLibrary> runtime;
  engine::Hooks engine_hooks;
  engine_hooks.progress = [events](const engine::Progress& p) {
    events->WriteProgress({p.step_index, p.step_count, p.stage, p.fraction, p.message},
                          SteadySeconds());
  };
  engine_hooks.log = [events](const std::string& line) { events->Write(LogEvent{line}); };
  engine_hooks.cancelled = hooks.cancelled;
  engine_hooks.seconds = SteadySeconds;
  engine_hooks.runtime = RuntimeOf(spec, hooks, &runtime);
  const std::unique_ptr<CheckpointFile> states = SaveStates(spec, events, &engine_hooks);
  ASSIGN_OR_RETURN(engine::CompressResult done,
                   spec.kind == JobKind::kEvaluate
                       ? engine::Evaluate(ToEvaluateRequest(spec), engine_hooks)
                       : engine::Compress(ToRequest(spec), engine_hooks));
  RETURN_IF_ERROR(WriteReport(spec, done.report_json, done.report_text));
  ResultEvent result;
  for (const engine::OutputFile& f : done.files) {
    result.files.push_back({f.path, f.size_bytes});
  }
  result.compression_ratio = done.compression_ratio;
  result.rejected = done.rejected;
  return result;
}

absl::StatusOr<ResultEvent> Inspect(const JobSpec& spec, const JobHooks& hooks) {
  std::unique_ptr<ort::OrtLibrary> library;
  engine::InspectRuntime runtime;
  runtime.runtime = RuntimeOf(spec, hooks, &library);
  runtime.scratch_folder = spec.temp_folder;
  for (const JobFile& file : spec.files) runtime.model_bytes += file.size_bytes;
  ASSIGN_OR_RETURN(engine::InspectResult done,
                   engine::Inspect(spec.input_folder, spec.main_file, spec.bindings, runtime));
  RETURN_IF_ERROR(WriteReport(spec, done.summary_json, done.text));
  return ResultEvent{};
}

}  // namespace

int RunJob(const JobSpec& spec, const JobHooks& hooks, EventWriter* events) {
  absl::StatusOr<ResultEvent> result =
      spec.kind == JobKind::kInspect ? Inspect(spec, hooks) : Work(spec, hooks, events);
  if (!result.ok()) {
    std::string message(result.status().message());
    if (message.size() > kMaxMessageBytes) message.resize(kMaxMessageBytes);
    events->Write(ErrorEvent{result.status().code(), ReasonOf(result.status()), std::move(message),
                             hooks.peak_rss_bytes()});
    return kExitError;
  }
  result->peak_rss_bytes = hooks.peak_rss_bytes();
  events->Write(*std::move(result));
  return kExitOk;
}

}  // namespace lathe::worker
