#include "worker/engine/training_setup.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/build_info.h"
#include "common/digest.h"
#include "common/recipe/catalogue.h"
#include "common/recipe/text.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/engine_status.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/passes/inline_functions.h"

namespace lathe::engine {
namespace {

// Inputs that a caller must feed.
std::set<std::string> FedInputs(const Model& model) {
  std::set<std::string> names;
  for (const ValueInfo& input : model.graph->inputs) {
    if (model.graph->initializers.count(input.name) == 0) names.insert(input.name);
  }
  return names;
}

absl::Status CheckTeacher(const Model& teacher, const Model& student) {
  const std::set<std::string> given = FedInputs(student);
  for (const std::string& name : FedInputs(teacher)) {
    if (given.count(name) > 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "the teacher has an input '", name, "' that the model does not have (its inputs: ",
        absl::StrJoin(given, ", "), "); both are fed the same examples, so rename it"));
  }
  const size_t outputs = teacher.graph->outputs.size();
  if (outputs == student.graph->outputs.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the teacher has ", outputs, " outputs and the model ",
                   student.graph->outputs.size(), "; they must have the same number"));
}

// SHA-256 of a file: as given, or of its bytes.
absl::StatusOr<std::string> DigestOf(const std::string& given, const std::string& path) {
  if (!given.empty() || path.empty()) return given;
  ASSIGN_OR_RETURN(const FileDigest digest, Sha256File(path));
  return digest.sha256;
}

}  // namespace

absl::StatusOr<std::unique_ptr<TrainingSetup>> TrainingSetup::Make(
    const Recipe& recipe, const CompressRequest& request, const Hooks& hooks, const Model& original,
    const DataSplit* train, std::vector<std::string>* notes) {
  const auto first = std::find_if(recipe.steps.begin(), recipe.steps.end(), TrainsOnData);
  if (first == recipe.steps.end()) return nullptr;
  if (train == nullptr) {
    return WithReason(absl::InvalidArgumentError(absl::StrCat(
                          first->method,
                          " needs examples to train on: give some with --data train=FILE, or with "
                          "--data FILE for all that the recipe needs")),
                      "INVALID_DATASET");
  }
  std::unique_ptr<TrainingSetup> setup(new TrainingSetup(request, hooks));
  TrainingContext& context = setup->context_;
  context.train = train;
  context.original = &original;
  const Step section = SectionOf(recipe, "evaluate");
  if (IsGiven(section, "output")) context.output = GetString(section, "output");
  RETURN_IF_ERROR(setup->ReadTeacher(original, notes));
  if (hooks.save_checkpoint || !request.checkpoint_file.empty()) {
    RETURN_IF_ERROR(setup->ReadCheckpoint(recipe, original, notes));
  }
  if (hooks.save_checkpoint) context.checkpoint_due = hooks.checkpoint_due;
  return setup;
}

absl::Status TrainingSetup::ReadTeacher(const Model& original, std::vector<std::string>* notes) {
  if (request_.teacher_main_file.empty()) return absl::OkStatus();
  absl::StatusOr<Model> model = ReadModel(request_.teacher_folder, request_.teacher_main_file);
  if (model.ok()) {
    if (const absl::Status valid = VerifyModel(*model); !valid.ok()) model = valid;
  }
  if (!model.ok()) {
    return ModelError(absl::Status(
        model.status().code(),
        absl::StrCat("the teacher, ", request_.teacher_main_file, ": ", model.status().message())));
  }
  teacher_ = *std::move(model);
  std::vector<std::string> inlined;  // of the teacher's: no news for the report
  RETURN_IF_ERROR(ModelError(InlineFunctions(*teacher_, &inlined)));
  RETURN_IF_ERROR(ModelError(CheckTeacher(*teacher_, original)));
  context_.teacher = &*teacher_;
  notes->push_back(absl::StrCat("the teacher is ", request_.teacher_main_file));
  return absl::OkStatus();
}

absl::StatusOr<std::string> TrainingSetup::Identity(const Recipe& recipe,
                                                    const Model& original) const {
  std::vector<std::string> parts = {BuildId(), CanonicalJson(recipe), request_.main_file};
  for (const std::string& path : original.source_files) {
    const auto known = std::find_if(request_.input_files.begin(), request_.input_files.end(),
                                    [&](const InputFile& file) { return file.path == path; });
    ASSIGN_OR_RETURN(const std::string digest,
                     DigestOf(known == request_.input_files.end() ? "" : known->sha256,
                              absl::StrCat(request_.input_folder, "/", path)));
    parts.push_back(absl::StrCat("model ", path, " ", digest));
  }
  if (teacher_) {
    for (const std::string& path : teacher_->source_files) {
      ASSIGN_OR_RETURN(const std::string digest,
                       DigestOf("", absl::StrCat(request_.teacher_folder, "/", path)));
      parts.push_back(absl::StrCat("teacher ", path, " ", digest));
    }
  }
  for (const InputDataset& data : request_.datasets) {
    ASSIGN_OR_RETURN(const std::string digest, DigestOf(data.sha256, data.path));
    parts.push_back(absl::StrCat("data ", data.role, " ", digest));
  }
  return Sha256Hex(absl::StrJoin(parts, "\n"));
}

absl::Status TrainingSetup::ReadCheckpoint(const Recipe& recipe, const Model& original,
                                           std::vector<std::string>* notes) {
  ASSIGN_OR_RETURN(states_.identity, Identity(recipe, original));
  if (request_.checkpoint_file.empty()) return absl::OkStatus();
  absl::StatusOr<CheckpointSet> earlier = ReadCheckpointSet(request_.checkpoint_file);
  if (earlier.ok() && earlier->identity == states_.identity) {
    earlier_ = *std::move(earlier);
    // Kept from the start: a step that trains before them must not drop them.
    if (hooks_.save_checkpoint) states_.states = earlier_.states;
    return absl::OkStatus();
  }
  notes->push_back(absl::StrCat(
      "the state that an earlier attempt had saved was left aside, and training starts over: ",
      earlier.ok() ? "it is of another recipe, model, dataset or version of Lathe"
                   : std::string(earlier.status().message())));
  if (hooks_.log) hooks_.log(notes->back());
  return absl::OkStatus();
}

absl::Status TrainingSetup::Save() {
  std::string header;
  return hooks_.save_checkpoint(CheckpointPieces(states_, &header));
}

TrainingContext* TrainingSetup::ForStep(int index) {
  context_.resume.clear();
  if (const auto state = earlier_.states.find(index); state != earlier_.states.end()) {
    context_.resume = std::move(state->second);
    earlier_.states.erase(state);
  }
  context_.resumed = [this, index](int64_t done, int64_t total) {
    if (!hooks_.log) return;
    hooks_.log(absl::StrCat("steps[", index, "]: resumed from step ", done, " of ", total,
                            " of the training"));
  };
  if (!hooks_.save_checkpoint) return &context_;
  context_.save_checkpoint = [this, index](std::string state) {
    states_.states[index] = std::move(state);
    return Save();
  };
  context_.keep_final = [this, index](std::string state) {
    states_.states[index] = std::move(state);
    return hooks_.checkpoint_due && hooks_.checkpoint_due() ? Save() : absl::OkStatus();
  };
  return &context_;
}

void TrainingSetup::EndStep(const Step& step) {
  if (TrainsOnData(step)) context_.gradual.reset();
}

}  // namespace lathe::engine
