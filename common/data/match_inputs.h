// Which array of a dataset feeds which input of a model, told from headers alone: the check that a
// client makes before it queues a job, and the one that the job itself starts with.
#ifndef LATHE_COMMON_DATA_MATCH_INPUTS_H_
#define LATHE_COMMON_DATA_MATCH_INPUTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/data/preprocess.h"
#include "common/dtype.h"
#include "common/formats/array_file.h"

namespace lathe {

// Keys of a file beside the names of inputs, which come first where a model uses these names.
inline constexpr char kLabelsKey[] = "labels";
inline constexpr char kWeightsKey[] = "weights";
// True boxes, instead of labels.
inline constexpr char kBoxesKey[] = "boxes";
inline constexpr char kClassesKey[] = "classes";
inline constexpr char kBoxCountsKey[] = "box_counts";

// An axis of an input: a size, a symbol, or neither when nothing is said.
struct InputAxis {
  std::optional<int64_t> value;
  std::string symbol;
};

// An input that a run of the model needs.
struct InputSpec {
  std::string name;
  DType dtype = DType::kUndefined;
  std::optional<std::vector<InputAxis>> dims;  // nullopt: of any shape
};

// How an array feeds an input.
struct InputMatch {
  size_t input = 0;  // index of the input
  int array = -1;
  Shape shape;            // of one example as the model gets it, without the batch axis
  int64_t row_bytes = 0;  // of that
  bool batched = true;    // false: the input has no batch axis
  bool constant = false;  // a single number, the same for every example
  std::optional<PreprocessShape> preprocess;  // where it applies
};

struct FileMatch {
  std::vector<InputMatch> inputs;  // in the order of the model's
  // Arrays of the keys above; -1: none.
  int labels = -1;
  int weights = -1;
  int boxes = -1;
  int classes = -1;
  int box_counts = -1;
  int64_t examples = 0;  // > 0
  // The batch that the model fixes: 1 when an input has no batch axis; nullopt: any.
  std::optional<int64_t> fixed_batch;
  std::vector<std::string> warnings;  // lines that name the file
};

// INVALID_ARGUMENT, each naming the file `name`, the key, what was expected and what is there: a
// missing or unknown key, a type that cannot be converted, axes that do not fit, keys with
// different numbers of examples, no examples.
absl::StatusOr<FileMatch> MatchInputs(const std::string& name, const std::vector<ArrayInfo>& arrays,
                                      const std::vector<InputSpec>& inputs,
                                      const Preprocess& preprocess);

// "NAME: key 'KEY': WHAT".
absl::Status KeyError(absl::string_view name, absl::string_view key, absl::string_view what);

}  // namespace lathe

#endif  // LATHE_COMMON_DATA_MATCH_INPUTS_H_
