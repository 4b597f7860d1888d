// The methods that quantize.
#include "common/recipe/method_specs.h"

namespace lathe {

ParamSpec Targets() {
  return {
      .name = "targets",
      .type = ParamType::kStringList,
      .description =
          "Globs over names of nodes or of weight initializers; only matching layers are touched.",
      .default_value = std::vector<std::string>{}};
}

ParamSpec Skip() {
  return {
      .name = "skip",
      .type = ParamType::kStringList,
      .description =
          "Globs over names of nodes or of weight initializers; matching layers are left alone, "
          "even when targeted.",
      .default_value = std::vector<std::string>{}};
}

MethodSpec QuantizeWeights() {
  return {
      .name = "quantize_weights",
      .description = "Stores weights as k-bit integers with scales.",
      .params = {{.name = "bits",
                  .type = ParamType::kInt,
                  .description = "Bits per weight.",
                  .unit = "bits",
                  .minimum = 2,
                  .maximum = 8,
                  .default_value = int64_t{8}},
                 {.name = "average_bits",
                  .type = ParamType::kDouble,
                  .description = "Instead of bits: each layer gets its own, by what its error "
                                 "costs, so that the layers' stored bits, scales included, are at "
                                 "most so many a weight.",
                  .unit = "bits",
                  .minimum = 2,
                  .maximum = 8},
                 {.name = "algorithm",
                  .type = ParamType::kString,
                  .description = "How weights are rounded; all but nearest and hqq learn from "
                                 "calibration examples what the layer's outputs depend on.",
                  .choices = {"nearest", "gptq", "awq", "hqq", "adaround"},
                  .default_value = std::string("nearest")},
                 {.name = "act_order",
                  .type = ParamType::kBool,
                  .description = "With gptq: inputs of much energy are rounded first.",
                  .default_value = false},
                 {.name = "granularity",
                  .type = ParamType::kString,
                  .description = "What shares one scale.",
                  .choices = {"tensor", "channel", "group"},
                  .default_value = std::string("channel")},
                 {.name = "group_size",
                  .type = ParamType::kInt,
                  .description = "Consecutive inputs of a channel that share a scale.",
                  .unit = "weights",
                  .minimum = 16,
                  .maximum = 256,
                  .int_choices = {16, 32, 64, 128, 256},
                  .default_value = int64_t{32}},
                 {.name = "symmetric",
                  .type = ParamType::kBool,
                  .description = "Zero point 0, or one of its own for each scale.",
                  .default_value = true},
                 {.name = "clip",
                  .type = ParamType::kString,
                  .description = "Range: the largest magnitude, or the shrunk one of least squared "
                                 "error of the weights (mse) or of the layer's output (output).",
                  .choices = {"none", "mse", "output"},
                  .default_value = std::string("mse")},
                 {.name = "form",
                  .type = ParamType::kString,
                  .description =
                      "How a matrix is stored: folded when it is loaded, or read as 4-bit blocks "
                      "by ONNX Runtime's MatMulNBits.",
                  .choices = {"auto", "folded", "matmul_nbits"},
                  .default_value = std::string("auto")},
                 {.name = "keep_small",
                  .type = ParamType::kDouble,
                  .description =
                      "The smallest layers that together hold at most this fraction of all weights "
                      "stay float.",
                  .minimum = 0,
                  .maximum = 1,
                  .default_value = 0.02},
                 Targets(),
                 Skip()},
      .exclusive = {{.names = {"bits", "average_bits"}, .required = false}},
      .only_with = {{.name = "group_size", .other = "granularity", .value = "group"},
                    {.name = "act_order", .other = "algorithm", .value = "gptq"}}};
}

MethodSpec QuantizeActivations() {
  return {
      .name = "quantize_activations",
      .description =
          "Runs layers in integers where a stock ONNX Runtime runs them faster so, and the error "
          "stays in bounds; the other weights are stored in 8 bits.",
      .params =
          {{.name = "mode",
            .type = ParamType::kString,
            .description =
                "static: ranges from calibration data; dynamic: ranges of each run, for matrix "
                "products; auto: for each layer what fits it best.",
            .choices = {"auto", "static", "dynamic"},
            .default_value = std::string("auto")},
           {.name = "bits",
            .type = ParamType::kInt,
            .description = "Bits of activations; 16 is accurate and not fast.",
            .unit = "bits",
            .minimum = 8,
            .maximum = 16,
            .int_choices = {8, 16},
            .default_value = int64_t{8}},
           {.name = "calibration",
            .type = ParamType::kString,
            .description = "How a range is told from the values seen.",
            .choices = {"minmax", "percentile", "entropy", "mse", "moving_average"},
            .default_value = std::string("mse")},
           {.name = "percentile",
            .type = ParamType::kDouble,
            .description = "Share of the values that the range covers.",
            .unit = "%",
            .minimum = 50,
            .maximum = 100,
            .minimum_open = true,
            .default_value = 99.99},
           {.name = "symmetric",
            .type = ParamType::kBool,
            .description = "Whether the zero point of activations lies in the middle.",
            .default_value = false},
           {.name = "per_channel",
            .type = ParamType::kBool,
            .description = "A scale for each output channel of a weight, or one for all.",
            .default_value = true},
           {.name = "smooth",
            .type = ParamType::kString,
            .description = "SmoothQuant: moves outliers of activations into weights; auto: where "
                           "it lowers the error; a number: always, with that alpha (0: all of it "
                           "stays in activations, 1: all goes into weights).",
            .minimum = 0,
            .maximum = 1,
            .choices = {"auto", "off"},
            .or_number = true,
            .default_value = std::string("auto")},
           {.name = "equalize",
            .type = ParamType::kBool,
            .description = "Evens out the channels of neighbouring layers first.",
            .default_value = false},
           {.name = "bias_correction",
            .type = ParamType::kBool,
            .description = "Takes the mean error of each channel out of the bias.",
            .default_value = true},
           {.name = "keep_float",
            .type = ParamType::kStringList,
            .description =
                "auto: the fewest layers that keep the error in bounds stay float; none: no layer "
                "does; or globs over the layers that do.",
            .default_value = std::vector<std::string>{"auto"}},
           {.name = "min_sqnr_db",
            .type = ParamType::kDouble,
            .description = "Least signal-to-noise ratio of the outputs on held-back calibration "
                           "examples, for keep_float: auto.",
            .unit = "dB",
            .minimum = 0,
            .maximum = 120,
            .default_value = 20.0},
           {.name = "max_accuracy_drop",
            .type = ParamType::kDouble,
            .description = "Instead of min_sqnr_db: most that the accuracy may fall on held-back "
                           "calibration examples, absolute; these need labels.",
            .minimum = 0,
            .maximum = 1},
           {.name = "max_float_layers",
            .type = ParamType::kInt,
            .description = "With keep_float: auto: most layers that may stay float for their "
                           "error, even where the bound is then missed.",
            .unit = "layers",
            .minimum = 0,
            .maximum = 1'000'000},
           {.name = "max_float_share",
            .type = ParamType::kDouble,
            .description = "The same as a share of the layers that can run in integers.",
            .minimum = 0,
            .maximum = 1},
           {.name = "target",
            .type = ParamType::kString,
            .description = "Processor that the result is made for; portable: exact on all.",
            .choices = {"portable", "vnni", "avx2", "arm", "npu", "microcontroller"},
            .default_value = std::string("portable")},
           Targets(),
           Skip()},
      .exclusive = {{.names = {"min_sqnr_db", "max_accuracy_drop"}, .required = false},
                    {.names = {"max_float_layers", "max_float_share"}, .required = false}},
      .only_with = {{.name = "percentile", .other = "calibration", .value = "percentile"},
                    {.name = "max_accuracy_drop", .other = "keep_float", .value = "auto"},
                    {.name = "max_float_layers", .other = "keep_float", .value = "auto"},
                    {.name = "max_float_share", .other = "keep_float", .value = "auto"}}};
}

std::string CalibratedParam(const Step& step) {
  if (step.method == "quantize_weights") {
    const std::string algorithm = GetString(step, "algorithm");
    if (algorithm == "gptq" || algorithm == "awq" || algorithm == "adaround") return "algorithm";
    if (GetString(step, "clip") == "output") return "clip";
  }
  if (step.method != "quantize_activations") return "";
  if (GetString(step, "mode") == "static") return "mode";
  return IsGiven(step, "max_accuracy_drop") ? "max_accuracy_drop" : "";
}

DataUse CalibrationUse(const Step& step) {
  if (!CalibratedParam(step).empty()) return DataUse::kRequired;
  const bool may = step.method == "quantize_activations" ||
                   (step.method == "quantize_weights" && IsGiven(step, "average_bits"));
  return may ? DataUse::kOptional : DataUse::kNone;
}

}  // namespace lathe
