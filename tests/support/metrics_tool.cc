#include "tests/support/metrics_tool.h"

#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/metrics/paired_evaluation.h"

namespace lathe::testing {
namespace {

using engine::FloatArray;
using engine::IntArray;
using engine::LabelBatch;
using engine::OutputBatch;
using engine::PairedEvaluation;
using engine::PairedOptions;
using nlohmann::json;

// The arrays of one batch, and what holds their values.
class Batch {
 public:
  Batch(std::string folder, const json& spec) : folder_(std::move(folder)), spec_(spec) {}

  OutputBatch Outputs(const char* side) {
    OutputBatch batch;
    for (const json& array : spec_.at(side)) {
      batch.outputs.push_back({array.at("name"), {array.at("dims"), Read(array, &floats_)}});
    }
    return batch;
  }

  LabelBatch Labels() {
    LabelBatch labels;
    const json& spec = spec_.at("labels");
    if (spec.contains("ids")) {
      labels.ids = IntArray{spec["ids"].at("dims"), Read(spec["ids"], &ints_)};
    }
    if (spec.contains("values")) {
      labels.values = FloatArray{spec["values"].at("dims"), Read(spec["values"], &floats_)};
    }
    if (spec.contains("weights")) labels.weights = Read(spec["weights"], &floats_);
    return labels;
  }

 private:
  template <typename T>
  std::span<const T> Read(const json& array, std::vector<std::vector<T>>* held) {
    std::ifstream in(folder_ + "/" + array.at("file").get<std::string>(), std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
    held->push_back(std::move(values));
    return held->back();
  }

  std::string folder_;
  const json& spec_;
  std::vector<std::vector<float>> floats_;
  std::vector<std::vector<int64_t>> ints_;
};

absl::StatusOr<PairedOptions> Options(const json& spec) {
  PairedOptions options;
  if (spec.contains("task")) {
    ASSIGN_OR_RETURN(options.task, engine::TaskByName(spec["task"].get<std::string>()));
  }
  options.split = spec.value("split", "test");
  options.seed = spec.value("seed", uint64_t{0});
  options.resamples = spec.value("resamples", int64_t{2000});
  const json given = spec.value("options", json::object());
  engine::TaskOptions& task = options.task_options;
  task.output = given.value("output", "");
  task.classification.class_axis = given.value("class_axis", 1);
  task.classification.top_k = given.value("top_k", std::vector<int64_t>{5});
  if (given.contains("ignore_label")) task.classification.ignore_label = given["ignore_label"];
  if (given.value("decoder", "ctc") == "tokens") {
    task.sequence.decoder = engine::SequenceDecoder::kTokens;
  }
  task.sequence.blank = given.value("blank", int64_t{0});
  if (given.contains("end_token")) task.sequence.end_token = given["end_token"];
  task.language.shift = given.value("shift", int64_t{1});
  if (given.contains("ignore_label")) task.language.ignore_label = given["ignore_label"];
  engine::DetectionOptions& boxes = task.detection;
  boxes.form = static_cast<engine::DetectionForm>(given.value("form", 0));
  boxes.box_format = static_cast<engine::BoxFormat>(given.value("box_format", 0));
  boxes.boxes_output = given.value("boxes_output", "");
  boxes.scores_output = given.value("scores_output", "");
  boxes.classes_output = given.value("classes_output", "");
  boxes.min_score = given.value("min_score", boxes.min_score);
  boxes.max_overlap = given.value("max_overlap", boxes.max_overlap);
  boxes.max_boxes = given.value("max_boxes", boxes.max_boxes);
  return options;
}

absl::Status Evaluate(const std::string& folder, const json& spec) {
  ASSIGN_OR_RETURN(const PairedOptions options, Options(spec));
  ASSIGN_OR_RETURN(const std::unique_ptr<PairedEvaluation> evaluation,
                   PairedEvaluation::Make(options));
  for (const json& part : spec.at("batches")) {
    Batch batch(folder, part);
    const OutputBatch before = batch.Outputs("before");
    const bool labelled = part.contains("labels");
    const LabelBatch labels = labelled ? batch.Labels() : LabelBatch();
    if (part.contains("after")) {
      RETURN_IF_ERROR(
          evaluation->Add(before, batch.Outputs("after"), labelled ? &labels : nullptr));
    } else {
      RETURN_IF_ERROR(evaluation->Add(before, labels));
    }
  }
  std::cout << evaluation->Result().dump() << "\n";
  return absl::OkStatus();
}

}  // namespace

absl::Status RunMetrics(const std::string& folder) {
  try {
    std::ifstream in(folder + "/spec.json");
    return Evaluate(folder, json::parse(in));
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(folder, "/spec.json: ", error.what()));
  }
}

}  // namespace lathe::testing
