// The `evaluation` block of a report: one model measured, or two on the same examples.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_PAIRED_EVALUATION_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_PAIRED_EVALUATION_H_

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/evaluate/metrics/bootstrap.h"
#include "worker/engine/evaluate/metrics/embedding.h"
#include "worker/engine/evaluate/metrics/fidelity.h"
#include "worker/engine/evaluate/metrics/task.h"

namespace lathe::engine {

struct PairedOptions {
  std::optional<Task> task;  // absent: fidelity alone
  TaskOptions task_options;
  std::string split;         // what the report calls the examples: "test"
  int64_t resamples = 2000;  // of the bootstrap; 100 to limits::kMaxResamples
  uint64_t seed = 0;
};

// Not thread-safe. Same batches, same options: same answer, and the cut into batches makes no
// difference. After an error the object is of no further use.
class PairedEvaluation {
 public:
  // INVALID_ARGUMENT: options out of range.
  static absl::StatusOr<std::unique_ptr<PairedEvaluation>> Make(PairedOptions options);

  // A batch of a single model. Every batch is added by the same one of these two.
  absl::Status Add(const OutputBatch& outputs, const LabelBatch& labels);
  // A batch of two models, whose outputs are matched by name. labels: null when there are none,
  // which must be so for all batches or for none. NOT_FOUND: an output that is missing after.
  // INVALID_ARGUMENT, RESOURCE_EXHAUSTED: as the task says. An output whose shape is another after
  // is reported as not compared; that is no error.
  absl::Status Add(const OutputBatch& before, const OutputBatch& after, const LabelBatch* labels);

  // docs/report.md describes it. Every number is finite.
  nlohmann::json Result() const;

 private:
  // What McNemar's test and the bootstrap need, under one reading of the scores.
  struct Pairs {
    int64_t only_before = 0;
    int64_t only_after = 0;
    PairedSums sums;
  };
  enum class Form { kNone, kSingle, kPair };
  struct OutputFidelity {
    Fidelity fidelity;
    std::string not_compared;  // why not
  };

  explicit PairedEvaluation(PairedOptions options) : options_(std::move(options)) {}
  absl::Status Begin(Form form, bool labels);
  absl::Status CountExamples(const OutputBatch& outputs, const LabelBatch* labels);
  absl::Status AddFidelity(const OutputBatch& before, const OutputBatch& after);
  absl::Status AddPairs(const std::vector<ExampleScore>& before,
                        const std::vector<ExampleScore>& after);
  // Writes change, p_value, significance and test.
  void Compare(nlohmann::json* block) const;
  nlohmann::json Test(ScoreKind kind, const LeadingFigure& leading, double* p_value) const;

  PairedOptions options_;
  Form form_ = Form::kNone;
  bool labels_ = false;
  bool trials_ = true;  // every example is a decision of weight 1
  int64_t examples_ = 0;
  std::unique_ptr<TaskMetric> before_;  // null without a task, and for embeddings
  std::unique_ptr<TaskMetric> after_;
  EmbeddingComparison embedding_;
  std::array<Pairs, kScoreKinds> pairs_;
  std::map<std::string, OutputFidelity> fidelity_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_PAIRED_EVALUATION_H_
