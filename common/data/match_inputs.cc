#include "common/data/match_inputs.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checked.h"
#include "common/recipe/validate.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

std::string ShowDims(const std::vector<InputAxis>& dims) {
  return absl::StrCat("[",
                      absl::StrJoin(dims, ",",
                                    [](std::string* out, const InputAxis& dim) {
                                      absl::StrAppend(out, dim.value ? absl::StrCat(*dim.value)
                                                           : dim.symbol.empty() ? "?"
                                                                                : dim.symbol);
                                    }),
                      "]");
}
std::string ShowShape(const Shape& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

// A model of one input takes the only array of a file under these names too.
bool IsPlainName(const std::string& key) {
  static const std::set<std::string> kNames = {"x", "X", "input", "inputs", "data", "arr_0"};
  return kNames.count(key) != 0;
}

// Where the model has its channels: 1, 3 or 4 of them in the last axis and not in the first.
ImageLayout LayoutOf(const std::vector<InputAxis>& dims, size_t first_axis) {
  const auto few = [&](size_t axis) {
    const std::optional<int64_t> d = dims[axis].value;
    return d && (*d == 1 || *d == 3 || *d == 4);
  };
  return few(first_axis + 2) && !few(first_axis) ? ImageLayout::kNhwc : ImageLayout::kNchw;
}

class Matcher {
 public:
  Matcher(const std::string& name, const std::vector<ArrayInfo>& arrays,
          const std::vector<InputSpec>& inputs, const Preprocess& preprocess)
      : name_(name), arrays_(arrays), inputs_(inputs), preprocess_(preprocess) {}

  absl::StatusOr<FileMatch> Match() {
    RETURN_IF_ERROR(MatchNames());
    RETURN_IF_ERROR(CheckCounts());
    return std::move(match_);
  }

 private:
  absl::Status MatchNames() {
    std::vector<std::string> names;
    std::set<std::string> known;
    for (const InputSpec& input : inputs_) {
      names.push_back(input.name);
      known.insert(input.name);
    }
    const std::pair<const char*, int*> beside_inputs[] = {{kLabelsKey, &match_.labels},
                                                          {kWeightsKey, &match_.weights},
                                                          {kBoxesKey, &match_.boxes},
                                                          {kClassesKey, &match_.classes},
                                                          {kBoxCountsKey, &match_.box_counts}};
    std::vector<std::string> keys;
    std::vector<int> others;  // arrays that are none of these
    for (size_t i = 0; i < arrays_.size(); ++i) {
      const std::string& key = arrays_[i].name;
      keys.push_back(key);
      const auto beside = std::find_if(std::begin(beside_inputs), std::end(beside_inputs),
                                       [&key](const auto& role) { return key == role.first; });
      if (beside != std::end(beside_inputs) && known.count(key) == 0) {
        *beside->second = static_cast<int>(i);
      } else {
        others.push_back(static_cast<int>(i));
      }
    }
    const bool plain =
        inputs_.size() == 1 && others.size() == 1 && IsPlainName(arrays_[others[0]].name);
    if (!plain) {
      std::vector<std::string> expected = names;
      for (const auto& [key, array] : beside_inputs) expected.push_back(key);
      for (const int other : others) {
        const std::string& key = arrays_[other].name;
        if (known.count(key) != 0) continue;
        const std::string nearest = NearestName(key, expected);
        return Wrong(
            key, absl::StrCat("the model has no such input; ",
                              nearest.empty() ? "" : absl::StrCat("did you mean '", nearest, "'? "),
                              "Expected are its inputs (", absl::StrJoin(names, ", "),
                              "), labels, weights, and boxes with classes and box_counts"));
      }
    }
    bool used = preprocess_.empty();
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const std::string& input = inputs_[i].name;
      const auto found = std::find(keys.begin(), keys.end(), input);
      if (!plain && found == keys.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat(name_, ": holds no array for the input '", input, "'; it has the keys ",
                         keys.empty() ? "(none)" : absl::StrJoin(keys, ", ")));
      }
      const int array = plain ? others[0] : static_cast<int>(found - keys.begin());
      RETURN_IF_ERROR(MatchInput(i, array));
      used = used || match_.inputs.back().preprocess.has_value();
    }
    if (!used) {
      return absl::InvalidArgumentError(absl::StrCat(
          name_, ": preprocess fits none of the model's inputs (", absl::StrJoin(names, ", "),
          "): with several inputs it is for float images of 4 axes alone"));
    }
    return absl::OkStatus();
  }

  absl::Status MatchInput(size_t index, int array) {
    const InputSpec& info = inputs_[index];
    const ArrayInfo& have = arrays_[array];
    InputMatch out;
    out.input = index;
    out.array = array;
    const auto expected = [&](absl::string_view got) {
      return Wrong(have.name, absl::StrCat("expected ", DTypeName(info.dtype), " ",
                                           info.dims ? ShowDims(*info.dims) : "of any shape",
                                           " for the input '", info.name, "', got ", got));
    };
    const std::string got = absl::StrCat(DTypeName(have.dtype), " ", ShowShape(have.shape));
    if (!IsConvertible(have.dtype, info.dtype)) {
      return expected(absl::StrCat(
          got, IsFloat(have.dtype) ? ", which cannot be converted without loss: save integers"
                                   : ", which cannot be converted"));
    }
    // The model's axes, of which the first is the batch unless the array has one axis more.
    const size_t rank = have.shape.size();
    std::vector<InputAxis> dims = info.dims ? *info.dims : std::vector<InputAxis>(rank);
    out.constant = rank == 0 && dims.empty();
    out.batched = rank == dims.size() && !out.constant;
    if (!out.constant && !out.batched && rank != dims.size() + 1) {
      return expected(absl::StrCat(got, ": expected ", dims.size(),
                                   " axes (the first counts the examples), or ", dims.size() + 1,
                                   " where each example is a run of its own"));
    }
    const size_t skip = out.batched ? 1 : 0;
    if (rank > 0) out.shape.assign(have.shape.begin() + 1, have.shape.end());
    if (have.row_bytes == 0) return expected(got + ": its examples have no elements");
    const bool image = out.shape.size() == 3;
    const bool applies = !preprocess_.empty() && IsFloat(info.dtype) && !out.constant &&
                         (inputs_.size() == 1 || image);
    if (applies && preprocess_.needs_images() && !image) {
      return expected(got + ": preprocess.layout and preprocess.resize need images of 3 axes");
    }
    if (applies) {
      absl::StatusOr<PreprocessShape> after = ShapeAfter(
          preprocess_, out.shape, image, image ? LayoutOf(dims, skip) : ImageLayout::kNchw);
      if (!after.ok()) return Wrong(have.name, after.status().message());
      out.shape = after->out;
      out.preprocess = *std::move(after);
    } else if (IsFloat(info.dtype) && have.dtype == DType::kUint8) {
      match_.warnings.push_back(
          absl::StrCat(name_, ": key '", have.name,
                       "': bytes become floats of 0 to 255 as they are; a model that "
                       "was trained on scaled images needs preprocess"));
    }
    for (size_t i = 0; i < out.shape.size(); ++i) {
      const InputAxis& dim = dims[i + skip];
      if (dim.value && *dim.value != out.shape[i]) {
        return expected(
            absl::StrCat(got,
                         out.preprocess ? absl::StrCat(", an example of which is ",
                                                       ShowShape(out.shape), " after preprocess")
                                        : "",
                         ": axis ", i + skip, " must be ", *dim.value, ", not ", out.shape[i]));
      }
      if (dim.symbol.empty()) continue;
      const auto [it, added] = symbols_.try_emplace(dim.symbol, out.shape[i], have.name);
      if (!added && it->second.first != out.shape[i]) {
        return expected(absl::StrCat(got, ": the axis ", dim.symbol, " is ", out.shape[i], ", but ",
                                     it->second.first, " in '", it->second.second, "'"));
      }
    }
    std::optional<int64_t> batch;
    if (out.batched && dims[0].value) batch = *dims[0].value;
    if (!out.batched && !out.constant) batch = 1;
    if (batch) {
      if (*batch < 1 || (match_.fixed_batch && *match_.fixed_batch != *batch)) {
        return expected(absl::StrCat(
            got, ": this input takes batches of ", *batch,
            match_.fixed_batch ? absl::StrCat(", another one of ", *match_.fixed_batch) : ""));
      }
      match_.fixed_batch = batch;
    }
    const std::optional<int64_t> elements = CheckedProduct(out.shape);
    const std::optional<int64_t> bytes =
        elements ? DTypeBytes(info.dtype, *elements) : std::nullopt;
    if (!bytes) return expected(got + ": an example is too large");
    out.row_bytes = *bytes;
    match_.inputs.push_back(std::move(out));
    return absl::OkStatus();
  }

  absl::Status CheckCounts() {
    std::string first;
    const auto check = [&](int array) -> absl::Status {
      const ArrayInfo& info = arrays_[array];
      if (info.shape.empty())
        return Wrong(info.name, "is a single number; expected one an example");
      if (first.empty()) {
        first = info.name;
        match_.examples = info.rows;
      } else if (info.rows != match_.examples) {
        return Wrong(info.name,
                     absl::StrCat("holds ", info.rows, " examples, but '", first, "' holds ",
                                  match_.examples, "; expected the same number"));
      }
      return absl::OkStatus();
    };
    for (const InputMatch& input : match_.inputs) {
      if (!input.constant) RETURN_IF_ERROR(check(input.array));
    }
    for (const int array :
         {match_.labels, match_.weights, match_.boxes, match_.classes, match_.box_counts}) {
      if (array >= 0) RETURN_IF_ERROR(check(array));
    }
    if (match_.examples == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(name_, ": holds no examples; expected at least one"));
    }
    return absl::OkStatus();
  }

  absl::Status Wrong(absl::string_view key, absl::string_view what) const {
    return KeyError(name_, key, what);
  }

  const std::string& name_;
  const std::vector<ArrayInfo>& arrays_;
  const std::vector<InputSpec>& inputs_;
  const Preprocess& preprocess_;
  FileMatch match_;
  // What symbols stand for, and the key that said so.
  std::map<std::string, std::pair<int64_t, std::string>> symbols_;
};

}  // namespace

absl::StatusOr<FileMatch> MatchInputs(const std::string& name, const std::vector<ArrayInfo>& arrays,
                                      const std::vector<InputSpec>& inputs,
                                      const Preprocess& preprocess) {
  return Matcher(name, arrays, inputs, preprocess).Match();
}

absl::Status KeyError(absl::string_view name, absl::string_view key, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(name, ": key '", key, "': ", what));
}

}  // namespace lathe
