#include "worker/engine/kernels/sub_byte.h"

#include <gtest/gtest.h>

#include <vector>

namespace lathe::engine {
namespace {

TEST(SubByteTest, LowBitsComeFirst) {
  const std::vector<uint8_t> packed = {0xE4, 0x81};
  std::vector<uint8_t> out(4);
  UnpackBits(packed.data(), 4, 2, false, out.data());
  EXPECT_EQ(out, (std::vector<uint8_t>{0, 1, 2, 3}));
  UnpackBits(packed.data(), 4, 4, true, out.data());
  EXPECT_EQ(out, (std::vector<uint8_t>{4, 0xFE, 1, 0xF8}));
}

// Counts that do not fill the last byte: what is unpacked is packed again, and unused bits are 0.
TEST(SubByteTest, PackingUndoesUnpacking) {
  for (const int bits : {2, 4}) {
    for (int64_t count = 0; count <= 9; ++count) {
      std::vector<uint8_t> bytes(static_cast<size_t>(count));
      for (int64_t i = 0; i < count; ++i) {
        bytes[i] = static_cast<uint8_t>((i * 7 + 3) & ((1 << bits) - 1));
      }
      std::vector<uint8_t> packed(static_cast<size_t>((count * bits + 7) / 8), 0xFF);
      PackBits(bytes.data(), count, bits, packed.data());
      std::vector<uint8_t> back(static_cast<size_t>(count));
      UnpackBits(packed.data(), count, bits, false, back.data());
      EXPECT_EQ(back, bytes) << bits << " bits, " << count;
      if (count * bits % 8 != 0) {
        EXPECT_EQ(packed.back() >> (count * bits % 8), 0);
      }
    }
  }
}

}  // namespace
}  // namespace lathe::engine
