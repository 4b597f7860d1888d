// The examples that training goes through, in memory, and micro-batches of them.
#ifndef LATHE_WORKER_ENGINE_TRAIN_TRAINING_SET_H_
#define LATHE_WORKER_ENGINE_TRAIN_TRAINING_SET_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/data/data_plan.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

// Changes of images, drawn anew for each example and epoch. For float32 inputs [N, C, H, W].
struct Augmentation {
  bool flip = false;  // left for right, with probability 1/2
  int64_t shift = 0;  // by up to so many pixels in each direction, zeros coming in
  double noise = 0;   // standard deviation of what is added, in units of the input
  double mixup = 0;   // Beta(a, a) of mixup (Zhang et al. 2018, 1710.09412); 0: none
  bool any() const { return flip || shift > 0 || noise > 0 || mixup > 0; }
};

struct MicroBatch {
  int64_t rows = 0;  // of the inputs: `size`, or the batch that the model fixes
  int64_t size = 0;
  std::map<std::string, Value> inputs;  // borrows `storage`
  std::optional<Tensor> labels;         // [size, ...]
  std::optional<Tensor> mixed_labels;   // of the other example of each mixed pair
  double mix = 1;                       // share of `labels`; 1: not mixed
  std::vector<float> weights;           // [size], or empty
  std::vector<int64_t> examples;        // places in the set
  std::map<std::string, std::vector<char>> storage;
};

class TrainingSet {
 public:
  // Reads the whole split. RESOURCE_EXHAUSTED with reason INVALID_DATASET when that takes more than
  // `max_bytes`: says how much it is. Otherwise as BatchReader::Next.
  static absl::StatusOr<std::unique_ptr<TrainingSet>> Load(const DataSplit& split,
                                                           int64_t max_bytes);

  int64_t size() const { return size_; }
  std::optional<int64_t> fixed_batch() const { return fixed_batch_; }
  LabelKind label_kind() const { return label_kind_; }
  // Bytes that the examples take.
  int64_t bytes() const { return bytes_; }

  // The examples at `places` (1 <= how many <= the fixed batch, where there is one), changed as
  // `augmentation` says for draws of `key`; `out` is filled, its memory used again.
  void Gather(std::span<const int64_t> places, const Augmentation& augmentation, uint64_t key,
              MicroBatch* out) const;

 private:
  struct Array {
    DType dtype = DType::kFloat;
    Shape row;  // of one example
    int64_t row_bytes = 0;
    bool batched = true;  // false: `data` is one value for all
    bool leading = true;  // the tensor has an axis of examples
    std::string data;
  };
  absl::Status Add(const Batch& batch, int64_t at);
  static absl::StatusOr<Array> MakeArray(const Tensor& tensor, int64_t rows, int64_t size,
                                         bool fixed_to_one);
  void Augment(std::span<const int64_t> places, const Augmentation& augmentation, uint64_t key,
               MicroBatch* out) const;

  int64_t size_ = 0;
  int64_t bytes_ = 0;
  std::optional<int64_t> fixed_batch_;
  LabelKind label_kind_ = LabelKind::kNone;
  std::map<std::string, Array> inputs_;
  std::optional<Array> labels_;
  std::vector<float> weights_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_TRAINING_SET_H_
