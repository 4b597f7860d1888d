#include "worker/engine/graph/scratch.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <utility>

#include "tests/support/onnx_models.h"

namespace lathe::engine {
namespace {

using ::lathe::engine::testing::TempFolder;

TEST(Scratch, KeepsLargeBytesInAFileWithoutAName) {
  const TempFolder folder(::testing::TempDir(), "scratch_large");
  Scratch scratch((folder / "").string(), 0);
  std::string data(300'000, 'a');
  data[123'456] = 'b';
  Bytes kept = scratch.Keep(Bytes::Own(data));
  EXPECT_TRUE(kept.borrowed());
  EXPECT_TRUE(kept.view() == data);
  EXPECT_TRUE(std::filesystem::is_empty(folder / ""));
  kept.DropPages();
  EXPECT_TRUE(kept.view() == data);  // read from the file again
  kept.DropPages(4096, 100'000);
  EXPECT_TRUE(kept.view() == data);
  const Bytes again = scratch.Keep(kept);
  EXPECT_EQ(again.view().data(), kept.view().data());
}

TEST(Scratch, FewBytesAndFailuresStayInMemory) {
  const TempFolder folder(::testing::TempDir(), "scratch_small");
  Scratch scratch((folder / "").string(), 0);
  EXPECT_FALSE(scratch.Keep(Bytes::Own(std::string(100, 'x'))).borrowed());
  Scratch nowhere((folder / "missing").string(), 0);
  const Bytes kept = nowhere.Keep(Bytes::Own(std::string(300'000, 'y')));
  EXPECT_FALSE(kept.borrowed());
  EXPECT_EQ(kept.view(), std::string(300'000, 'y'));
}

TEST(Scratch, KeepsTheFirstOnesInMemoryWhileTheyLive) {
  const TempFolder folder(::testing::TempDir(), "scratch_first");
  Scratch scratch((folder / "missing").string(), 500'000);
  const auto in_memory = [&scratch](const Bytes& bytes) {
    return scratch.Keep(bytes).view().data() == bytes.view().data();
  };
  Bytes first = scratch.Keep(Bytes::Own(std::string(400'000, 'a')));
  EXPECT_TRUE(first.borrowed());  // counted: it says so, and is not counted again
  EXPECT_TRUE(in_memory(first));
  // The folder is missing: what does not fit comes back as it was.
  EXPECT_FALSE(scratch.Keep(Bytes::Own(std::string(200'000, 'b'))).borrowed());
  first = Bytes();
  EXPECT_TRUE(scratch.Keep(Bytes::Own(std::string(200'000, 'c'))).borrowed());
}

}  // namespace
}  // namespace lathe::engine
