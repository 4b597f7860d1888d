// The state of a training run: what is kept, how it is written, taken up again and started over.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/train/train_run.h"

namespace lathe::engine {

void TrainRun::Snapshot() {
  best_.clear();
  for (const Parameter& parameter : trainable_.parameters()) {
    best_.push_back(parameter.values);
    if (parameter.grid) best_.push_back(parameter.grid->scales);
  }
  for (const Trainable::Statistic& statistic : trainable_.statistics()) {
    best_.push_back(statistic.values);
  }
}

void TrainRun::RestoreBest() {
  if (best_.empty()) return;
  size_t at = 0;
  for (Parameter& parameter : trainable_.parameters()) {
    parameter.values = best_[at++];
    if (parameter.grid) parameter.grid->scales = best_[at++];
  }
  for (Trainable::Statistic& statistic : trainable_.statistics()) statistic.values = best_[at++];
}

std::string TrainRun::Save() const {
  Checkpoint checkpoint;
  nlohmann::json& state = checkpoint.state;
  state["step"] = step_;
  state["total"] = total_;
  state["seed"] = options_.seed;
  state["rate"] = schedule_.rate;
  state["micro"] = micro_;
  state["loss_sum"] = loss_sum_;
  state["labelled"] = labelled_;
  state["correct"] = correct_;
  state["since"] = since_;
  state["first_losses"] = first_losses_;
  state["exploded"] = exploded_;
  state["best_step"] = outcome_.best_step;
  state["bad_epochs"] = bad_epochs_;
  state["best"] = !best_.empty();
  state["retried"] = retried_;
  state["reached"] = reached_;
  state["stopped_early"] = outcome_.stopped_early;
  state["peak_bytes"] = std::max(outcome_.peak_bytes, lanes_->peak_bytes());
  const std::vector<std::string> blocked = lanes_->Blocked();
  state["blocked"] = blocked.empty() ? outcome_.blocked : blocked;
  state["notes"] = outcome_.notes;
  // What JSON cannot say (infinity, NaN) goes in an array, in float64 as pairs.
  std::vector<float> numbers;
  const auto put = [&numbers](double v) {
    float halves[2];
    std::memcpy(halves, &v, sizeof v);
    numbers.insert(numbers.end(), halves, halves + 2);
  };
  put(best_loss_);
  for (const CurvePoint& point : outcome_.curve) {
    put(static_cast<double>(point.step));
    for (const double v : {point.epoch, point.rate, point.loss, point.accuracy,
                           point.validation_loss, point.validation_accuracy}) {
      put(v);
    }
  }
  checkpoint.arrays.push_back(std::move(numbers));
  state["parameters"] = nlohmann::json::array();
  const auto& parameters = trainable_.parameters();
  for (size_t p = 0; p < parameters.size(); ++p) {
    state["parameters"].push_back(parameters[p].name);
    checkpoint.arrays.push_back(parameters[p].values);
    checkpoint.arrays.emplace_back(parameters[p].mask.begin(), parameters[p].mask.end());
    checkpoint.arrays.push_back(parameters[p].grid ? parameters[p].grid->scales
                                                   : std::vector<float>());
    for (const Moments* moments : {&moments_[p], &scale_moments_[p]}) {
      checkpoint.arrays.push_back(moments->first);
      checkpoint.arrays.push_back(moments->second);
    }
  }
  for (const Trainable::Statistic& statistic : trainable_.statistics()) {
    checkpoint.arrays.push_back(statistic.values);
  }
  for (const std::vector<float>& best : best_) checkpoint.arrays.push_back(best);
  return WriteCheckpoint(checkpoint);
}

absl::Status TrainRun::ResumeArrays(Checkpoint* checkpoint) {
  std::vector<std::vector<float>>& arrays = checkpoint->arrays;
  auto& parameters = trainable_.parameters();
  const auto wrong = [](absl::string_view what) {
    return absl::InvalidArgumentError(
        absl::StrCat("the checkpoint is of another training run: ", what));
  };
  size_t scales = 0;
  for (const Parameter& parameter : parameters) scales += parameter.grid ? 1 : 0;
  const size_t statistics = trainable_.statistics().size();
  const size_t own = 1 + parameters.size() * 7 + statistics;
  const bool best = checkpoint->state.value("best", false);
  if (arrays.size() != own + (best ? parameters.size() + scales + statistics : 0)) {
    return wrong("it has another number of arrays");
  }
  size_t at = 1;
  // Takes the next array, which has `size` elements, or none where it may be empty.
  const auto take = [&](size_t size, bool may_be_empty, std::vector<float>* out) {
    std::vector<float>& array = arrays[at++];
    if (array.size() != size && !(may_be_empty && array.empty())) return false;
    *out = std::move(array);
    return true;
  };
  std::vector<float> mask;
  std::vector<float> no_scales;
  for (size_t p = 0; p < parameters.size(); ++p) {
    Parameter& parameter = parameters[p];
    const size_t size = parameter.values.size();
    std::vector<float>& grid = parameter.grid ? parameter.grid->scales : no_scales;
    const size_t grid_size = grid.size();
    const bool fits = checkpoint->state["parameters"][p] == parameter.name &&
                      take(size, false, &parameter.values) && take(size, true, &mask) &&
                      take(grid_size, false, &grid) && take(size, true, &moments_[p].first) &&
                      take(size, true, &moments_[p].second) &&
                      take(grid_size, true, &scale_moments_[p].first) &&
                      take(grid_size, true, &scale_moments_[p].second);
    if (!fits) return wrong(absl::StrCat("'", parameter.name, "' differs"));
    parameter.mask.assign(mask.begin(), mask.end());
  }
  for (Trainable::Statistic& statistic : trainable_.statistics()) {
    if (!take(statistic.values.size(), false, &statistic.values)) {
      return wrong(absl::StrCat("'", statistic.name, "' differs"));
    }
  }
  if (!best) return absl::OkStatus();
  Snapshot();
  for (std::vector<float>& values : best_) {
    if (!take(values.size(), false, &values)) return wrong("its best values differ");
  }
  return absl::OkStatus();
}

void TrainRun::ResumeNumbers(const nlohmann::json& state, const std::vector<float>& numbers) {
  schedule_.rate = state.value("rate", schedule_.rate);
  loss_sum_ = state.value("loss_sum", 0.0);
  labelled_ = state.value("labelled", 0.0);
  correct_ = state.value("correct", 0.0);
  since_ = state.value("since", int64_t{0});
  first_losses_ = state.value("first_losses", 0.0);
  exploded_ = state.value("exploded", int64_t{0});
  retried_ = state.value("retried", false);
  outcome_.best_step = state.value("best_step", int64_t{-1});
  bad_epochs_ = state.value("bad_epochs", int64_t{0});
  outcome_.stopped_early = state.value("stopped_early", false);
  outcome_.peak_bytes = state.value("peak_bytes", int64_t{0});
  outcome_.blocked = state.value("blocked", std::vector<std::string>());
  outcome_.notes = state.value("notes", std::vector<std::string>());
  size_t place = 0;
  const auto get = [&numbers, &place] {
    double v = 0;
    if (place + 2 <= numbers.size()) std::memcpy(&v, &numbers[place], sizeof v);
    place += 2;
    return v;
  };
  best_loss_ = get();
  while (place + 14 <= numbers.size()) {
    CurvePoint& point = outcome_.curve.emplace_back();
    point.step = static_cast<int64_t>(get());
    for (double* v : {&point.epoch, &point.rate, &point.loss, &point.accuracy,
                      &point.validation_loss, &point.validation_accuracy}) {
      *v = get();
    }
  }
}

absl::Status TrainRun::Resume(const std::string& bytes) {
  ASSIGN_OR_RETURN(Checkpoint checkpoint, ReadCheckpoint(bytes));
  try {
    const nlohmann::json& state = checkpoint.state;
    const auto reached = state.at("reached").get<std::vector<char>>();
    const auto step = state.at("step").get<int64_t>();
    const auto total = state.at("total").get<int64_t>();
    const auto micro = state.at("micro").get<int64_t>();
    // Less than was planned where it stopped early.
    const bool fits = state.at("seed").get<uint64_t>() == options_.seed &&
                      state.at("parameters").size() == trainable_.parameters().size() &&
                      reached.size() == reached_.size() && total >= 1 && total <= total_ &&
                      step >= 0 && step <= total && micro >= 1 && micro <= micro_;
    if (!fits) return absl::InvalidArgumentError("the checkpoint is of another training run");
    RETURN_IF_ERROR(ResumeArrays(&checkpoint));
    ResumeNumbers(state, checkpoint.arrays[0]);
    reached_ = reached;
    step_ = step;
    total_ = total;
    micro_ = micro;
  } catch (const nlohmann::json::exception& e) {
    return absl::InvalidArgumentError(absl::StrCat("the checkpoint is damaged: ", e.what()));
  }
  if (hooks_.resumed) hooks_.resumed(step_, total_);
  return absl::OkStatus();
}

// As before the first step, but for the learning rate and what was noted.
void TrainRun::StartOver() {
  trainable_.parameters() = start_;
  trainable_.statistics() = start_statistics_;
  const size_t count = start_.size();
  moments_.assign(count, {});
  scale_moments_.assign(count, {});
  reached_.assign(count, 0);
  step_ = 0;
  next_for_ = -1;
  first_losses_ = 0;
  exploded_ = 0;
  outcome_.curve.clear();
  outcome_.best_step = -1;
  best_.clear();
  best_loss_ = INFINITY;
  bad_epochs_ = 0;
  loss_sum_ = labelled_ = correct_ = 0;
  since_ = 0;
}

}  // namespace lathe::engine
