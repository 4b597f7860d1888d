// What a recipe may say beside its steps: about the data and about the result.
#include <utility>
#include <vector>

#include "common/recipe/catalogue.h"

namespace lathe {
namespace {

constexpr double kMostExamples = 1e9;

MethodSpec Preprocess() {
  return {
      .name = "preprocess",
      .description = "How the arrays of a dataset become the model's inputs.",
      .params = {{.name = "scale",
                  .type = ParamType::kDouble,
                  .description = "Values are multiplied by it first; 0.00392156862745098 makes "
                                 "bytes lie in [0, 1].",
                  .default_value = 1.0},
                 {.name = "mean",
                  .type = ParamType::kNumberList,
                  .description = "Then subtracted: one number, or one for each channel.",
                  .maximum_count = 4096,
                  .default_value = std::vector<double>{}},
                 {.name = "std",
                  .type = ParamType::kNumberList,
                  .description = "Then divided by: one number, or one for each channel.",
                  .minimum = 0,
                  .minimum_open = true,
                  .maximum_count = 4096,
                  .default_value = std::vector<double>{}},
                 {.name = "layout",
                  .type = ParamType::kString,
                  .description = "Axes of the data's images, turned into the model's where they "
                                 "differ; the model's when not given.",
                  .choices = {"NHWC", "NCHW"}},
                 {.name = "resize",
                  .type = ParamType::kNumberList,
                  .description = "Height and width that images are resized to, bilinearly.",
                  .unit = "pixels",
                  .minimum = 1,
                  .maximum = 16384,
                  .whole = true,
                  .minimum_count = 2,
                  .maximum_count = 2}},
      .exclusive = {},
      .only_with = {}};
}

MethodSpec Split() {
  return {
      .name = "split",
      .description = "How one dataset file serves several roles.",
      .params = {{.name = "test",
                  .type = ParamType::kDouble,
                  .description = "Fraction of the examples kept for testing, chosen by the seed.",
                  .minimum = 0,
                  .maximum = 1,
                  .default_value = 0.5},
                 {.name = "calibration",
                  .type = ParamType::kInt,
                  .description = "Most examples used for calibration.",
                  .unit = "examples",
                  .minimum = 1,
                  .maximum = kMostExamples,
                  .default_value = int64_t{512}}},
      .exclusive = {},
      .only_with = {}};
}

// What the outputs of a detector are (worker/engine/evaluate/metrics/detection_outputs.h).
std::vector<ParamSpec> DetectionParams() {
  return {{.name = "detector",
           .type = ParamType::kString,
           .description = "How a detector's boxes are laid out: three outputs, one of rows of six "
                          "numbers, or one before suppression; auto: by the output's shape.",
           .choices = {"auto", "separate", "rows", "raw"},
           .default_value = std::string("auto")},
          {.name = "box_format",
           .type = ParamType::kString,
           .description = "What the four numbers of a predicted box are; auto: cxcywh for raw "
                          "outputs, xyxy for others.",
           .choices = {"auto", "xyxy", "yxyx", "xywh", "cxcywh"},
           .default_value = std::string("auto")},
          {.name = "boxes_output",
           .type = ParamType::kString,
           .description = "Output of a detector's boxes, where three outputs hold them; found by "
                          "its name, otherwise the first, when not given."},
          {.name = "scores_output",
           .type = ParamType::kString,
           .description = "Output of their scores; otherwise the second."},
          {.name = "classes_output",
           .type = ParamType::kString,
           .description = "Output of their classes; otherwise the third."},
          {.name = "min_score",
           .type = ParamType::kDouble,
           .description = "Least score of a box of raw outputs.",
           .minimum = 0,
           .maximum = 1,
           .default_value = 0.001},
          {.name = "max_overlap",
           .type = ParamType::kDouble,
           .description = "Largest overlap of two boxes of a class that suppression leaves in raw "
                          "outputs.",
           .minimum = 0,
           .maximum = 1,
           .default_value = 0.7},
          {.name = "max_boxes",
           .type = ParamType::kInt,
           .description = "Most boxes an image of raw outputs.",
           .unit = "boxes",
           .minimum = 1,
           .maximum = 10000,
           .default_value = int64_t{300}}};
}

MethodSpec Evaluate() {
  MethodSpec spec = {
      .name = "evaluate",
      .description = "How the model is measured before and after.",
      .params = {{.name = "task",
                  .type = ParamType::kString,
                  .description = "What the output means; auto: classification for integer or "
                                 "one-hot labels, regression for float ones, detection for "
                                 "boxes, otherwise fidelity.",
                  .choices = {"auto", "none", "classification", "regression", "embedding",
                              "detection", "sequence", "language_modeling", "fidelity"},
                  .default_value = std::string("auto")},
                 {.name = "output",
                  .type = ParamType::kString,
                  .description = "Name of the output that is measured; the first float one when "
                                 "not given."},
                 {.name = "top_k",
                  .type = ParamType::kNumberList,
                  .description = "Numbers of classes among which the right one counts as found.",
                  .unit = "classes",
                  .minimum = 1,
                  .maximum = 1000,
                  .whole = true,
                  .minimum_count = 1,
                  .maximum_count = 16,
                  .default_value = std::vector<double>{5}},
                 {.name = "batch_size",
                  .type = ParamType::kInt,
                  .description = "Examples run at a time, where the model leaves it open.",
                  .unit = "examples",
                  .minimum = 1,
                  .maximum = 65536,
                  .default_value = int64_t{32}},
                 {.name = "max_examples",
                  .type = ParamType::kInt,
                  .description = "Most examples that are measured.",
                  .unit = "examples",
                  .minimum = 1,
                  .maximum = kMostExamples,
                  .default_value = int64_t{10000}},
                 {.name = "blank",
                  .type = ParamType::kInt,
                  .description = "Class that stands for no symbol (CTC).",
                  .minimum = 0,
                  .maximum = 1e9,
                  .default_value = int64_t{0}},
                 {.name = "latency",
                  .type = ParamType::kBool,
                  .description = "Whether the time of a run is measured.",
                  .default_value = true},
                 {.name = "diagnosis",
                  .type = ParamType::kBool,
                  .description = "Whether each layer's error is measured.",
                  .default_value = true},
                 {.name = "each_step",
                  .type = ParamType::kBool,
                  .description = "Whether the model after each step is measured too; it is after "
                                 "two or three steps when not given."},
                 {.name = "class_axis",
                  .type = ParamType::kInt,
                  .description = "Axis of the classes in a classifier's scores; negative: counted "
                                 "from the end.",
                  .int_choices = {-8, -7, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 7},
                  .default_value = int64_t{1}},
                 {.name = "scores",
                  .type = ParamType::kString,
                  .description = "How a classifier's scores are read; auto: as probabilities where "
                                 "every row could be such.",
                  .choices = {"auto", "logits", "probabilities"},
                  .default_value = std::string("auto")},
                 {.name = "ignore_label",
                  .type = ParamType::kInt,
                  .description = "Label that does not count: decisions of a classifier, tokens of "
                                 "a language model.",
                  .minimum = -kMostExamples,
                  .maximum = kMostExamples},
                 {.name = "decoder",
                  .type = ParamType::kString,
                  .description = "How a sequence is read out of its scores.",
                  .choices = {"ctc", "tokens"},
                  .default_value = std::string("ctc")},
                 {.name = "end_token",
                  .type = ParamType::kInt,
                  .description = "Token that ends a sequence.",
                  .minimum = 0,
                  .maximum = 1e9},
                 {.name = "label_shift",
                  .type = ParamType::kInt,
                  .description = "Positions between a token and the logits that foretell it, of a "
                                 "language model; 0 where the labels were shifted before.",
                  .int_choices = {0, 1},
                  .default_value = int64_t{1}}},
      .exclusive = {},
      .only_with = {{.name = "blank", .other = "decoder", .value = "ctc"},
                    {.name = "end_token", .other = "decoder", .value = "tokens"}}};
  for (ParamSpec& param : DetectionParams()) spec.params.push_back(std::move(param));
  return spec;
}

MethodSpec Constraints() {
  return {.name = "constraints",
          .description = "What the result must keep; a job that misses one fails.",
          .params = {{.name = "max_accuracy_drop",
                      .type = ParamType::kDouble,
                      .description = "Most that the accuracy may fall, absolute: 0.01 is one in a "
                                     "hundred examples.",
                      .minimum = 0,
                      .maximum = 1},
                     {.name = "max_file_bytes",
                      .type = ParamType::kInt,
                      .description = "Largest size of the model's files.",
                      .unit = "bytes",
                      .minimum = 1},
                     {.name = "max_file_ratio",
                      .type = ParamType::kDouble,
                      .description = "Largest size of the files as a fraction of the original's.",
                      .minimum = 0,
                      .minimum_open = true},
                     {.name = "max_latency_ratio",
                      .type = ParamType::kDouble,
                      .description = "Longest run as a fraction of the original's.",
                      .minimum = 0,
                      .minimum_open = true},
                     {.name = "min_sqnr_db",
                      .type = ParamType::kDouble,
                      .description = "Least signal-to-noise ratio of the outputs.",
                      .unit = "dB"},
                     {.name = "max_macs",
                      .type = ParamType::kInt,
                      .description = "Most multiply-accumulates of a run.",
                      .minimum = 0},
                     {.name = "max_parameters",
                      .type = ParamType::kInt,
                      .description = "Most parameters.",
                      .minimum = 0}},
          .exclusive = {},
          .only_with = {}};
}

}  // namespace

std::span<const MethodSpec> Sections() {
  static const std::vector<MethodSpec>* sections =
      new std::vector<MethodSpec>{Preprocess(), Split(), Evaluate(), Constraints()};
  return *sections;
}

const MethodSpec* FindSection(absl::string_view name) {
  for (const MethodSpec& section : Sections()) {
    if (section.name == name) return &section;
  }
  return nullptr;
}

Step SectionOf(const Recipe& recipe, absl::string_view name) {
  const auto it = recipe.sections.find(std::string(name));
  if (it != recipe.sections.end()) return it->second;
  return {.method = std::string(name), .params = {}};
}

}  // namespace lathe
