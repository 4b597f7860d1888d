#include "worker/engine/evaluation_task.h"

#include "absl/strings/str_cat.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

// The value that stands beside the given name in a table of all choices; the catalogue has refused
// other names.
template <typename T, size_t kChoices>
T Choice(const Step& section, const char* param,
         const std::pair<const char*, T> (&choices)[kChoices]) {
  const std::string name = GetString(section, param);
  for (const auto& [known, value] : choices) {
    if (name == known) return value;
  }
  return choices[0].second;
}

constexpr std::pair<const char*, DetectionForm> kForms[] = {
    {"auto", DetectionForm::kAuto},
    {"separate", DetectionForm::kSeparate},
    {"rows", DetectionForm::kRows},
    {"raw", DetectionForm::kRaw},
};
constexpr std::pair<const char*, BoxFormat> kFormats[] = {
    {"auto", BoxFormat::kAuto}, {"xyxy", BoxFormat::kXyXy},     {"yxyx", BoxFormat::kYxYx},
    {"xywh", BoxFormat::kXyWh}, {"cxcywh", BoxFormat::kCxCyWh},
};
constexpr std::pair<const char*, SequenceDecoder> kDecoders[] = {
    {"ctc", SequenceDecoder::kCtc},
    {"tokens", SequenceDecoder::kTokens},
};
constexpr std::pair<const char*, std::optional<ScoreKind>> kScores[] = {
    {"auto", std::nullopt},
    {"logits", ScoreKind::kLogits},
    {"probabilities", ScoreKind::kProbabilities},
};

std::string NameOf(const Step& section, const char* param) {
  return IsGiven(section, param) ? GetString(section, param) : "";
}

std::optional<int64_t> IntOf(const Step& section, const char* param) {
  if (!IsGiven(section, param)) return std::nullopt;
  return GetInt(section, param);
}

}  // namespace

TaskOptions TaskOptionsOf(const Step& evaluate) {
  TaskOptions options;
  options.output = NameOf(evaluate, "output");
  ClassificationOptions& classes = options.classification;
  classes.class_axis = static_cast<int>(GetInt(evaluate, "class_axis"));
  classes.top_k.clear();
  for (const double k : GetNumbers(evaluate, "top_k")) {
    classes.top_k.push_back(static_cast<int64_t>(k));
  }
  classes.ignore_label = IntOf(evaluate, "ignore_label");
  classes.scores = Choice(evaluate, "scores", kScores);
  options.sequence.decoder = Choice(evaluate, "decoder", kDecoders);
  options.sequence.blank = GetInt(evaluate, "blank");
  options.sequence.end_token = IntOf(evaluate, "end_token");
  options.language.shift = GetInt(evaluate, "label_shift");
  options.language.ignore_label = classes.ignore_label;
  DetectionOptions& boxes = options.detection;
  boxes.form = Choice(evaluate, "detector", kForms);
  boxes.box_format = Choice(evaluate, "box_format", kFormats);
  boxes.boxes_output = NameOf(evaluate, "boxes_output");
  boxes.scores_output = NameOf(evaluate, "scores_output");
  boxes.classes_output = NameOf(evaluate, "classes_output");
  boxes.min_score = GetDouble(evaluate, "min_score");
  boxes.max_overlap = GetDouble(evaluate, "max_overlap");
  boxes.max_boxes = GetInt(evaluate, "max_boxes");
  return options;
}

absl::StatusOr<std::optional<Task>> TaskOf(const Step& evaluate, LabelKind labels,
                                           std::vector<std::string>* warnings) {
  const std::string name = GetString(evaluate, "task");
  if (name == "fidelity" || name == "none") return std::nullopt;
  if (name != "auto") {
    ASSIGN_OR_RETURN(const Task task, TaskByName(name));
    if (task == Task::kDetection && labels != LabelKind::kBoxes) {
      return absl::InvalidArgumentError(
          "evaluate.task is detection, but the data hold no true boxes: expected the keys boxes "
          "[examples, most, 4] and classes [examples, most]");
    }
    if (labels == LabelKind::kBoxes && task != Task::kDetection && task != Task::kEmbedding) {
      return absl::InvalidArgumentError(
          absl::StrCat("evaluate.task is ", name,
                       ", but the data hold true boxes: say detection, or give labels instead"));
    }
    return task;
  }
  switch (labels) {
    case LabelKind::kClass:
    case LabelKind::kOneHot:
      return Task::kClassification;
    case LabelKind::kFloat:
      return Task::kRegression;
    case LabelKind::kBoxes:
      return Task::kDetection;
    case LabelKind::kIds:
      warnings->push_back(
          "labels of several numbers an example may be sequences, tokens or pixels: say which with "
          "`evaluate: {task: ...}`; only the fidelity of outputs was measured");
      break;
    case LabelKind::kNone:
      break;
  }
  return std::nullopt;
}

}  // namespace lathe::engine
