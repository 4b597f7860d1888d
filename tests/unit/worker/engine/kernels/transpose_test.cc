#include "worker/engine/kernels/transpose.h"

#include <gtest/gtest.h>

#include <vector>

namespace lathe::engine {
namespace {

TEST(TransposeTest, EveryElementMovesAndNothingElse) {
  for (const int64_t rows : {1, 3, 4, 7, 64, 65, 130}) {
    for (const int64_t columns : {1, 2, 4, 5, 63, 68, 129}) {
      const int64_t from_stride = columns + 3;
      const int64_t to_stride = rows + 2;
      std::vector<float> from(static_cast<size_t>(rows * from_stride));
      for (size_t i = 0; i < from.size(); ++i) from[i] = static_cast<float>(i);
      std::vector<float> to(static_cast<size_t>(columns * to_stride), -1.0f);
      TransposeFloats(rows, columns, from.data(), from_stride, to.data(), to_stride);
      for (int64_t c = 0; c < columns; ++c) {
        for (int64_t r = 0; r < to_stride; ++r) {
          const float wanted = r < rows ? static_cast<float>(r * from_stride + c) : -1.0f;
          ASSERT_EQ(wanted, to[static_cast<size_t>(c * to_stride + r)])
              << rows << " x " << columns << " at " << r << ", " << c;
        }
      }
    }
  }
}

}  // namespace
}  // namespace lathe::engine
