#include "common/data/preprocess.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "common/limits.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

absl::Status CheckCount(const char* name, const std::vector<double>& list, int64_t channels) {
  if (list.size() <= 1 || static_cast<int64_t>(list.size()) == channels) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("preprocess.", name, " holds ", list.size(),
                                                 " numbers, but the data has ", channels,
                                                 " channels; expected one, or one for each"));
}

}  // namespace

Preprocess Preprocess::FromRecipe(const Recipe& recipe) {
  const Step section = SectionOf(recipe, "preprocess");
  Preprocess out;
  out.scale = GetDouble(section, "scale");
  out.mean = GetNumbers(section, "mean");
  out.std = GetNumbers(section, "std");
  if (IsGiven(section, "layout")) {
    out.layout = GetString(section, "layout") == "NHWC" ? ImageLayout::kNhwc : ImageLayout::kNchw;
  }
  if (IsGiven(section, "resize")) {
    const std::vector<double> size = GetNumbers(section, "resize");
    out.resize = std::pair(static_cast<int64_t>(size[0]), static_cast<int64_t>(size[1]));
  }
  return out;
}

bool Preprocess::empty() const {
  return scale == 1 && mean.empty() && std.empty() && !needs_images();
}

absl::StatusOr<PreprocessShape> ShapeAfter(const Preprocess& preprocess, const Shape& row,
                                           bool image, ImageLayout wanted) {
  PreprocessShape shape;
  shape.image = image;
  shape.wanted = wanted;
  shape.data = preprocess.layout.value_or(wanted);
  shape.out = row;
  if (image) {
    const bool nchw = shape.data == ImageLayout::kNchw;
    shape.channels = row[nchw ? 0 : 2];
    shape.height = row[nchw ? 1 : 0];
    shape.width = row[nchw ? 2 : 1];
    shape.out_height = preprocess.resize ? preprocess.resize->first : shape.height;
    shape.out_width = preprocess.resize ? preprocess.resize->second : shape.width;
    shape.out = wanted == ImageLayout::kNchw
                    ? Shape{shape.channels, shape.out_height, shape.out_width}
                    : Shape{shape.out_height, shape.out_width, shape.channels};
  } else {
    shape.channels = row.empty() ? 1 : row.back();
  }
  RETURN_IF_ERROR(CheckCount("mean", preprocess.mean, shape.channels));
  RETURN_IF_ERROR(CheckCount("std", preprocess.std, shape.channels));
  const std::optional<int64_t> elements = CheckedProduct(shape.out);
  if (!elements || *elements > limits::kMaxBatchBytes / 8) {
    return absl::InvalidArgumentError("preprocess.resize makes an example too large");
  }
  return shape;
}

}  // namespace lathe
