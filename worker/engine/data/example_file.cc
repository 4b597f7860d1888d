#include "worker/engine/data/example_file.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checked.h"
#include "common/recipe/validate.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

std::string ShowDims(const std::vector<Dim>& dims) {
  return absl::StrCat("[",
                      absl::StrJoin(dims, ",",
                                    [](std::string* out, const Dim& dim) {
                                      absl::StrAppend(out, dim.value ? absl::StrCat(*dim.value)
                                                           : dim.symbol.empty() ? "?"
                                                                                : dim.symbol);
                                    }),
                      "]");
}
std::string ShowShape(const Shape& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

// The inputs that a run needs: initializers are defaults, not inputs.
std::vector<const ValueInfo*> RequiredInputs(const Model& model) {
  std::vector<const ValueInfo*> out;
  for (const ValueInfo& info : model.graph->inputs) {
    if (model.graph->initializers.count(info.name) == 0) out.push_back(&info);
  }
  return out;
}

// A model of one input takes the only array of a file under these names too.
bool IsPlainName(const std::string& key) {
  static const std::set<std::string> kNames = {"x", "X", "input", "inputs", "data", "arr_0"};
  return kNames.count(key) != 0;
}

// Where the model has its channels: 1, 3 or 4 of them in the last axis and not in the first.
ImageLayout LayoutOf(const std::vector<Dim>& dims, size_t first_axis) {
  const auto few = [&](size_t axis) {
    const std::optional<int64_t> d = dims[axis].value;
    return d && (*d == 1 || *d == 3 || *d == 4);
  };
  return few(first_axis + 2) && !few(first_axis) ? ImageLayout::kNhwc : ImageLayout::kNchw;
}

}  // namespace

absl::Status ExampleFile::Wrong(absl::string_view key, absl::string_view what) const {
  return absl::InvalidArgumentError(absl::StrCat(name_, ": key '", key, "': ", what));
}

absl::StatusOr<std::unique_ptr<ExampleFile>> ExampleFile::Open(const std::string& name,
                                                               std::unique_ptr<ArrayFile> file,
                                                               const Preprocess& preprocess,
                                                               const Model& model) {
  auto out = std::unique_ptr<ExampleFile>(new ExampleFile(name, std::move(file)));
  RETURN_IF_ERROR(out->BindInputs(preprocess, model));
  RETURN_IF_ERROR(out->CheckCounts());
  RETURN_IF_ERROR(out->ScanLabels());
  RETURN_IF_ERROR(out->ScanBoxes());
  RETURN_IF_ERROR(out->ScanWeights());
  return out;
}

absl::Status ExampleFile::BindInputs(const Preprocess& preprocess, const Model& model) {
  const std::vector<const ValueInfo*> inputs = RequiredInputs(model);
  std::vector<std::string> names;
  std::set<std::string> known;
  for (const ValueInfo* info : inputs) {
    names.push_back(info->name);
    known.insert(info->name);
  }
  const std::pair<const char*, int*> beside_inputs[] = {{kLabelsKey, &labels_array_},
                                                        {kWeightsKey, &weights_array_},
                                                        {kBoxesKey, &boxes_array_},
                                                        {kClassesKey, &classes_array_},
                                                        {kBoxCountsKey, &counts_array_}};
  std::vector<std::string> keys;
  std::vector<int> others;  // arrays that are none of these
  for (size_t i = 0; i < file_->arrays().size(); ++i) {
    const std::string& key = file_->arrays()[i].name;
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
      inputs.size() == 1 && others.size() == 1 && IsPlainName(file_->arrays()[others[0]].name);
  if (!plain) {
    std::vector<std::string> expected = names;
    for (const auto& [key, array] : beside_inputs) expected.push_back(key);
    for (const int other : others) {
      const std::string& key = file_->arrays()[other].name;
      if (known.count(key) != 0) continue;
      const std::string nearest = NearestName(key, expected);
      return Wrong(
          key, absl::StrCat("the model has no such input; ",
                            nearest.empty() ? "" : absl::StrCat("did you mean '", nearest, "'? "),
                            "Expected are its inputs (", absl::StrJoin(names, ", "),
                            "), labels, weights, and boxes with classes and box_counts"));
    }
  }
  std::map<std::string, std::pair<int64_t, std::string>> symbols;
  bool used = preprocess.empty();
  for (const ValueInfo* info : inputs) {
    const int array = plain ? others[0] : file_->Find(info->name);
    if (array < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat(name_, ": holds no array for the input '", info->name, "'; it has the keys ",
                       keys.empty() ? "(none)" : absl::StrJoin(keys, ", ")));
    }
    RETURN_IF_ERROR(BindInput(*info, array, preprocess, inputs.size() == 1, &symbols));
    used = used || inputs_.back().transform.has_value();
  }
  if (!used) {
    return absl::InvalidArgumentError(absl::StrCat(
        name_, ": preprocess fits none of the model's inputs (", absl::StrJoin(names, ", "),
        "): with several inputs it is for float images of 4 axes alone"));
  }
  return absl::OkStatus();
}

absl::Status ExampleFile::BindInput(
    const ValueInfo& info, int array, const Preprocess& preprocess, bool only_input,
    std::map<std::string, std::pair<int64_t, std::string>>* symbols) {
  const ArrayInfo& have = file_->arrays()[array];
  InputBinding out;
  out.input = info.name;
  out.array = array;
  out.from = have.dtype;
  out.to = info.dtype;
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
  std::vector<Dim> dims = info.dims ? *info.dims : std::vector<Dim>(rank);
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
  const bool applies =
      !preprocess.empty() && IsFloat(info.dtype) && !out.constant && (only_input || image);
  if (applies && preprocess.needs_images() && !image) {
    return expected(got + ": preprocess.layout and preprocess.resize need images of 3 axes");
  }
  if (applies) {
    absl::StatusOr<Transform> transform = Transform::Make(
        preprocess, out.shape, image, image ? LayoutOf(dims, skip) : ImageLayout::kNchw);
    if (!transform.ok()) return Wrong(have.name, transform.status().message());
    out.transform = *std::move(transform);
    out.shape = out.transform->out_shape();
  } else if (IsFloat(info.dtype) && have.dtype == DType::kUint8) {
    warnings_.push_back(absl::StrCat(name_, ": key '", have.name,
                                     "': bytes become floats of 0 to 255 as they are; a model that "
                                     "was trained on scaled images needs preprocess"));
  }
  for (size_t i = 0; i < out.shape.size(); ++i) {
    const Dim& dim = dims[i + skip];
    if (dim.value && *dim.value != out.shape[i]) {
      return expected(absl::StrCat(
          got,
          out.transform
              ? absl::StrCat(", an example of which is ", ShowShape(out.shape), " after preprocess")
              : "",
          ": axis ", i + skip, " must be ", *dim.value, ", not ", out.shape[i]));
    }
    if (dim.symbol.empty()) continue;
    const auto [it, added] = symbols->try_emplace(dim.symbol, out.shape[i], have.name);
    if (!added && it->second.first != out.shape[i]) {
      return expected(absl::StrCat(got, ": the axis ", dim.symbol, " is ", out.shape[i], ", but ",
                                   it->second.first, " in '", it->second.second, "'"));
    }
  }
  std::optional<int64_t> batch;
  if (out.batched && dims[0].value) batch = *dims[0].value;
  if (!out.batched && !out.constant) batch = 1;
  if (batch) {
    if (*batch < 1 || (fixed_batch_ && *fixed_batch_ != *batch)) {
      return expected(
          absl::StrCat(got, ": this input takes batches of ", *batch,
                       fixed_batch_ ? absl::StrCat(", another one of ", *fixed_batch_) : ""));
    }
    fixed_batch_ = batch;
  }
  const std::optional<int64_t> elements = CheckedProduct(out.shape);
  const std::optional<int64_t> bytes = elements ? DTypeBytes(out.to, *elements) : std::nullopt;
  if (!bytes) return expected(got + ": an example is too large");
  out.row_bytes = *bytes;
  inputs_.push_back(std::move(out));
  return absl::OkStatus();
}

absl::Status ExampleFile::CheckCounts() {
  std::string first;
  const auto check = [&](int array) -> absl::Status {
    const ArrayInfo& info = file_->arrays()[array];
    if (info.shape.empty()) return Wrong(info.name, "is a single number; expected one an example");
    if (first.empty()) {
      first = info.name;
      size_ = info.rows;
    } else if (info.rows != size_) {
      return Wrong(info.name, absl::StrCat("holds ", info.rows, " examples, but '", first,
                                           "' holds ", size_, "; expected the same number"));
    }
    return absl::OkStatus();
  };
  for (const InputBinding& input : inputs_) {
    if (!input.constant) RETURN_IF_ERROR(check(input.array));
  }
  for (const int array :
       {labels_array_, weights_array_, boxes_array_, classes_array_, counts_array_}) {
    if (array >= 0) RETURN_IF_ERROR(check(array));
  }
  if (size_ == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(name_, ": holds no examples; expected at least one"));
  }
  return absl::OkStatus();
}

absl::Status ExampleFile::ReadRows(int array, int64_t first, int64_t count, char* out) {
  const absl::Status status = file_->ReadRows(array, first, count, out);
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(name_, ": ", status.message()));
}

absl::Status ExampleFile::ReadInput(const InputBinding& input, int64_t first, int64_t count,
                                    char* out) {
  const ArrayInfo& info = file_->arrays()[input.array];
  if (input.constant) first = 0;
  constexpr int64_t kChunkBytes = 4 << 20;
  const int64_t step = std::max<int64_t>(1, kChunkBytes / info.row_bytes);
  const int64_t elements = info.row_bytes / *DTypeBytes(info.dtype, 1);
  std::string raw(static_cast<size_t>(std::min(step, count) * info.row_bytes), '\0');
  for (int64_t done = 0; done < count; done += step) {
    const int64_t rows = std::min(step, count - done);
    RETURN_IF_ERROR(ReadRows(input.array, first + done, rows, raw.data()));
    for (int64_t row = 0; row < rows; ++row) {
      const char* const in = raw.data() + row * info.row_bytes;
      char* const to = out + (done + row) * input.row_bytes;
      const ConvertError error = input.transform
                                     ? input.transform->Apply(info.dtype, in, input.to, to)
                                     : Convert(info.dtype, in, elements, input.to, to);
      if (!error.ok()) {
        return Wrong(info.name, absl::StrCat("example ", first + done + row, ", element ",
                                             error.index, ": ", error.what));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
