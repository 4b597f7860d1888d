// The recipe's `preprocess` section, applied to one input:
//   y[c] = (resize(x)[c] * scale - mean[c]) / std[c], its axes turned into the model's.
#ifndef LATHE_WORKER_ENGINE_DATA_PREPROCESS_H_
#define LATHE_WORKER_ENGINE_DATA_PREPROCESS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/recipe/recipe.h"
#include "worker/engine/data/convert.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

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

// What is done to each example of one array.
class Transform {
 public:
  // `row`: shape of an example in the file, without the batch axis. `image`: three axes of an
  // image; otherwise the channel is the last axis. `wanted`: the model's layout.
  // INVALID_ARGUMENT when mean or std do not have one number a channel, or the result is too large.
  static absl::StatusOr<Transform> Make(const Preprocess& preprocess, const Shape& row, bool image,
                                        ImageLayout wanted);
  // Shape of an example afterwards.
  const Shape& out_shape() const { return out_shape_; }
  // One example of type `from` to floats of type `to`.
  ConvertError Apply(DType from, const char* in, DType to, char* out) const;

 private:
  Preprocess preprocess_;
  bool image_ = false;
  ImageLayout data_ = ImageLayout::kNchw;
  ImageLayout wanted_ = ImageLayout::kNchw;
  int64_t channels_ = 1;
  int64_t height_ = 1, width_ = 1;          // in the file
  int64_t out_height_ = 1, out_width_ = 1;  // after resizing
  Shape out_shape_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_DATA_PREPROCESS_H_
