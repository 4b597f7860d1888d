#include "server/jobs/page_token.h"

#include <gtest/gtest.h>

#include "common/status_reason.h"

namespace lathe::server {
namespace {

TEST(PageToken, ComesBackAsThePositionItWasMadeOf) {
  for (const int64_t before : {int64_t{1}, int64_t{77}, INT64_MAX}) {
    const auto parsed = ParsePageToken("jobs", MakePageToken("jobs", before));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(*parsed, before);
  }
  EXPECT_EQ(MakePageToken("jobs", 0), "");
  EXPECT_EQ(*ParsePageToken("jobs", ""), 0);
}

TEST(PageToken, OfAnotherListOrMadeUpIsRefused) {
  const std::string tokens[] = {
      MakePageToken("jobs state=1", 5), "5", "!!", "AAAA", MakePageToken("jobs", 5) + "AAAA",
      std::string(10'000, 'A')};
  for (const std::string& token : tokens) {
    const auto parsed = ParsePageToken("jobs", token);
    EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << token.substr(0, 20);
    EXPECT_EQ(ReasonOf(parsed.status()), "BAD_PAGE_TOKEN");
    EXPECT_EQ(FieldOf(parsed.status()), "page_token");
  }
}

TEST(PageSize, HasADefaultAMaximumAndNoNegatives) {
  EXPECT_EQ(*PageSize(0), 50);
  EXPECT_EQ(*PageSize(7), 7);
  EXPECT_EQ(*PageSize(1'000'000), 1000);
  EXPECT_EQ(FieldOf(PageSize(-1).status()), "page_size");
}

}  // namespace
}  // namespace lathe::server
