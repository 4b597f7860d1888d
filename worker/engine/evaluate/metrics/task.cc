#include "worker/engine/evaluate/metrics/task.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/metrics/regression.h"

namespace lathe::engine {
namespace {

constexpr size_t kMaxTopK = 16;

constexpr std::pair<Task, const char*> kTasks[] = {
    {Task::kClassification, "classification"},
    {Task::kRegression, "regression"},
    {Task::kEmbedding, "embedding"},
    {Task::kDetection, "detection"},
    {Task::kSequence, "sequence"},
    {Task::kLanguageModeling, "language_modeling"},
};

double Itself(double mean) { return mean; }
double Exponential(double mean) { return std::exp(mean); }

class ClassificationTask : public TaskMetric {
 public:
  explicit ClassificationTask(const TaskOptions& options)
      : output_(options.output), metric_(options.classification) {}

  absl::Status AddScored(const OutputBatch& outputs, const LabelBatch& labels,
                         std::vector<ExampleScore>* examples) override {
    ASSIGN_OR_RETURN(const NamedArray scores, FindOutput(outputs, output_));
    return metric_.Add(scores, labels, examples);
  }
  LeadingFigure leading() const override { return {"accuracy", true, Itself}; }
  ScoreKind kind() const override { return metric_.kind(); }
  std::vector<std::string> Warnings() const override { return metric_.Warnings(); }
  nlohmann::json ResultAs(ScoreKind kind) const override { return metric_.Result(kind); }

 private:
  std::string output_;
  Classification metric_;
};

class RegressionTask : public TaskMetric {
 public:
  explicit RegressionTask(const TaskOptions& options) : output_(options.output) {}

  absl::Status AddScored(const OutputBatch& outputs, const LabelBatch& labels,
                         std::vector<ExampleScore>* examples) override {
    ASSIGN_OR_RETURN(const NamedArray predictions, FindOutput(outputs, output_));
    return metric_.Add(predictions, labels, examples);
  }
  LeadingFigure leading() const override { return {"mae", false, Itself}; }
  std::vector<std::string> Warnings() const override { return metric_.Warnings(); }
  nlohmann::json ResultAs(ScoreKind) const override { return metric_.Result(); }

 private:
  std::string output_;
  Regression metric_;
};

class SequenceTask : public TaskMetric {
 public:
  explicit SequenceTask(const TaskOptions& options)
      : output_(options.output), metric_(options.sequence) {}

  absl::Status AddScored(const OutputBatch& outputs, const LabelBatch& labels,
                         std::vector<ExampleScore>* examples) override {
    ASSIGN_OR_RETURN(const NamedArray scores, FindOutput(outputs, output_));
    return metric_.Add(scores, labels, examples);
  }
  LeadingFigure leading() const override { return {"sequence_accuracy", true, Itself}; }
  std::vector<std::string> Warnings() const override { return metric_.Warnings(); }
  nlohmann::json ResultAs(ScoreKind) const override { return metric_.Result(); }

 private:
  std::string output_;
  Sequence metric_;
};

class LanguageModelingTask : public TaskMetric {
 public:
  explicit LanguageModelingTask(const TaskOptions& options)
      : output_(options.output), metric_(options.language) {}

  absl::Status AddScored(const OutputBatch& outputs, const LabelBatch& labels,
                         std::vector<ExampleScore>* examples) override {
    ASSIGN_OR_RETURN(const NamedArray logits, FindOutput(outputs, output_));
    return metric_.Add(logits, labels, examples);
  }
  LeadingFigure leading() const override { return {"perplexity", false, Exponential}; }
  ScoreKind kind() const override { return metric_.kind(); }
  std::vector<std::string> Warnings() const override { return metric_.Warnings(); }
  nlohmann::json ResultAs(ScoreKind kind) const override { return metric_.Result(kind); }

 private:
  std::string output_;
  LanguageModeling metric_;
};

class DetectionTask : public TaskMetric {
 public:
  explicit DetectionTask(const TaskOptions& options) : options_(options.detection) {
    options_.output = options.output;
  }

  absl::Status AddScored(const OutputBatch& outputs, const LabelBatch& labels,
                         std::vector<ExampleScore>*) override {
    DetectedBoxes boxes;
    RETURN_IF_ERROR(boxes.Read(outputs, options_, labels.values ? labels.values->examples() : 0));
    return metric_.Add(boxes.outputs(), labels);
  }
  LeadingFigure leading() const override { return {"map_50_95", false, Itself}; }
  std::vector<std::string> Warnings() const override { return metric_.Warnings(); }
  nlohmann::json ResultAs(ScoreKind) const override { return metric_.Result(); }
  const Detection* detection() const override { return &metric_; }

 private:
  DetectionOptions options_;
  Detection metric_;
};

}  // namespace

const char* TaskName(Task task) {
  for (const auto& [known, name] : kTasks) {
    if (known == task) return name;
  }
  return "";
}

absl::StatusOr<Task> TaskByName(absl::string_view name) {
  std::string names;
  for (const auto& [task, known] : kTasks) {
    if (name == known) return task;
    absl::StrAppend(&names, names.empty() ? "" : ", ", known);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("there is no task '", name, "'; expected one of ", names));
}

absl::StatusOr<std::unique_ptr<TaskMetric>> MakeTaskMetric(Task task, const TaskOptions& options) {
  if (options.classification.top_k.size() > kMaxTopK) {
    return absl::InvalidArgumentError(absl::StrCat(
        "top_k has ", options.classification.top_k.size(), " entries; at most ", kMaxTopK));
  }
  for (const int64_t k : options.classification.top_k) {
    if (k < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("top_k has ", k, "; expected numbers from 1 on"));
    }
  }
  if (options.language.shift != 0 && options.language.shift != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("the shift of labels is ", options.language.shift, "; expected 0 or 1"));
  }
  const DetectionOptions& boxes = options.detection;
  if (!(boxes.min_score >= 0 && boxes.min_score <= 1 && boxes.max_overlap >= 0 &&
        boxes.max_overlap <= 1 && boxes.max_boxes >= 1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "min_score is ", boxes.min_score, ", max_overlap ", boxes.max_overlap, " and max_boxes ",
        boxes.max_boxes, "; expected [0, 1] for the first two, and at least one box"));
  }
  switch (task) {
    case Task::kClassification:
      return std::make_unique<ClassificationTask>(options);
    case Task::kRegression:
      return std::make_unique<RegressionTask>(options);
    case Task::kDetection:
      return std::make_unique<DetectionTask>(options);
    case Task::kSequence:
      return std::make_unique<SequenceTask>(options);
    case Task::kLanguageModeling:
      return std::make_unique<LanguageModelingTask>(options);
    case Task::kEmbedding:
      break;
  }
  return absl::InvalidArgumentError(
      "embeddings of one model have no figure; evaluate two models to compare them");
}

}  // namespace lathe::engine
