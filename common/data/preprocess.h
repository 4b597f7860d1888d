// The recipe's `preprocess` section:
//   y[c] = (resize(x)[c] * scale - mean[c]) / std[c], its axes turned into the model's.
#ifndef LATHE_COMMON_DATA_PREPROCESS_H_
#define LATHE_COMMON_DATA_PREPROCESS_H_

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/dtype.h"
#include "common/recipe/recipe.h"

namespace lathe {

enum class ImageLayout { kNchw, kNhwc };

struct Preprocess {
  double scale = 1;
  std::vector<double> mean;                           // empty, one, or one a channel
  std::vector<double> std;                            // likewise; never 0
  std::optional<ImageLayout> layout;                  // of the data
  std::optional<std::pair<int64_t, int64_t>> resize;  // height, width

  // From a validated recipe.
  static Preprocess FromRecipe(const Recipe& recipe);
  bool empty() const;  // nothing to do
  bool needs_images() const { return layout.has_value() || resize.has_value(); }
};

// Sizes of one example before and after.
struct PreprocessShape {
  bool image = false;
  ImageLayout data = ImageLayout::kNchw;    // of an image's axes in the file
  ImageLayout wanted = ImageLayout::kNchw;  // and as the model has them
  int64_t channels = 1;
  int64_t height = 1, width = 1;          // in the file
  int64_t out_height = 1, out_width = 1;  // after resizing
  Shape out;                              // of an example afterwards
};

// `row`: shape of an example in the file, without the batch axis. `image`: three axes of an image;
// otherwise the channel is the last axis. `wanted`: the model's layout. INVALID_ARGUMENT when mean
// or std do not have one number a channel, or the result is too large.
absl::StatusOr<PreprocessShape> ShapeAfter(const Preprocess& preprocess, const Shape& row,
                                           bool image, ImageLayout wanted);

}  // namespace lathe

#endif  // LATHE_COMMON_DATA_PREPROCESS_H_
