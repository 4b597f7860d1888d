// DataSplit and BatchReader of data_plan.h.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checked.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "worker/engine/data/data_plan.h"

namespace lathe::engine {
namespace {

// One example of a batch: where it comes from, and its slot.
struct Pick {
  size_t part = 0;
  int64_t example = 0;
  int64_t slot = 0;
};

// Picks in the file's order, so that compressed files are read forward.
std::vector<Pick> InFileOrder(std::vector<Pick> picks) {
  std::sort(picks.begin(), picks.end(), [](const Pick& a, const Pick& b) {
    return std::pair(a.part, a.example) < std::pair(b.part, b.example);
  });
  return picks;
}

// Calls read(part, example, count, slot) for runs of neighbours.
template <typename Read>
absl::Status ForRuns(const std::vector<Pick>& picks, const Read& read) {
  for (size_t i = 0; i < picks.size();) {
    size_t n = 1;
    while (i + n < picks.size() && picks[i + n].part == picks[i].part &&
           picks[i + n].example == picks[i].example + static_cast<int64_t>(n) &&
           picks[i + n].slot == picks[i].slot + static_cast<int64_t>(n)) {
      ++n;
    }
    RETURN_IF_ERROR(read(picks[i].part, picks[i].example, static_cast<int64_t>(n), picks[i].slot));
    i += n;
  }
  return absl::OkStatus();
}

Shape WithBatch(int64_t batch, const Shape& rest) {
  Shape shape = {batch};
  shape.insert(shape.end(), rest.begin(), rest.end());
  return shape;
}

std::string Zeros(int64_t bytes) { return std::string(static_cast<size_t>(bytes), '\0'); }

// True boxes, `shape` an example, and their classes, which read(part, example, count, boxes,
// classes) reads.
template <typename Read>
absl::Status ReadBoxes(const std::vector<Pick>& picks, const Shape& shape, const Read& read,
                       Batch* batch) {
  const int64_t most = shape[0];
  std::string boxes = Zeros(batch->size * most * shape[1] * static_cast<int64_t>(sizeof(float)));
  std::string classes = Zeros(batch->size * most * static_cast<int64_t>(sizeof(int64_t)));
  RETURN_IF_ERROR(ForRuns(picks, [&](size_t part, int64_t example, int64_t n, int64_t slot) {
    return read(part, example, n, reinterpret_cast<float*>(boxes.data()) + slot * most * shape[1],
                reinterpret_cast<int64_t*>(classes.data()) + slot * most);
  }));
  ASSIGN_OR_RETURN(batch->labels, Tensor::Make(kBoxesKey, DType::kFloat,
                                               WithBatch(batch->size, shape), std::move(boxes)));
  ASSIGN_OR_RETURN(batch->box_classes, Tensor::Make(kClassesKey, DType::kInt64, {batch->size, most},
                                                    std::move(classes)));
  return absl::OkStatus();
}

}  // namespace

bool DataSplit::has_weights() const { return parts_[0].file->has_weights(); }

std::optional<int64_t> DataSplit::fixed_batch() const { return parts_[0].file->fixed_batch(); }

std::string DataSplit::files() const {
  return absl::StrJoin(parts_, ", ", [](std::string* out, const Part& part) {
    absl::StrAppend(out, part.file->name());
  });
}

absl::Status DataSplit::AddPart(Part part) {
  const ExampleFile& file = *part.file;
  part.offset = parts_.empty() ? 0 : parts_.back().offset + parts_.back().file->size();
  if (!parts_.empty()) {
    const ExampleFile& first = *parts_[0].file;
    const auto differ = [&](absl::string_view what) {
      return absl::InvalidArgumentError(absl::StrCat(
          file.name(), " and ", first.name(), " both serve ", role_, ", but differ in ", what));
    };
    for (size_t i = 0; i < first.inputs().size(); ++i) {
      const InputBinding& a = first.inputs()[i];
      const InputBinding& b = file.inputs()[i];
      if (a.shape != b.shape || a.batched != b.batched || a.constant != b.constant) {
        return differ(absl::StrCat("the shape of '", a.input, "': [", absl::StrJoin(b.shape, ","),
                                   "] against [", absl::StrJoin(a.shape, ","), "]"));
      }
    }
    if (first.labels().kind != file.labels().kind || first.labels().shape != file.labels().shape ||
        first.labels().classes != file.labels().classes) {
      return differ("their labels");
    }
    if (first.has_weights() != file.has_weights()) return differ("having weights");
    labels_.minimum = std::min(labels_.minimum, file.labels().minimum);
    labels_.maximum = std::max(labels_.maximum, file.labels().maximum);
  } else {
    labels_ = file.labels();
  }
  size_ += part.end - part.begin;
  parts_.push_back(std::move(part));
  return absl::OkStatus();
}

DataSplit DataSplit::Take(int64_t count) const {
  DataSplit out = *this;
  out.parts_.clear();
  out.size_ = 0;
  // From each file its share, so that the later ones are not left out.
  int64_t left_examples = size_;
  int64_t left = std::min(count, size_);
  for (const Part& part : parts_) {
    const int64_t examples = part.end - part.begin;
    // left <= left_examples throughout; long double holds 63 bits exactly.
    const auto share =
        static_cast<int64_t>(static_cast<long double>(left) * static_cast<long double>(examples) /
                             static_cast<long double>(left_examples));
    const int64_t taken = &part == &parts_.back() ? left : std::min(share, examples);
    Part& kept = out.parts_.emplace_back(part);
    kept.end = kept.begin + taken;
    out.size_ += taken;
    left -= taken;
    left_examples -= examples;
  }
  return out;
}

absl::StatusOr<BatchReader> DataSplit::Batches(const BatchOptions& options) const {
  BatchOptions effective = options;
  if (const std::optional<int64_t> fixed = fixed_batch()) effective.batch_size = *fixed;
  if (effective.batch_size < 1 || effective.first_batch < 0) {
    return absl::InvalidArgumentError("batch_size must be at least 1, first_batch at least 0");
  }
  int64_t bytes = DTypeBytes(DType::kInt64, CheckedProduct(labels_.shape).value_or(1)).value_or(0);
  for (const InputBinding& input : parts_[0].file->inputs()) {
    bytes = CheckedAdd(bytes, input.row_bytes).value_or(limits::kMaxBatchBytes + 1);
  }
  // A fixed batch is filled up whatever the examples; another never holds more than there are.
  const int64_t rows = fixed_batch() ? effective.batch_size : std::min(size_, effective.batch_size);
  if (bytes > limits::kMaxBatchBytes / rows) {
    return absl::InvalidArgumentError(
        absl::StrCat(files(), ": an example takes ", bytes, " bytes and a batch of ", rows,
                     " more than ", limits::kMaxBatchBytes, "; lower evaluate.batch_size"));
  }
  return BatchReader(this, effective, size_);
}

BatchReader::BatchReader(const DataSplit* split, const BatchOptions& options, int64_t size)
    : split_(split), options_(options), size_(size), order_(size, options.shuffle_seed) {
  const int64_t skipped = CheckedMul(options.first_batch, options.batch_size).value_or(size_);
  if (options.shuffle) {
    next_ = std::min(skipped, size_);
    return;
  }
  // By rising example the place is only found by counting.
  while (next_ < std::min(skipped, size_)) {
    const DataSplit::Part& part = split_->parts_[part_];
    if (example_ == part.file->size()) {
      ++part_;
      example_ = 0;
      continue;
    }
    const int64_t place = part.order.PlaceOf(example_++);
    if (place >= part.begin && place < part.end) ++next_;
  }
}

absl::StatusOr<Batch> BatchReader::Next() {
  if (done()) return absl::OutOfRangeError("there are no more batches");
  Batch batch;
  batch.first = next_;
  batch.size = std::min(options_.batch_size, size_ - next_);
  const std::vector<DataSplit::Part>& parts = split_->parts_;
  std::vector<Pick> picks;
  while (static_cast<int64_t>(picks.size()) < batch.size) {
    const auto slot = static_cast<int64_t>(picks.size());
    if (options_.shuffle) {
      int64_t place = order_.ValueAt(next_ + slot);
      size_t part = 0;
      while (place >= parts[part].end - parts[part].begin) {
        place -= parts[part].end - parts[part].begin;
        ++part;
      }
      picks.push_back({part, parts[part].order.ValueAt(parts[part].begin + place), slot});
      continue;
    }
    const DataSplit::Part& part = parts[part_];
    if (example_ == part.file->size()) {
      ++part_;
      example_ = 0;
      continue;
    }
    const int64_t place = part.order.PlaceOf(example_);
    if (place >= part.begin && place < part.end) picks.push_back({part_, example_, slot});
    ++example_;
  }
  next_ += batch.size;
  for (const Pick& pick : picks) {
    batch.examples.push_back(parts[pick.part].offset + pick.example);
  }
  picks = InFileOrder(std::move(picks));
  const int64_t rows = split_->fixed_batch().value_or(batch.size);
  const std::vector<InputBinding>& inputs = parts[0].file->inputs();
  for (size_t i = 0; i < inputs.size(); ++i) {
    const InputBinding& input = inputs[i];
    const int64_t count = input.batched ? rows : 1;
    std::string bytes = Zeros(count * input.row_bytes);
    const auto read = [&](size_t part, int64_t example, int64_t n, int64_t slot) {
      return parts[part].file->ReadInput(parts[part].file->inputs()[i], example, n,
                                         bytes.data() + slot * input.row_bytes);
    };
    if (input.constant) {
      RETURN_IF_ERROR(read(picks[0].part, 0, 1, 0));
    } else {
      RETURN_IF_ERROR(ForRuns(picks, read));
    }
    for (int64_t row = batch.size; row < count; ++row) {
      bytes.replace(row * input.row_bytes, input.row_bytes, bytes,
                    (batch.size - 1) * input.row_bytes, input.row_bytes);
    }
    ASSIGN_OR_RETURN(
        Tensor tensor,
        Tensor::Make(input.input, input.to,
                     input.batched ? WithBatch(rows, input.shape) : input.shape, std::move(bytes)));
    batch.inputs.emplace(input.input, std::move(tensor));
  }
  const LabelSummary& labels = split_->labels();
  if (labels.kind == LabelKind::kBoxes) {
    RETURN_IF_ERROR(ReadBoxes(
        picks, labels.shape,
        [&](size_t part, int64_t example, int64_t n, float* boxes, int64_t* classes) {
          return parts[part].file->ReadBoxes(example, n, boxes, classes);
        },
        &batch));
  } else if (labels.kind != LabelKind::kNone) {
    const DType dtype = labels.kind == LabelKind::kFloat ? DType::kFloat : DType::kInt64;
    const int64_t row_bytes =
        DTypeBytes(dtype, CheckedProduct(labels.shape).value_or(0)).value_or(0);
    std::string bytes = Zeros(batch.size * row_bytes);
    RETURN_IF_ERROR(ForRuns(picks, [&](size_t part, int64_t example, int64_t n, int64_t slot) {
      return parts[part].file->ReadLabels(example, n, bytes.data() + slot * row_bytes);
    }));
    ASSIGN_OR_RETURN(
        batch.labels,
        Tensor::Make(kLabelsKey, dtype, WithBatch(batch.size, labels.shape), std::move(bytes)));
  }
  if (split_->has_weights()) {
    std::string bytes = Zeros(batch.size * 4);
    RETURN_IF_ERROR(ForRuns(picks, [&](size_t part, int64_t example, int64_t n, int64_t slot) {
      return parts[part].file->ReadWeights(example, n, bytes.data() + slot * 4);
    }));
    ASSIGN_OR_RETURN(batch.weights,
                     Tensor::Make(kWeightsKey, DType::kFloat, {batch.size}, std::move(bytes)));
  }
  return batch;
}

}  // namespace lathe::engine
