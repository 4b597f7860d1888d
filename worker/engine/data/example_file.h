// One file of examples, matched with the inputs of a model.
#ifndef LATHE_WORKER_ENGINE_DATA_EXAMPLE_FILE_H_
#define LATHE_WORKER_ENGINE_DATA_EXAMPLE_FILE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data/match_inputs.h"
#include "common/formats/array_file.h"
#include "worker/engine/data/preprocess.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// How an array feeds an input.
struct InputBinding {
  std::string input;
  int array = -1;
  DType from = DType::kUndefined;
  DType to = DType::kUndefined;
  Shape shape;            // of one example as the model gets it, without the batch axis
  int64_t row_bytes = 0;  // of that
  bool batched = true;    // false: the input has no batch axis
  bool constant = false;  // a single number, the same for every example
  std::optional<Transform> transform;
};

enum class LabelKind {
  kNone,
  kClass,   // [N] or [N, 1] integers: a class each
  kOneHot,  // [N, C]: one 1 a row; given out as classes
  kIds,     // [N, T, ...] integers: tokens or symbols
  kFloat,   // float targets of any shape
  kBoxes,   // true boxes [N, most, 4] and their classes [N, most]
};

// What all labels of a file are like.
struct LabelSummary {
  LabelKind kind = LabelKind::kNone;
  Shape shape;          // of one example's labels as given out: [] for kClass and kOneHot
  int64_t classes = 0;  // kOneHot: C
  int64_t minimum = 0;  // kClass, kOneHot, kIds, kBoxes (classes); of rows > 0
  int64_t maximum = 0;
};

class ExampleFile {
 public:
  // Matches the arrays of `file` with the model's inputs and looks at all labels and weights.
  // INVALID_ARGUMENT, each naming the file, the key, what was expected and what is there.
  static absl::StatusOr<std::unique_ptr<ExampleFile>> Open(const std::string& name,
                                                           std::unique_ptr<ArrayFile> file,
                                                           const Preprocess& preprocess,
                                                           const Model& model);

  const std::string& name() const { return name_; }
  int64_t size() const { return size_; }  // examples, > 0
  const std::vector<InputBinding>& inputs() const { return inputs_; }
  const LabelSummary& labels() const { return labels_; }
  bool has_weights() const { return weights_array_ >= 0; }
  // The batch that the model fixes: 1 when an input has no batch axis; nullopt: any.
  std::optional<int64_t> fixed_batch() const { return fixed_batch_; }
  const std::vector<std::string>& warnings() const { return warnings_; }

  // Examples [first, first + count) into `out` of count * row_bytes bytes. INVALID_ARGUMENT for
  // values that cannot be converted and damaged files.
  absl::Status ReadInput(const InputBinding& input, int64_t first, int64_t count, char* out);
  // Labels of those: int64 for all kinds but kFloat, which is float32. Not for kBoxes.
  absl::Status ReadLabels(int64_t first, int64_t count, char* out);
  // True boxes [count, most, 4] as x1, y1, x2, y2 and their classes [count, most], of kBoxes; what
  // is padding (a negative class, four NaN, past the example's count) has class -1.
  // INVALID_ARGUMENT for boxes that are not finite with x1 <= x2 and y1 <= y2.
  absl::Status ReadBoxes(int64_t first, int64_t count, float* boxes, int64_t* classes);
  // float32 weights.
  absl::Status ReadWeights(int64_t first, int64_t count, char* out);

 private:
  ExampleFile(std::string name, std::unique_ptr<ArrayFile> file)
      : name_(std::move(name)), file_(std::move(file)) {}

  absl::Status BindInputs(const Preprocess& preprocess, const Model& model);
  absl::Status ScanLabels();
  absl::Status ScanBoxes();
  absl::Status ScanWeights();
  // Of the file, with its name in errors.
  absl::Status ReadRows(int array, int64_t first, int64_t count, char* out);
  absl::Status Wrong(absl::string_view key, absl::string_view what) const;

  const std::string name_;
  const std::unique_ptr<ArrayFile> file_;
  int64_t size_ = 0;
  std::vector<InputBinding> inputs_;
  LabelSummary labels_;
  int labels_array_ = -1;
  int boxes_array_ = -1;
  int classes_array_ = -1;
  int counts_array_ = -1;
  int weights_array_ = -1;
  std::optional<int64_t> fixed_batch_;
  std::vector<std::string> warnings_;
};

// Checks class labels against the number of classes of the output they are compared with: all in
// [0, classes). INVALID_ARGUMENT naming the least or greatest otherwise; `where` begins the
// message.
absl::Status CheckClasses(const LabelSummary& labels, int64_t classes, const std::string& where);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_DATA_EXAMPLE_FILE_H_
