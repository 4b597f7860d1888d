#include "common/report/advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lathe {
namespace {

using nlohmann::json;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

json Quantized(const std::string& name, double bits, double sqnr, double parameters) {
  return {{"name", name},
          {"parameters", parameters},
          {"parameters_after", parameters},
          {"bits", bits},
          {"requested_bits", bits},
          {"sqnr_db", sqnr},
          {"bytes_before", 4 * parameters},
          {"bytes_after", parameters * bits / 8},
          {"skipped_reason", nullptr}};
}

json Float(const std::string& name, double parameters, const json& reason) {
  return {{"name", name},
          {"parameters", parameters},
          {"parameters_after", parameters},
          {"bits", nullptr},
          {"sparsity", 0.0},
          {"bytes_before", 4 * parameters},
          {"bytes_after", 4 * parameters},
          {"skipped_reason", reason}};
}

json Report(std::vector<json> layers, const char* method = "quantize_weights") {
  return {{"layers", std::move(layers)},
          {"steps", {{{"method", method}}}},
          {"before", {{"file_bytes", 400000}, {"gzip_bytes", 360000}}},
          {"after", {{"file_bytes", 100000}, {"gzip_bytes", 90000}}}};
}

TEST(NextStepsTest, AWeakLayerIsWorthEightBits) {
  const json report = Report({Quantized("a", 4, 20, 1000), Quantized("b", 4, 21, 1000),
                              Quantized("layer7", 4, 9.14, 24600), Quantized("c", 4, 22, 1000),
                              Quantized("d", 8, 44, 1000)});
  // 24,600 weights at half a byte more.
  EXPECT_THAT(
      NextSteps(report),
      ElementsAre("Layer 'layer7' keeps only 9.1 dB at 4 bits, where half of those at as many "
                  "keep 21.0 dB or more: keep it at 8 bits: +12.3 kB (12.3 % of the file)."));
}

TEST(NextStepsTest, LayersThatLoseAlikeAreNotWeak) {
  EXPECT_THAT(NextSteps(Report({Quantized("a", 4, 20, 1000), Quantized("b", 4, 16, 1000),
                                Quantized("c", 4, 18, 1000)})),
              IsEmpty());
}

TEST(NextStepsTest, TheLargestLayerLeftInFloatIsNamedWhenLeavingItWasAChoice) {
  EXPECT_THAT(
      NextSteps(Report({Quantized("a", 8, 44, 1000), Float("head", 5000, "named in skip")})),
      ElementsAre("The largest layer left in float32 is 'head' with 20.0 kB (named in skip): "
                  "8 bits would save about 15.0 kB (15.0 % of the file)."));
  EXPECT_THAT(NextSteps(Report(
                  {Quantized("a", 8, 44, 1000), Float("head", 5000, "another node reads it too")})),
              IsEmpty());
}

TEST(NextStepsTest, ARecipeWithoutQuantizationHearsWhatItWouldSave) {
  EXPECT_THAT(
      NextSteps(Report({Float("a", 5000, nullptr), Float("b", 5000, nullptr)}, "prune_weights")),
      Contains("2 layers are in float32: quantize_weights at 8 bits would save about 30.0 kB "
               "(30.0 % of the file)."));
}

TEST(NextStepsTest, DenseZerosSaveNothing) {
  json report = Report({Float("a", 5000, nullptr)}, "prune_weights");
  report["layers"][0]["sparsity"] = 0.5;
  report["after"] = {{"file_bytes", 400000}, {"gzip_bytes", 220000}};
  EXPECT_THAT(
      NextSteps(report),
      Contains(
          "50.0 % of the weights are zero, but stored densely they save nothing: the file went "
          "from 400 kB to 400 kB, gzip from 360 kB to 220 kB; ship it compressed, or add "
          "quantize_weights."));
}

TEST(NextStepsTest, BitsThatAreStoredButNotUsed) {
  json report = Report({Quantized("a", 8, 26, 1000), Quantized("b", 8, 25, 1000)});
  for (json& layer : report["layers"]) layer["requested_bits"] = 5;
  EXPECT_THAT(NextSteps(report),
              ElementsAre("2 layers use 5 of the 8 bits that are stored: 8 bits would "
                          "take the same bytes before gzip and lose less."));
}

TEST(NextStepsTest, NothingWasDone) {
  EXPECT_THAT(NextSteps(Report({Float("a", 100, "it is a vector")})),
              ElementsAre(HasSubstr("No step changed any layer, of 1: ")));
}

TEST(NextStepsTest, FewerBitsOnlyWhereAccuracyWasMeasuredAndHeld) {
  json report = Report({Quantized("a", 8, 44, 50000)});
  EXPECT_THAT(NextSteps(report), IsEmpty());
  report["evaluation"] = {{"p_value", 0.4}};
  // 50,000 bytes at 8 bits; half a byte and a 4-byte scale for 32 of them: 31,250.
  EXPECT_THAT(NextSteps(report), ElementsAre(HasSubstr("would save about 18.8 kB more")));
  report["evaluation"]["p_value"] = 0.01;
  EXPECT_THAT(NextSteps(report), IsEmpty());
}

TEST(NextStepsTest, SlowerRunsAndMissedConstraintsAreTold) {
  json report = Report({Quantized("a", 8, 44, 1000)});
  report["latency"] = {{"before_ms", 10}, {"after_ms", 12}};
  report["constraints"] = {
      {{"name", "max_file_bytes"}, {"limit", 80000}, {"value", 100000}, {"met", false}},
      {{"name", "max_latency_ratio"}, {"limit", 1.5}, {"value", 1.2}, {"met", true}}};
  EXPECT_THAT(
      NextSteps(report),
      ElementsAre(
          "The file is 20.0 kB over max_file_bytes: 20.0 % of its bytes must go.",
          "A run takes 12.0 ms where it took 10.0 ms: what was gained is storage, not time."));
}

TEST(NextStepsTest, NothingIsSaidOfWhatIsNotThere) {
  for (const json& report : {json(), json(3), json::object(), json{{"layers", {1, "x", nullptr}}},
                             json{{"layers", "x"}, {"constraints", {nullptr}}}}) {
    EXPECT_THAT(NextSteps(report), IsEmpty()) << report;
  }
}

}  // namespace
}  // namespace lathe
