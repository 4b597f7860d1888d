#include "server/jobs/text.h"

#include <gtest/gtest.h>

#include "lathe/v1/jobs.pb.h"

namespace lathe::server {
namespace {

TEST(CutUtf8, NeverCutsWithinACharacter) {
  const std::string text = "aß漢😀";  // 1, 2, 3 and 4 bytes
  const std::string expected[] = {"",     "a",    "a",    "aß",   "aß",   "aß",
                                  "aß漢", "aß漢", "aß漢", "aß漢", "aß漢😀"};
  for (size_t bytes = 0; bytes <= text.size(); ++bytes) {
    EXPECT_EQ(CutUtf8(text, bytes), expected[bytes]) << bytes;
    // What is stored must be readable again: proto3 refuses broken strings.
    v1::JobError error;
    error.set_message(CutUtf8(text, bytes));
    EXPECT_TRUE(v1::JobError().ParseFromString(error.SerializeAsString()));
  }
  EXPECT_EQ(CutUtf8(text, 1000), text);
}

TEST(LogLine, ControlCharactersCannotForgeLinesOrTerminalCodes) {
  EXPECT_EQ(LogLine("a\nb\r\x1b[31mc\x7f\td漢", 100), "a b  [31mc \td漢");
}

}  // namespace
}  // namespace lathe::server
