#include "common/report/lint_answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lathe {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

json Finding(const std::string& rule, const std::string& severity, const std::string& node,
             std::vector<std::string> profiles) {
  return {{"rule", rule},
          {"severity", severity},
          {"node", node},
          {"value", "w"},
          {"message", "is so"},
          {"fix", "do otherwise"},
          {"profiles", std::move(profiles)}};
}

json Summary() {
  return {{"lint",
           {Finding("slow_rule", "slow", "Conv 'a'", {"vnni", "avx2", "arm"}),
            Finding("slow_rule", "slow", "Conv 'b'", {"vnni", "avx2", "arm"}),
            Finding("wrong_rule", "error", "Conv 'a'", {"avx2"}),
            Finding("npu_rule", "note", "", {"npu"})}}};
}

TEST(LintAnswerTest, ErrorsStandFirstAndOneRuleIsToldOnce) {
  const LintAnswer answer = AnswerLint(Summary(), "portable");
  EXPECT_FALSE(answer.clean);
  EXPECT_EQ(answer.text,
            "error: wrong_rule (avx2)\n"
            "  Conv 'a', value 'w': is so\n"
            "  fix: do otherwise\n"
            "\n"
            "slow: slow_rule (vnni, avx2, arm)\n"
            "  Conv 'a', value 'w': is so\n"
            "  Conv 'b', value 'w': is so\n"
            "  fix: do otherwise\n"
            "\n"
            "1 error, 2 slow places, 0 notes for target portable\n");
  EXPECT_EQ(answer.json.at("errors"), 1);
  EXPECT_EQ(answer.json.at("slow"), 2);
  EXPECT_EQ(answer.json.at("findings").size(), 3u);
}

TEST(LintAnswerTest, ATargetSeesWhatHoldsForIt) {
  EXPECT_EQ(AnswerLint(Summary(), "arm").json.at("errors"), 0);
  EXPECT_EQ(AnswerLint(Summary(), "avx2").json.at("errors"), 1);
  const LintAnswer npu = AnswerLint(Summary(), "npu");
  EXPECT_TRUE(npu.clean) << "notes do no harm";
  EXPECT_EQ(npu.json.at("notes"), 1);
  EXPECT_TRUE(AnswerLint(Summary(), "microcontroller").json.at("findings").empty());
}

TEST(LintAnswerTest, ManyPlacesOfARuleAreCountedPastTheFirst) {
  json summary = {{"lint", json::array()}};
  for (int i = 0; i < 15; ++i) {
    summary["lint"].push_back(Finding("r", "slow", "Conv '" + std::to_string(i) + "'", {"arm"}));
  }
  const std::string text = AnswerLint(summary, "arm").text;
  EXPECT_THAT(text, HasSubstr("Conv '11'"));
  EXPECT_THAT(text, Not(HasSubstr("Conv '12'")));
  EXPECT_THAT(text, HasSubstr("... and 3 more"));
}

TEST(LintAnswerTest, SummariesOfAnotherShapeAreClean) {
  for (const json& summary :
       {json(nullptr), json({{"lint", 3}}), json({{"lint", {1, nullptr, json::object()}}})}) {
    EXPECT_TRUE(AnswerLint(summary, "portable").clean);
  }
}

}  // namespace
}  // namespace lathe
