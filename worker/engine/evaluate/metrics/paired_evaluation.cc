#include "worker/engine/evaluate/metrics/paired_evaluation.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/metrics/json_number.h"
#include "worker/engine/evaluate/metrics/mcnemar.h"
#include "worker/engine/evaluate/metrics/significance.h"

namespace lathe::engine {
namespace {

constexpr int64_t kMinResamples = 100;

// after - before of every figure that both have. Counts are integers in JSON and no figures.
nlohmann::json Changes(const nlohmann::json& before, const nlohmann::json& after) {
  nlohmann::json changes = nlohmann::json::object();
  for (const auto& [key, value] : before.items()) {
    if (!after.contains(key)) continue;
    if (value.is_number_float() && after[key].is_number_float()) {
      changes[key] = JsonNumber(after[key].get<double>() - value.get<double>());
    } else if (key == "top_k") {
      changes[key] = Changes(value, after[key]);
    }
  }
  return changes;
}

void AppendWarnings(const char* side, const std::vector<std::string>& lines,
                    nlohmann::json* warnings) {
  for (const std::string& line : lines) warnings->push_back(absl::StrCat(side, line));
}

}  // namespace

absl::StatusOr<std::unique_ptr<PairedEvaluation>> PairedEvaluation::Make(PairedOptions options) {
  if (options.resamples < kMinResamples || options.resamples > limits::kMaxResamples) {
    return absl::InvalidArgumentError(absl::StrCat("resamples is ", options.resamples,
                                                   "; expected ", kMinResamples, " to ",
                                                   limits::kMaxResamples));
  }
  std::unique_ptr<PairedEvaluation> evaluation(new PairedEvaluation(std::move(options)));
  const PairedOptions& set = evaluation->options_;
  if (set.task && *set.task != Task::kEmbedding) {
    ASSIGN_OR_RETURN(evaluation->before_, MakeTaskMetric(*set.task, set.task_options));
    ASSIGN_OR_RETURN(evaluation->after_, MakeTaskMetric(*set.task, set.task_options));
  }
  return evaluation;
}

absl::Status PairedEvaluation::Begin(Form form, bool labels) {
  if (form_ == Form::kNone) {
    form_ = form;
    labels_ = labels;
    return absl::OkStatus();
  }
  if (form_ != form) {
    return absl::InvalidArgumentError("some batches are of one model and some are of two");
  }
  if (labels_ != labels) {
    return absl::InvalidArgumentError("some batches have labels and some have none");
  }
  return absl::OkStatus();
}

absl::Status PairedEvaluation::CountExamples(const OutputBatch& outputs, const LabelBatch* labels) {
  // A detector's outputs may have no axis of examples.
  if (options_.task == Task::kDetection && labels != nullptr && labels->values) {
    examples_ += labels->values->examples();
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const NamedArray output, FindOutput(outputs, options_.task_options.output));
  examples_ += output.array.examples();
  return absl::OkStatus();
}

absl::Status PairedEvaluation::Add(const OutputBatch& outputs, const LabelBatch& labels) {
  if (before_ == nullptr) {
    return absl::InvalidArgumentError(
        options_.task ? "embeddings of one model have no figure; compare two models"
                      : "one model without a task has no figure; name the task");
  }
  RETURN_IF_ERROR(Begin(Form::kSingle, true));
  RETURN_IF_ERROR(before_->Add(outputs, labels));
  return CountExamples(outputs, &labels);
}

absl::Status PairedEvaluation::Add(const OutputBatch& before, const OutputBatch& after,
                                   const LabelBatch* labels) {
  RETURN_IF_ERROR(Begin(Form::kPair, labels != nullptr));
  RETURN_IF_ERROR(CountExamples(before, labels));
  if (labels != nullptr && before_ != nullptr) {
    std::vector<ExampleScore> scores_before;
    std::vector<ExampleScore> scores_after;
    RETURN_IF_ERROR(before_->AddScored(before, *labels, &scores_before));
    RETURN_IF_ERROR(after_->AddScored(after, *labels, &scores_after));
    RETURN_IF_ERROR(AddPairs(scores_before, scores_after));
  }
  if (options_.task == Task::kEmbedding) {
    ASSIGN_OR_RETURN(const NamedArray x, FindOutput(before, options_.task_options.output));
    ASSIGN_OR_RETURN(const NamedArray y, FindOutput(after, x.name));
    RETURN_IF_ERROR(embedding_.Add(x, y));
  }
  return AddFidelity(before, after);
}

absl::Status PairedEvaluation::AddFidelity(const OutputBatch& before, const OutputBatch& after) {
  for (const NamedArray& x : before.outputs) {
    ASSIGN_OR_RETURN(const NamedArray y, FindOutput(after, x.name));
    OutputFidelity& output = fidelity_[x.name];
    if (!output.not_compared.empty()) continue;
    if (x.array.dims != y.array.dims) {
      output.not_compared = absl::StrCat("it is ", DimsText(x.array.dims), " before and ",
                                         DimsText(y.array.dims), " after");
      continue;
    }
    RETURN_IF_ERROR(output.fidelity.Add(x, y));
  }
  return absl::OkStatus();
}

absl::Status PairedEvaluation::AddPairs(const std::vector<ExampleScore>& before,
                                        const std::vector<ExampleScore>& after) {
  if (before.size() != after.size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the model gave ", before.size(), " examples before and ", after.size(), " after"));
  }
  for (size_t i = 0; i < before.size(); ++i) {
    trials_ &= before[i].trial && after[i].trial;
    for (size_t k = 0; k < pairs_.size(); ++k) {
      const double x = before[i].numerator[k];
      const double y = after[i].numerator[k];
      pairs_[k].only_before += x > y;
      pairs_[k].only_after += y > x;
      pairs_[k].sums.Add({x, before[i].denominator[k], y, after[i].denominator[k]});
    }
  }
  return absl::OkStatus();
}

nlohmann::json PairedEvaluation::Test(ScoreKind kind, const LeadingFigure& leading,
                                      double* p_value) const {
  const Pairs& pairs = pairs_[static_cast<size_t>(kind)];
  const Detection* detection = before_->detection();
  if (detection == nullptr && trials_ && leading.share) {
    const McNemar test = McNemarTest(pairs.only_before, pairs.only_after);
    *p_value = test.p_value;
    return {{"name", test.chi_square ? "mcnemar_chi_square" : "mcnemar_mid_p"},
            {"figure", leading.key},
            {"only_before", test.only_before},
            {"only_after", test.only_after},
            {"p_exact", test.chi_square ? nlohmann::json() : nlohmann::json(test.p_exact)}};
  }
  const BootstrapResult drawn =
      detection != nullptr
          ? BootstrapDetection(*detection, *after_->detection(), options_.resamples, options_.seed)
          : pairs.sums.Bootstrap(leading.of, options_.resamples, options_.seed);
  if (drawn.resamples == 0) return nullptr;
  *p_value = drawn.p_value;
  return {{"name", "paired_bootstrap"},
          {"figure", leading.key},
          {"resamples", drawn.resamples},
          {"interval", drawn.interval},
          {"examples_a_unit", detection != nullptr ? 1 : pairs.sums.examples_a_unit()}};
}

void PairedEvaluation::Compare(nlohmann::json* block) const {
  const ScoreKind kind = before_->kind();
  const LeadingFigure leading = before_->leading();
  const nlohmann::json changes = Changes((*block)["before"], (*block)["after"]);
  (*block)["change"] = changes;
  if (!changes.contains(leading.key) || !changes[leading.key].is_number()) {
    (*block)["significance"] =
        absl::StrCat("there is no ", leading.key, " on both sides: nothing to compare");
    return;
  }
  const double change = changes[leading.key].get<double>();
  double p_value = NAN;
  (*block)["test"] = Test(kind, leading, &p_value);
  (*block)["p_value"] = JsonNumber(p_value);
  if (!std::isfinite(p_value)) {
    (*block)["significance"] = "too many or too few examples to tell a change from noise";
  } else {
    (*block)["significance"] = leading.share
                                   ? ShareSentence(change, examples_, p_value)
                                   : FigureSentence(leading.key, change, examples_, p_value);
  }
}

nlohmann::json PairedEvaluation::Result() const {
  const bool measured = before_ != nullptr && labels_;
  nlohmann::json block = {
      {"task", options_.task ? nlohmann::json(TaskName(*options_.task)) : nlohmann::json()},
      {"split", options_.split},
      {"examples", examples_},
      {"labels", labels_},
      {"before", nullptr},
      {"after", nullptr},
      {"change", nullptr},
      {"test", nullptr},
      {"p_value", nullptr},
      {"significance", nullptr},
      {"fidelity", nlohmann::json::object()}};
  nlohmann::json warnings = nlohmann::json::array();
  if (examples_ == 0) warnings.push_back("there are no examples: nothing was measured");
  if (measured) {
    block["before"] = before_->Result();
    AppendWarnings(form_ == Form::kPair ? "before: " : "", before_->Warnings(), &warnings);
  }
  if (measured && form_ == Form::kPair) {
    // Read as the original's scores are: what rounding did to the sum of a softmax is no reason to
    // take its output for logits.
    block["after"] = after_->ResultAs(before_->kind());
    AppendWarnings("after: ", after_->Warnings(), &warnings);
    Compare(&block);
  }
  if (options_.task == Task::kEmbedding) {
    block["change"] = embedding_.Result();
    AppendWarnings("", embedding_.Warnings(), &warnings);
  }
  for (const auto& [name, output] : fidelity_) {
    if (!output.not_compared.empty()) {
      block["fidelity"][name] = {{"not_compared", output.not_compared}};
      warnings.push_back(
          absl::StrCat("output '", name, "' is not compared: ", output.not_compared));
      continue;
    }
    block["fidelity"][name] = output.fidelity.Result();
    const int64_t before = output.fidelity.non_finite_before();
    const int64_t after = output.fidelity.non_finite_after();
    if (before + after > 0) {
      warnings.push_back(absl::StrCat("output '", name, "' has ", before, " values before and ",
                                      after, " after that are NaN or infinite"));
    }
  }
  block["warnings"] = std::move(warnings);
  return block;
}

}  // namespace lathe::engine
