#include "worker/engine/data/example_file.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

// The inputs that a run needs: initializers are defaults, not inputs.
std::vector<InputSpec> RequiredInputs(const Model& model) {
  std::vector<InputSpec> out;
  for (const ValueInfo& info : model.graph->inputs) {
    if (model.graph->initializers.count(info.name) != 0) continue;
    InputSpec& spec = out.emplace_back(InputSpec{info.name, info.dtype, std::nullopt});
    if (!info.dims) continue;
    spec.dims.emplace();
    for (const Dim& dim : *info.dims) spec.dims->push_back({dim.value, dim.symbol});
  }
  return out;
}

}  // namespace

absl::Status ExampleFile::Wrong(absl::string_view key, absl::string_view what) const {
  return KeyError(name_, key, what);
}

absl::StatusOr<std::unique_ptr<ExampleFile>> ExampleFile::Open(const std::string& name,
                                                               std::unique_ptr<ArrayFile> file,
                                                               const Preprocess& preprocess,
                                                               const Model& model) {
  auto out = std::unique_ptr<ExampleFile>(new ExampleFile(name, std::move(file)));
  RETURN_IF_ERROR(out->BindInputs(preprocess, model));
  RETURN_IF_ERROR(out->ScanLabels());
  RETURN_IF_ERROR(out->ScanBoxes());
  RETURN_IF_ERROR(out->ScanWeights());
  return out;
}

absl::Status ExampleFile::BindInputs(const Preprocess& preprocess, const Model& model) {
  const std::vector<InputSpec> inputs = RequiredInputs(model);
  ASSIGN_OR_RETURN(FileMatch match, MatchInputs(name_, file_->arrays(), inputs, preprocess));
  for (const InputMatch& found : match.inputs) {
    const InputSpec& input = inputs[found.input];
    InputBinding& binding = inputs_.emplace_back();
    binding.input = input.name;
    binding.array = found.array;
    binding.from = file_->arrays()[found.array].dtype;
    binding.to = input.dtype;
    binding.shape = found.shape;
    binding.row_bytes = found.row_bytes;
    binding.batched = found.batched;
    binding.constant = found.constant;
    if (found.preprocess) binding.transform.emplace(preprocess, *found.preprocess);
  }
  labels_array_ = match.labels;
  weights_array_ = match.weights;
  boxes_array_ = match.boxes;
  classes_array_ = match.classes;
  counts_array_ = match.box_counts;
  size_ = match.examples;
  fixed_batch_ = match.fixed_batch;
  warnings_ = std::move(match.warnings);
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
