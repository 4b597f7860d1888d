#include "worker/engine/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/data/permutation.h"
#include "worker/engine/train/lanes.h"
#include "worker/engine/train/train_run.h"
#include "worker/engine/train/validation.h"

namespace lathe::engine {
namespace {

// The curve has so many points or a few more.
constexpr int64_t kCurvePoints = 200;
// A loss so many times that of the first steps, and for so long, has exploded.
constexpr double kExplosion = 50;
constexpr int64_t kFirstSteps = 10;
constexpr int64_t kExplodedFor = 10;
// The one retry after divergence.
constexpr double kSlower = 0.1;

// Micro-batches that a step of `batch` examples is cut into: enough for a few threads, and large
// enough for products to be efficient.
int64_t MicroBatches(int64_t batch) {
  if (batch < 32) return 1;
  if (batch < 256) return 2;
  return batch < 1024 ? 4 : 8;
}

absl::Status Diverged(const std::string& what) {
  return WithReason(
      absl::AbortedError(absl::StrCat(what, "; give a lower learning_rate, or check the data")),
      "DIVERGED");
}

bool IsDiverged(const absl::Status& status) { return ReasonOf(status) == "DIVERGED"; }

}  // namespace

absl::Status TrainRun::Plan() {
  const int64_t n = set_.size();
  validated_ = static_cast<int64_t>(std::floor(options_.validation * static_cast<double>(n)));
  validated_ = std::min(validated_, n - 1);
  trained_ = n - validated_;
  batch_ = std::min(options_.batch_size, trained_);
  const int64_t fixed = set_.fixed_batch().value_or(0);
  if (micro_ == 0) {
    micro_ = fixed > 0 ? fixed : (batch_ + MicroBatches(batch_) - 1) / MicroBatches(batch_);
  }
  if (fixed > 0) micro_ = fixed;
  total_ = options_.steps > 0 ? options_.steps : options_.epochs * StepsAnEpoch();
  schedule_.kind = options_.schedule;
  schedule_.total_steps = total_;
  schedule_.warmup_steps =
      std::min(total_ - 1,
               static_cast<int64_t>(std::llround(options_.warmup * static_cast<double>(total_))));
  schedule_.factor = options_.step_factor;
  schedule_.every = options_.step_epochs > 0 ? options_.step_epochs * StepsAnEpoch()
                                             : std::max<int64_t>(1, total_ / 3);
  outcome_.batch_size = batch_;
  outcome_.micro_batch = micro_;
  return absl::OkStatus();
}

void TrainRun::FillBatches(int64_t step, std::vector<MicroBatch>* out) const {
  const int64_t epoch = step / StepsAnEpoch();
  const int64_t first = step % StepsAnEpoch() * batch_;
  const int64_t count = std::min(batch_, trained_ - first);
  const Permutation kept(set_.size(), options_.seed);
  const Permutation order(trained_, SplitMix64(options_.seed + 0x5eed) ^
                                        static_cast<uint64_t>(epoch + 1) * 0x9E3779B97F4A7C15u);
  out->resize(static_cast<size_t>((count + micro_ - 1) / micro_));
  const uint64_t key = SplitMix64(options_.seed) ^ static_cast<uint64_t>(epoch);
  std::vector<int64_t> places;
  for (size_t m = 0; m < out->size(); ++m) {
    places.clear();
    const int64_t begin = static_cast<int64_t>(m) * micro_;
    for (int64_t i = begin; i < std::min(begin + micro_, count); ++i) {
      const int64_t place = order.ValueAt(first + i);
      places.push_back(validated_ > 0 ? kept.ValueAt(validated_ + place) : place);
    }
    set_.Gather(places, options_.augmentation, key, &(*out)[m]);
  }
}

void TrainRun::MakeForward() {
  std::vector<Parameter>& parameters = trainable_.parameters();
  forward_.resize(parameters.size());
  request_.parallel->Run(static_cast<int64_t>(parameters.size()), [&](int64_t p) {
    Parameter& parameter = parameters[static_cast<size_t>(p)];
    ForwardValue& forward = forward_[static_cast<size_t>(p)];
    const std::vector<float>* values = &parameter.values;
    if (parameter.grid) {
      forward.projected.resize(parameter.values.size());
      Project(*parameter.grid, parameter.values, forward.projected);
      values = &forward.projected;
    }
    const void* data = values->data();
    if (parameter.dtype != DType::kFloat) {
      forward.half.resize(values->size());
      for (size_t i = 0; i < values->size(); ++i) {
        forward.half[i] = parameter.dtype == DType::kFloat16 ? FloatToHalf((*values)[i])
                                                             : FloatToBfloat16((*values)[i]);
      }
      data = forward.half.data();
    }
    forward.value = Value::Borrow(parameter.dtype, parameter.dims, data);
  });
}

absl::Status TrainRun::CheckFinite(double loss,
                                   const std::vector<std::vector<float>>& grads) const {
  if (std::isfinite(loss)) {
    bool finite = true;
    for (const std::vector<float>& grad : grads) {
      double sum = 0;
      for (const float g : grad) sum += std::abs(static_cast<double>(g));
      finite = finite && std::isfinite(sum);
    }
    if (finite) return absl::OkStatus();
  }
  std::string where = "its outputs";
  for (size_t p = 0; p < grads.size(); ++p) {
    const bool bad =
        std::any_of(grads[p].begin(), grads[p].end(), [](float g) { return !std::isfinite(g); });
    if (!bad) continue;
    const Parameter& parameter = trainable_.parameters()[p];
    where =
        absl::StrCat("layer '", parameter.layer.empty() ? parameter.name : parameter.layer, "'");
    break;
  }
  return Diverged(absl::StrCat("training diverged at step ", step_ + 1, " of ", total_,
                               ": not finite in ", where));
}

absl::Status TrainRun::Update(std::vector<std::vector<float>>* grads) {
  std::vector<Parameter>& parameters = trainable_.parameters();
  std::vector<std::vector<float>> scale_grads(parameters.size());
  std::vector<double> squares(parameters.size(), 0.0);
  request_.parallel->Run(static_cast<int64_t>(parameters.size()), [&](int64_t index) {
    const auto p = static_cast<size_t>(index);
    Parameter& parameter = parameters[p];
    std::vector<float>& grad = (*grads)[p];
    if (grad.empty()) return;
    for (size_t i = 0; i < parameter.mask.size(); ++i)
      grad[i] *= static_cast<float>(parameter.mask[i]);
    if (parameter.grid) {
      scale_grads[p].resize(parameter.grid->scales.size());
      ProjectBackward(*parameter.grid, parameter.values, grad, scale_grads[p]);
      if (!parameter.grid->learn_scales) scale_grads[p].clear();
      for (size_t s = 0; s < scale_grads[p].size(); ++s) {
        scale_grads[p][s] *= parameter.grid->scales[s];  // of its logarithm
      }
    }
    double sum = 0;
    for (const float g : grad) sum += static_cast<double>(g) * static_cast<double>(g);
    squares[p] = sum;
  });
  double factor = 1;
  if (options_.clip_norm > 0) {
    double norm = 0;
    for (const double square : squares) norm += square;
    norm = std::sqrt(norm);
    if (norm > options_.clip_norm) factor = options_.clip_norm / norm;
  }
  const double rate = RateAt(schedule_, step_ + 1);
  request_.parallel->Run(static_cast<int64_t>(parameters.size()), [&](int64_t index) {
    const auto p = static_cast<size_t>(index);
    Parameter& parameter = parameters[p];
    std::vector<float>& grad = (*grads)[p];
    if (grad.empty()) return;
    reached_[p] = 1;
    if (factor != 1) {
      for (float& g : grad) g *= static_cast<float>(factor);
    }
    OptimizerStep(options_.optimizer, step_ + 1, rate, parameter.decays, grad, parameter.values,
                  &moments_[p]);
    for (size_t i = 0; i < parameter.mask.size(); ++i) {
      if (parameter.mask[i] == 0) parameter.values[i] = 0;
    }
    if (scale_grads[p].empty()) return;
    std::vector<float>& scales = parameter.grid->scales;
    std::vector<float> logs(scales.size());
    for (size_t s = 0; s < scales.size(); ++s) logs[s] = std::log(scales[s]);
    OptimizerStep(options_.optimizer, step_ + 1, rate, false, scale_grads[p], logs,
                  &scale_moments_[p]);
    for (size_t s = 0; s < scales.size(); ++s) scales[s] = std::exp(logs[s]);
    SettleScales(*parameter.grid);
  });
  return absl::OkStatus();
}

absl::Status TrainRun::Step() {
  if (hooks_.cancelled && hooks_.cancelled()) return absl::CancelledError("the job was cancelled");
  if (hooks_.before_step) {
    RETURN_IF_ERROR(hooks_.before_step(step_, total_, trainable_.parameters()));
  }
  MakeForward();
  if (next_for_ == step_) {
    std::swap(batches_, next_);
  } else {
    FillBatches(step_, &batches_);
  }
  next_for_ = step_ + 1;
  std::vector<Value> forward;
  for (const ForwardValue& value : forward_) forward.push_back(value.value);
  std::vector<std::vector<float>>& grads = grads_;
  std::vector<std::vector<float>> statistics;
  ASSIGN_OR_RETURN(const StepResult result,
                   lanes_->Run(batches_, forward, &grads, &statistics,
                               [this] { FillBatches(step_ + 1, &next_); }));
  RETURN_IF_ERROR(CheckFinite(result.loss, grads));
  if (step_ < kFirstSteps) {
    first_losses_ = std::max(first_losses_, result.loss);
  } else {
    // A model that was right everywhere begins near 0: what is small is no explosion.
    const double usual = std::max(first_losses_, options_.loss.kind == LossKind::kMse ? 0.0 : 1.0);
    exploded_ = result.loss > kExplosion * usual ? exploded_ + 1 : 0;
    if (exploded_ >= kExplodedFor) {
      return Diverged(absl::StrFormat(
          "training diverged at step %d of %d: its loss rose to %.3g, from %.3g at the start",
          step_ + 1, total_, result.loss, first_losses_));
    }
  }
  RETURN_IF_ERROR(Update(&grads));
  for (size_t s = 0; s < statistics.size(); ++s) {
    trainable_.statistics()[s].values = std::move(statistics[s]);
  }
  ++step_;
  Record(result, step_ == total_);
  if (step_ % StepsAnEpoch() == 0 || step_ == total_) RETURN_IF_ERROR(EndEpoch());
  if (hooks_.checkpoint_due && hooks_.save_checkpoint && step_ < total_ &&
      hooks_.checkpoint_due()) {
    RETURN_IF_ERROR(hooks_.save_checkpoint(Save()));
  }
  return absl::OkStatus();
}

void TrainRun::Record(const StepResult& result, bool last) {
  loss_sum_ += result.loss;
  labelled_ += result.labelled;
  correct_ += result.correct;
  ++since_;
  const double epoch = static_cast<double>(step_) / static_cast<double>(StepsAnEpoch());
  const double mean = loss_sum_ / static_cast<double>(since_);
  if (hooks_.progress) {
    std::string line = absl::StrFormat("step %d of %d, loss %.4g", step_, total_, mean);
    if (labelled_ > 0)
      absl::StrAppend(&line, absl::StrFormat(", %.1f %% right", 100 * correct_ / labelled_));
    hooks_.progress(static_cast<double>(step_) / static_cast<double>(total_), line);
  }
  const int64_t every = std::max<int64_t>(1, total_ / kCurvePoints);
  if (step_ % every != 0 && !last && step_ % StepsAnEpoch() != 0) return;
  CurvePoint point;
  point.step = step_;
  point.epoch = epoch;
  point.rate = RateAt(schedule_, step_);
  point.loss = mean;
  if (labelled_ > 0) point.accuracy = correct_ / labelled_;
  loss_sum_ = labelled_ = correct_ = 0;
  since_ = 0;
  outcome_.curve.push_back(point);
}

absl::Status TrainRun::EndEpoch() {
  if (validated_ > 0) {
    std::vector<int64_t> places;
    const Permutation kept(set_.size(), options_.seed);
    for (int64_t i = 0; i < validated_; ++i) places.push_back(kept.ValueAt(i));
    ASSIGN_OR_RETURN(const ValidationResult result,
                     Validate(trainable_, *request_.original, request_.teacher, set_, places,
                              micro_, options_.loss, options_.output, hooks_.cancelled));
    CurvePoint& point = outcome_.curve.back();
    point.validation_loss = result.loss;
    if (result.labelled > 0) point.validation_accuracy = result.correct / result.labelled;
    if (result.loss < best_loss_) {
      best_loss_ = result.loss;
      bad_epochs_ = 0;
      outcome_.best_step = step_;
      Snapshot();
    } else if (++bad_epochs_ >= options_.patience && options_.patience > 0) {
      outcome_.stopped_early = true;
      total_ = step_;
    }
  }
  if (hooks_.point && !outcome_.curve.empty()) hooks_.point(outcome_.curve.back());
  return absl::OkStatus();
}

absl::Status TrainRun::Loop() {
  while (step_ < total_) RETURN_IF_ERROR(Step());
  return absl::OkStatus();
}

absl::StatusOr<TrainOutcome> TrainRun::Execute() {
  if (options_.memory_bytes > 0 && set_.fixed_batch().value_or(1) > options_.batch_size) {
    outcome_.notes.push_back("the model's own batch is larger than batch_size");
  }
  schedule_.rate = options_.learning_rate;
  const size_t count = trainable_.parameters().size();
  start_ = trainable_.parameters();
  start_statistics_ = trainable_.statistics();
  int64_t micro = 0;
  bool resume = !hooks_.resume.empty();
  while (true) {
    micro_ = micro;
    RETURN_IF_ERROR(Plan());
    StartOver();
    if (resume) {
      resume = false;
      if (const absl::Status resumed = Resume(hooks_.resume); !resumed.ok()) {
        outcome_ = TrainOutcome();
        outcome_.notes.push_back(absl::StrCat("trained from the start: ", resumed.message()));
        schedule_.rate = options_.learning_rate;
        retried_ = false;
        continue;
      }
    }
    const int64_t lanes = request_.parallel->threads();
    lanes_ = std::make_unique<Lanes>(trainable_, request_.teacher, options_.loss, options_.output,
                                     *request_.parallel, hooks_.cancelled,
                                     options_.memory_bytes > 0 ? options_.memory_bytes / lanes : 0,
                                     options_.augmentation.any() ? nullptr : &cache_);
    const absl::Status status = Loop();
    if (status.ok()) break;
    const bool out_of_memory =
        absl::IsResourceExhausted(status) && options_.memory_bytes > 0 && step_ == 0;
    if (out_of_memory && micro_ > 1 && !set_.fixed_batch()) {
      micro = (micro_ + 1) / 2;
      continue;
    }
    if (out_of_memory) {
      return absl::InvalidArgumentError(absl::StrCat(
          "training on ", micro_, micro_ == 1 ? " example" : " examples",
          " at a time does not fit into the memory allowed, ", options_.memory_bytes, " bytes for ",
          lanes, " threads: ", status.message(), "; give a larger memory_mb"));
    }
    if (!IsDiverged(status) || retried_) return status;
    retried_ = true;
    micro = micro_;
    outcome_.notes.push_back(
        absl::StrFormat("%s; trained again from the start at a learning rate of %.3g",
                        std::string(status.message()), schedule_.rate * kSlower));
    schedule_.rate *= kSlower;
  }
  if (hooks_.keep_final) {
    // Nothing moves any more.
    moments_.assign(count, {});
    scale_moments_.assign(count, {});
    RETURN_IF_ERROR(hooks_.keep_final(Save()));
  }
  RestoreBest();
  outcome_.steps = step_;
  outcome_.epochs = static_cast<double>(step_) / static_cast<double>(StepsAnEpoch());
  outcome_.micro_batch = micro_;
  outcome_.learning_rate = schedule_.rate;
  outcome_.peak_bytes = std::max(outcome_.peak_bytes, lanes_->peak_bytes());
  // Where nothing was left to do, what the state says stays.
  if (std::vector<std::string> blocked = lanes_->Blocked(); !blocked.empty()) {
    outcome_.blocked = std::move(blocked);
  }
  for (size_t p = 0; p < count; ++p) {
    if (reached_[p] == 0) outcome_.unreached.push_back(trainable_.parameters()[p].name);
  }
  return std::move(outcome_);
}

absl::StatusOr<TrainOutcome> Train(const TrainRequest& request, const TrainOptions& options,
                                   const TrainHooks& hooks) {
  return TrainRun(request, options, hooks).Execute();
}

}  // namespace lathe::engine
