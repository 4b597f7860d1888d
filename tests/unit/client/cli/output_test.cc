// Tables, sizes and JSON as commands print them.
#include "client/cli/output.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "lathe/v1/jobs.pb.h"

namespace lathe::cli {
namespace {

TEST(HumanBytes, UsesPowersOfAThousand) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1000), "1.00 kB");
  EXPECT_EQ(HumanBytes(12'345), "12.3 kB");
  EXPECT_EQ(HumanBytes(1'500'000'000'000), "1.50 TB");
  EXPECT_EQ(HumanBytes(5'000'000'000'000'000), "5000.0 TB");
}

TEST(Table, AlignsColumnsWithTwoSpacesBetween) {
  EXPECT_EQ(Table({{"NAME", "STATE"}, {"jobs/long", "DONE"}, {"x"}}),
            "NAME       STATE\njobs/long  DONE\nx\n");
  EXPECT_EQ(Table({}), "");
}

TEST(ToJson, KeepsProtoNamesAndDefaults) {
  v1::Job job;
  job.set_name("jobs/x");
  const nlohmann::json json = nlohmann::json::parse(ToJson(job));
  EXPECT_EQ(json.at("attempt_count"), 0);
  EXPECT_EQ(json.at("state"), "JOB_STATE_UNSPECIFIED");
  EXPECT_EQ(ToJson(job, /*compact=*/true).find('\n'), std::string::npos);
}

TEST(HumanTime, IsEmptyWhenUnset) {
  EXPECT_EQ(HumanTime({}), "");
  google::protobuf::Timestamp time;
  time.set_seconds(1'700'000'000);
  EXPECT_EQ(HumanTime(time).size(), std::string("2023-11-14 22:13:20").size());
}

}  // namespace
}  // namespace lathe::cli
