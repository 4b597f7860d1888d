// The datasets of a job: which examples calibrate, train and test, and batches of them.
#ifndef LATHE_WORKER_ENGINE_DATA_DATA_PLAN_H_
#define LATHE_WORKER_ENGINE_DATA_DATA_PLAN_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/recipe/recipe.h"
#include "worker/engine/data/example_file.h"
#include "worker/engine/data/permutation.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

struct DataFile {
  std::string role;    // calibration, train, test; "" or "all": what no other file is given for
  std::string name;    // for messages
  std::string sha256;  // "" when not known; two roles of one content are warned of
  std::string path;
};

struct Batch {
  int64_t first = 0;  // place in the split of the first example
  int64_t size = 0;   // examples, >= 1; the model's fixed batch may be larger
  // By the model's input: [batch, ...], or without that axis where the input has none. `batch` is
  // `size`, or the batch that the model fixes; what is missing then repeats the last example.
  std::map<std::string, Tensor> inputs;
  // [size, ...]: int64 classes or ids, or float32 targets or true boxes.
  std::optional<Tensor> labels;
  std::optional<Tensor> box_classes;  // of true boxes: [size, most], int64, -1 for none
  std::optional<Tensor> weights;      // [size], float32
  std::vector<int64_t> examples;      // index of each in its file (files of a role counted through)
};

struct BatchOptions {
  int64_t batch_size = 32;  // >= 1; the model's own where it fixes one
  bool shuffle = false;     // otherwise by rising example
  uint64_t shuffle_seed = 0;
  int64_t first_batch = 0;  // to go on with: what was before is passed over
};

class DataSplit;

// Borrows its split. Not thread-safe, nor are two of one plan at once: they share files.
class BatchReader {
 public:
  bool done() const { return next_ >= size_; }
  // The next batch; the last one may be smaller. OUT_OF_RANGE when done. INVALID_ARGUMENT for
  // values that do not fit (NaN, overflow) and damaged files: names file, key and example.
  absl::StatusOr<Batch> Next();

 private:
  friend class DataSplit;
  BatchReader(const DataSplit* split, const BatchOptions& options, int64_t size);

  const DataSplit* split_;
  BatchOptions options_;
  int64_t size_;
  Permutation order_;  // of a shuffle
  int64_t next_ = 0;   // place in the split
  size_t part_ = 0;    // by rising example: where the next is looked for
  int64_t example_ = 0;
};

// The examples of one role.
class DataSplit {
 public:
  int64_t size() const { return size_; }  // > 0
  const std::string& role() const { return role_; }
  // Of all examples of the files, not only of this split. Kind kNone without labels.
  const LabelSummary& labels() const { return labels_; }
  bool has_weights() const;
  std::optional<int64_t> fixed_batch() const;
  // Names of the files, for messages and reports.
  std::string files() const;
  // INVALID_ARGUMENT when a batch would pass limits::kMaxBatchBytes.
  absl::StatusOr<BatchReader> Batches(const BatchOptions& options) const;
  // The first `count` examples of the split in the order of its seed, not of the file (which may be
  // sorted by class).
  DataSplit Take(int64_t count) const;

 private:
  friend class BatchReader;
  friend class DataPlanner;
  // Examples of a file whose place in its permutation lies in [begin, end).
  struct Part {
    std::shared_ptr<ExampleFile> file;
    Permutation order{0, 0};
    int64_t begin = 0;
    int64_t end = 0;
    int64_t offset = 0;  // of the file's examples in Batch::examples
  };

  absl::Status AddPart(Part part);

  std::string role_;
  std::vector<Part> parts_;
  LabelSummary labels_;
  int64_t size_ = 0;
};

struct DataPlan {
  std::optional<DataSplit> calibration;  // at most split.calibration examples
  std::optional<DataSplit> train;
  std::optional<DataSplit> test;  // at most evaluate.max_examples
  std::vector<std::string> warnings;
};

// Which roles the job has a use for. The others are left out, and no example is kept back for them.
struct DataNeeds {
  bool calibration = true;
  bool train = true;
  bool test = true;
};

// Opens the files and says who uses what (docs/datasets.md, "Roles"): a role has the files given
// for it; otherwise the files without a role serve it, split by the recipe's seed where they serve
// test and another; calibration falls back to the training examples. No files: an empty plan.
// INVALID_ARGUMENT, naming file, key, expected and got: files that are damaged, do not fit the
// model or one another, unknown roles, an empty split.
absl::StatusOr<DataPlan> OpenData(const std::vector<DataFile>& files, const Recipe& recipe,
                                  const Model& model, const DataNeeds& needs = {});

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_DATA_DATA_PLAN_H_
