#include "worker/engine/train/training_set.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numbers>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/train/philox.h"

namespace lathe::engine {
namespace {

constexpr int64_t kReadAtOnce = 512;

// A draw of Beta(a, a): of two gammas by Johnk's method for a <= 1, else by inverting a symmetric
// distribution's normal approximation. Deterministic in the words.
double Beta(double a, uint64_t key, uint64_t counter) {
  for (uint64_t attempt = 0; attempt < 64; ++attempt) {
    const auto words = Philox(key, counter, attempt);
    const double u = std::pow(static_cast<double>(UnitFloat(words[0])) + 1e-9, 1 / a);
    const double v = std::pow(static_cast<double>(UnitFloat(words[1])) + 1e-9, 1 / a);
    if (u + v <= 1) return u / (u + v);
  }
  return 0.5;
}

}  // namespace

absl::StatusOr<TrainingSet::Array> TrainingSet::MakeArray(const Tensor& tensor, int64_t rows,
                                                          int64_t size, bool fixed_to_one) {
  Array array;
  array.dtype = tensor.dtype;
  const bool has_axis = !tensor.dims.empty() && tensor.dims[0] == rows;
  array.batched = has_axis || fixed_to_one;
  array.leading = has_axis;
  array.row.assign(tensor.dims.begin() + (has_axis ? 1 : 0), tensor.dims.end());
  array.row_bytes = tensor.byte_size() / (has_axis ? rows : 1);
  if (!array.batched) {
    array.data = std::string(tensor.data.view());
    return array;
  }
  array.data.resize(static_cast<size_t>(array.row_bytes * size));
  return array;
}

absl::StatusOr<std::unique_ptr<TrainingSet>> TrainingSet::Load(const DataSplit& split,
                                                               int64_t max_bytes) {
  auto set = std::make_unique<TrainingSet>();
  set->size_ = split.size();
  set->fixed_batch_ = split.fixed_batch();
  set->label_kind_ = split.labels().kind;
  BatchOptions options;
  options.batch_size = kReadAtOnce;
  ASSIGN_OR_RETURN(BatchReader reader, split.Batches(options));
  int64_t at = 0;
  while (!reader.done()) {
    ASSIGN_OR_RETURN(const Batch batch, reader.Next());
    if (at == 0) {
      int64_t row_bytes = 0;
      for (const auto& [name, tensor] : batch.inputs) {
        row_bytes += tensor.byte_size() / std::max<int64_t>(1, batch.size);
      }
      if (row_bytes > 0 && set->size_ > max_bytes / row_bytes) {
        return WithReason(
            absl::ResourceExhaustedError(
                absl::StrCat("the ", set->size_, " training examples take ", row_bytes,
                             " bytes each, more than the ", max_bytes,
                             " bytes that training may hold of them: give fewer, or smaller ones")),
            "INVALID_DATASET");
      }
      const int64_t rows = split.fixed_batch().value_or(batch.size);
      for (const auto& [name, tensor] : batch.inputs) {
        ASSIGN_OR_RETURN(set->inputs_[name],
                         MakeArray(tensor, rows, set->size_, split.fixed_batch() == 1));
      }
      if (batch.labels) {
        ASSIGN_OR_RETURN(set->labels_, MakeArray(*batch.labels, batch.size, set->size_, false));
      }
      if (batch.weights) set->weights_.resize(static_cast<size_t>(set->size_));
    }
    RETURN_IF_ERROR(set->Add(batch, at));
    at += batch.size;
  }
  for (const auto& [name, array] : set->inputs_) {
    set->bytes_ += static_cast<int64_t>(array.data.size());
  }
  return set;
}

absl::Status TrainingSet::Add(const Batch& batch, int64_t at) {
  const auto put = [at, &batch](const Tensor& tensor, Array* array) {
    if (!array->batched) return;
    std::memcpy(array->data.data() + at * array->row_bytes, tensor.data.view().data(),
                static_cast<size_t>(batch.size * array->row_bytes));
  };
  for (const auto& [name, tensor] : batch.inputs) put(tensor, &inputs_[name]);
  if (batch.labels && labels_) put(*batch.labels, &*labels_);
  if (batch.weights) {
    std::memcpy(weights_.data() + at, batch.weights->data.view().data(),
                static_cast<size_t>(batch.size) * sizeof(float));
  }
  return absl::OkStatus();
}

void TrainingSet::Gather(std::span<const int64_t> places, const Augmentation& augmentation,
                         uint64_t key, MicroBatch* out) const {
  out->size = static_cast<int64_t>(places.size());
  out->rows = fixed_batch_.value_or(out->size);
  out->examples.assign(places.begin(), places.end());
  out->mix = 1;
  out->mixed_labels.reset();
  for (const auto& [name, array] : inputs_) {
    if (!array.batched) {
      out->inputs[name] = Value::Borrow(array.dtype, array.row, array.data.data());
      continue;
    }
    std::vector<char>& storage = out->storage[name];
    storage.resize(static_cast<size_t>(out->rows * array.row_bytes));
    for (int64_t i = 0; i < out->rows; ++i) {
      const int64_t place = places[static_cast<size_t>(std::min(i, out->size - 1))];
      std::memcpy(storage.data() + i * array.row_bytes, array.data.data() + place * array.row_bytes,
                  static_cast<size_t>(array.row_bytes));
    }
    Shape dims = array.row;
    if (array.leading) dims.insert(dims.begin(), out->rows);
    out->inputs[name] = Value::Borrow(array.dtype, std::move(dims), storage.data());
  }
  if (labels_) {
    std::string data(static_cast<size_t>(out->size * labels_->row_bytes), '\0');
    for (int64_t i = 0; i < out->size; ++i) {
      std::memcpy(data.data() + i * labels_->row_bytes,
                  labels_->data.data() + places[i] * labels_->row_bytes,
                  static_cast<size_t>(labels_->row_bytes));
    }
    Shape dims = labels_->row;
    dims.insert(dims.begin(), out->size);
    out->labels = *Tensor::Make("labels", labels_->dtype, std::move(dims), std::move(data));
  }
  out->weights.clear();
  if (!weights_.empty()) {
    for (const int64_t place : places) out->weights.push_back(weights_[place]);
  }
  if (augmentation.any()) Augment(places, augmentation, key, out);
}

void TrainingSet::Augment(std::span<const int64_t> places, const Augmentation& augmentation,
                          uint64_t key, MicroBatch* out) const {
  for (const auto& [name, array] : inputs_) {
    if (!array.batched || !array.leading || array.dtype != DType::kFloat || array.row.size() != 3) {
      continue;
    }
    const int64_t channels = array.row[0];
    const int64_t height = array.row[1];
    const int64_t width = array.row[2];
    auto* const pixels = reinterpret_cast<float*>(out->storage[name].data());
    std::vector<float> image(static_cast<size_t>(channels * height * width));
    for (int64_t i = 0; i < out->size; ++i) {
      float* const x = pixels + i * channels * height * width;
      const auto words = Philox(key, static_cast<uint64_t>(places[i]), 0);
      const bool flip = augmentation.flip && (words[0] & 1) != 0;
      const int64_t span = 2 * augmentation.shift + 1;
      const int64_t down =
          static_cast<int64_t>(words[1] % static_cast<uint64_t>(span)) - augmentation.shift;
      const int64_t right =
          static_cast<int64_t>(words[2] % static_cast<uint64_t>(span)) - augmentation.shift;
      if (flip || down != 0 || right != 0) {
        std::copy_n(x, image.size(), image.data());
        for (int64_t c = 0; c < channels; ++c) {
          for (int64_t h = 0; h < height; ++h) {
            for (int64_t w = 0; w < width; ++w) {
              const int64_t from_h = h - down;
              int64_t from_w = w - right;
              const bool inside = from_h >= 0 && from_h < height && from_w >= 0 && from_w < width;
              if (flip) from_w = width - 1 - from_w;
              x[(c * height + h) * width + w] =
                  inside ? image[(c * height + from_h) * width + from_w] : 0;
            }
          }
        }
      }
      if (augmentation.noise <= 0) continue;
      for (size_t at = 0; at < image.size(); at += 2) {  // Box and Muller
        const auto draw = Philox(key, static_cast<uint64_t>(places[i]), 1 + at);
        const double radius = std::sqrt(-2 * std::log(1 - static_cast<double>(UnitFloat(draw[0]))));
        const double angle = 2 * std::numbers::pi * static_cast<double>(UnitFloat(draw[1]));
        x[at] += static_cast<float>(augmentation.noise * radius * std::cos(angle));
        if (at + 1 < image.size()) {
          x[at + 1] += static_cast<float>(augmentation.noise * radius * std::sin(angle));
        }
      }
    }
  }
  if (augmentation.mixup <= 0 || out->size < 2) return;
  // Each example with its neighbour in the batch, which the shuffle chose.
  out->mix = Beta(augmentation.mixup, key ^ 0x6d6978, static_cast<uint64_t>(places[0]));
  for (const auto& [name, array] : inputs_) {
    if (!array.batched || !array.leading || array.dtype != DType::kFloat) continue;
    auto* const x = reinterpret_cast<float*>(out->storage[name].data());
    const int64_t row = array.row_bytes / static_cast<int64_t>(sizeof(float));
    const std::vector<float> first(x, x + row);
    const auto share = static_cast<float>(out->mix);
    for (int64_t i = 0; i < out->size; ++i) {
      const float* const other = i + 1 < out->size ? x + (i + 1) * row : first.data();
      for (int64_t k = 0; k < row; ++k) {
        x[i * row + k] = share * x[i * row + k] + (1 - share) * other[k];
      }
    }
  }
  if (!out->labels) return;
  const std::string_view view(out->labels->data.view().data(), out->labels->data.view().size());
  const size_t row = view.size() / static_cast<size_t>(out->size);
  std::string turned(view.substr(row));
  turned.append(view.substr(0, row));
  out->mixed_labels =
      *Tensor::Make("labels", out->labels->dtype, out->labels->dims, std::move(turned));
}

}  // namespace lathe::engine
