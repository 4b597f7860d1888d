// What an attempt's job process works on: fetched, and put into its folder.
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "worker/agent/attempt.h"
#include "worker/agent/process_usage.h"

namespace lathe::worker {

absl::StatusOr<JobSpec> AttemptRunner::Prepare(const WorkFolder& folder) {
  JobSpec spec;
  spec.kind = attempt_.kind() == lathe::v1::ATTEMPT_KIND_INSPECT    ? JobKind::kInspect
              : attempt_.kind() == lathe::v1::ATTEMPT_KIND_EVALUATE ? JobKind::kEvaluate
                                                                    : JobKind::kCompress;
  spec.input_folder = folder.in();
  spec.main_file = attempt_.main_file();
  spec.output_folder = folder.out();
  spec.meta_folder = folder.meta();
  spec.temp_folder = folder.tmp();
  spec.recipe_json = attempt_.recipe_json();
  spec.bindings.insert(attempt_.bindings().begin(), attempt_.bindings().end());
  spec.threads = options_.threads;
  static const std::string processor = ProcessorName();
  spec.processor = processor;
  spec.limits = options_.limits;
  spec.ort_library = options_.ort_library;
  spec.parent_pid = getpid();
  RETURN_IF_ERROR(PlaceModel(attempt_.files(), folder, folder.in()));
  for (const lathe::v1::ModelFile& file : attempt_.files()) {
    spec.files.push_back({file.path(), file.digest(), file.size_bytes()});
  }
  if (attempt_.compared_files_size() > 0) {
    RETURN_IF_ERROR(PlaceModel(attempt_.compared_files(), folder, folder.compared()));
    spec.compared_folder = folder.compared();
    spec.compared_main_file = attempt_.compared_main_file();
  }
  if (attempt_.teacher_files_size() > 0) {
    RETURN_IF_ERROR(PlaceModel(attempt_.teacher_files(), folder, folder.teacher()));
    spec.teacher_folder = folder.teacher();
    spec.teacher_main_file = attempt_.teacher_main_file();
  }
  int index = 0;
  for (const lathe::v1::AttemptDataset& data : attempt_.datasets()) {
    ASSIGN_OR_RETURN(auto pin,
                     services_.cache->Acquire(data.digest(), data.size_bytes(), &transfers_));
    const std::string name = absl::StrCat(index++);
    RETURN_IF_ERROR(folder.Place(pin->path(), folder.data(), name, options_.share_inputs));
    pins_.push_back(std::move(pin));
    spec.datasets.push_back(
        {data.role(), data.display_name(), data.digest(), absl::StrCat(folder.data(), "/", name)});
  }
  spec.checkpoints.folder = folder.checkpoint();
  spec.checkpoints.seconds = options_.checkpoint_seconds;
  RETURN_IF_ERROR(PlaceState(folder, &spec));
  return spec;
}

absl::Status AttemptRunner::PlaceModel(
    const google::protobuf::RepeatedPtrField<lathe::v1::ModelFile>& files, const WorkFolder& folder,
    const std::string& target) {
  for (const lathe::v1::ModelFile& file : files) {
    ASSIGN_OR_RETURN(auto pin,
                     services_.cache->Acquire(file.digest(), file.size_bytes(), &transfers_));
    RETURN_IF_ERROR(folder.Place(pin->path(), target, file.path(), options_.share_inputs));
    pins_.push_back(std::move(pin));
  }
  return absl::OkStatus();
}

absl::Status AttemptRunner::PlaceState(const WorkFolder& folder, JobSpec* spec) {
  const lathe::v1::AttemptCheckpoint& sent = attempt_.checkpoint();
  const auto place = [&](const std::string& path) {
    return folder.Place(path, folder.resume(), kCheckpointName, options_.share_inputs);
  };
  absl::Status placed = absl::NotFoundError("there is none");
  // What was left here is at least as new as what an attempt of the same token sent.
  if (services_.states != nullptr) {
    if (const auto kept = services_.states->Find(job(), sent.lease_token())) placed = place(*kept);
  }
  if (!placed.ok() && attempt_.has_checkpoint()) {
    if (sent.size_bytes() > limits::kMaxCheckpointBytes) {
      placed = absl::ResourceExhaustedError(
          absl::StrCat("it has ", sent.size_bytes(), " bytes; at most ",
                       limits::kMaxCheckpointBytes, " are fetched"));
    } else {
      auto pin = services_.cache->Acquire(sent.digest(), sent.size_bytes(), &transfers_);
      placed = pin.ok() ? place((*pin)->path()) : pin.status();
      if (pin.ok()) pins_.push_back(*std::move(pin));
    }
    if (absl::IsCancelled(placed)) return placed;
    if (!placed.ok()) {
      AddLogLine(absl::StrCat("where the training stood could not be fetched, it starts over: ",
                              placed.message()));
    }
  }
  if (placed.ok()) spec->checkpoints.resume = absl::StrCat(folder.resume(), "/", kCheckpointName);
  return absl::OkStatus();
}

}  // namespace lathe::worker
