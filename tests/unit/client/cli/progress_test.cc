// Progress as plain lines into a pipe, and as a bar on a real (pseudo) terminal.
#include "client/cli/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <iostream>

namespace lathe::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

// What a use of a bar prints to a standard error that is no terminal.
template <typename Use>
std::string Plain(const Use& use) {
  ::testing::internal::CaptureStderr();
  use();
  return ::testing::internal::GetCapturedStderr();
}

// The same where standard error is a terminal.
template <typename Use>
std::string OnTerminal(int columns, const Use& use) {
  int controller = -1, terminal = -1;
  winsize size{24, static_cast<unsigned short>(columns), 0, 0};
  EXPECT_EQ(openpty(&controller, &terminal, nullptr, nullptr, &size), 0);
  std::cerr.flush();
  const int saved = dup(STDERR_FILENO);
  dup2(terminal, STDERR_FILENO);
  use();
  std::cerr.flush();
  dup2(saved, STDERR_FILENO);
  close(saved);
  close(terminal);
  std::string out;
  char buffer[4096];
  for (ssize_t got; (got = read(controller, buffer, sizeof(buffer))) > 0;)
    out.append(buffer, static_cast<size_t>(got));
  close(controller);
  return out;
}

TEST(ProgressBar, WithoutATerminalPrintsPlainLines) {
  EXPECT_EQ(Plain([] {
              ProgressBar bar("upload", false);
              bar.Update(0.25, "1 of 4 MB");
              bar.Line("by the way");
              bar.Finish("done");
            }),
            "upload: 25% 1 of 4 MB\nby the way\nupload: done\n");
}

TEST(ProgressBar, RepeatsNoPlainLine) {
  EXPECT_EQ(Plain([] {
              ProgressBar bar("job", false);
              for (int i = 0; i < 100; ++i) bar.Update(0.5, "fp16");
            }),
            "job: 50% fp16\n");
}

TEST(ProgressBar, FractionsAreKeptInRange) {
  EXPECT_THAT(Plain([] { ProgressBar("a", false).Update(7, "x"); }), HasSubstr("100%"));
  EXPECT_THAT(Plain([] { ProgressBar("a", false).Update(-7, "x"); }), HasSubstr(" 0%"));
}

TEST(ProgressBar, OnATerminalDrawsOverItself) {
  const std::string out = OnTerminal(80, [] {
    ProgressBar bar("upload", false);
    bar.Update(0.5, "half");
    bar.Finish("done");
  });
  EXPECT_THAT(out, StartsWith("\r\x1b[Kupload     [============            ]  50% half"));
  EXPECT_THAT(out, HasSubstr("\r\x1b[Kupload: done\r\n"));
}

TEST(ProgressBar, OnATerminalALineStandsAboveTheBar) {
  const std::string out = OnTerminal(80, [] {
    ProgressBar bar("job", false);
    bar.Update(0.5, "half");
    bar.Line("attempt 1 failed");
  });
  const size_t line = out.find("\r\x1b[Kattempt 1 failed\r\n");
  ASSERT_NE(line, std::string::npos) << out;
  EXPECT_THAT(out.substr(line + 10), HasSubstr("50% half"));  // drawn again below it
}

TEST(ProgressBar, FitsANarrowTerminal) {
  const std::string out =
      OnTerminal(20, [] { ProgressBar("upload", false).Update(0.5, std::string(100, 'x')); });
  const std::string drawn = out.substr(4, out.find('\r', 4) - 4);
  EXPECT_LT(drawn.size(), 20u) << out;
}

TEST(ProgressBar, ABarThatIsLeftTakesItsLineAway) {
  const std::string out = OnTerminal(80, [] { ProgressBar("job", false).Update(0.5, "half"); });
  EXPECT_EQ(out.substr(out.size() - 4), "\r\x1b[K");
}

TEST(ProgressBar, SilentPrintsNothing) {
  const auto use = [] {
    ProgressBar bar("upload", true);
    bar.Update(0.5, "half");
    bar.Line("line");
    bar.Finish("done");
  };
  EXPECT_EQ(Plain(use), "");
  EXPECT_EQ(OnTerminal(80, use), "");
}

}  // namespace
}  // namespace lathe::cli
