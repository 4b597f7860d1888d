// One training run (internal to trainer.h).
#ifndef LATHE_WORKER_ENGINE_TRAIN_TRAIN_RUN_H_
#define LATHE_WORKER_ENGINE_TRAIN_TRAIN_RUN_H_

#include <cmath>
#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/train/checkpoint.h"
#include "worker/engine/train/lanes.h"
#include "worker/engine/train/trainer.h"

namespace lathe::engine {

// Memory that the teacher's outputs may take.
inline constexpr int64_t kTeacherBytes = int64_t{512} << 20;

// Values as the graph reads them, and where they lie.
struct ForwardValue {
  std::vector<float> projected;  // of a grid
  std::vector<uint16_t> half;
  Value value;
};

class TrainRun {
 public:
  TrainRun(const TrainRequest& request, const TrainOptions& options, const TrainHooks& hooks)
      : request_(request),
        options_(options),
        hooks_(hooks),
        trainable_(*request.trainable),
        set_(*request.examples),
        cache_(request.examples->size(), kTeacherBytes) {}

  absl::StatusOr<TrainOutcome> Execute();

 private:
  absl::Status Plan();
  absl::Status Loop();
  absl::Status Step();
  absl::Status Update(std::vector<std::vector<float>>* grads);
  absl::Status CheckFinite(double loss, const std::vector<std::vector<float>>& grads) const;
  void MakeForward();
  void FillBatches(int64_t step, std::vector<MicroBatch>* out) const;
  absl::Status EndEpoch();
  void Snapshot();
  void RestoreBest();
  std::string Save() const;
  // Takes up a state that Save made, after Plan. INVALID_ARGUMENT when it is damaged or of another
  // run; what is trained may be changed in part then.
  absl::Status Resume(const std::string& bytes);
  absl::Status ResumeArrays(Checkpoint* checkpoint);
  void ResumeNumbers(const nlohmann::json& state, const std::vector<float>& numbers);
  void StartOver();
  void Record(const StepResult& result, bool last);
  int64_t StepsAnEpoch() const { return std::max<int64_t>(1, (trained_ + batch_ - 1) / batch_); }

  const TrainRequest& request_;
  const TrainOptions& options_;
  const TrainHooks& hooks_;
  Trainable& trainable_;
  const TrainingSet& set_;
  TeacherCache cache_;
  std::unique_ptr<Lanes> lanes_;
  TrainOutcome outcome_;
  Schedule schedule_;
  int64_t validated_ = 0;  // examples kept back: the first of the seed's order
  int64_t trained_ = 0;
  int64_t batch_ = 0;
  int64_t micro_ = 0;
  int64_t step_ = 0;  // steps done
  int64_t total_ = 0;
  std::vector<MicroBatch> batches_;
  std::vector<MicroBatch> next_;
  int64_t next_for_ = -1;
  std::vector<ForwardValue> forward_;
  std::vector<std::vector<float>> grads_;  // one a parameter; their memory is kept
  std::vector<Moments> moments_;           // one a parameter
  std::vector<Moments> scale_moments_;     // likewise
  std::vector<char> reached_;
  // Of the curve's next point.
  double loss_sum_ = 0;
  double labelled_ = 0;
  double correct_ = 0;
  int64_t since_ = 0;
  // Of divergence.
  double first_losses_ = 0;
  int64_t exploded_ = 0;
  bool retried_ = false;
  // To start over with.
  std::vector<Parameter> start_;
  std::vector<Trainable::Statistic> start_statistics_;
  // Of validation.
  double best_loss_ = INFINITY;
  int64_t bad_epochs_ = 0;
  std::vector<std::vector<float>> best_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_TRAIN_RUN_H_
