#include "worker/engine/train/lanes.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/kernels/elementwise.h"

namespace lathe::engine {

bool TeacherCache::Find(const MicroBatch& batch, std::vector<Value>* outputs) const {
  if (!usable_ || known_.empty()) return false;
  for (const int64_t example : batch.examples) {
    if (known_[static_cast<size_t>(example)] == 0) return false;
  }
  outputs->clear();
  for (const Output& output : outputs_) {
    auto data =
        std::make_shared<std::string>(static_cast<size_t>(batch.rows * output.row_bytes), '\0');
    for (int64_t i = 0; i < batch.rows; ++i) {
      const int64_t example = batch.examples[static_cast<size_t>(std::min(i, batch.size - 1))];
      std::memcpy(data->data() + i * output.row_bytes,
                  output.data.data() + example * output.row_bytes,
                  static_cast<size_t>(output.row_bytes));
    }
    Shape dims = output.row;
    dims.insert(dims.begin(), batch.rows);
    Value value = Value::Borrow(output.dtype, std::move(dims), data->data());
    value.keep_alive = data;
    outputs->push_back(std::move(value));
  }
  return true;
}

void TeacherCache::Put(const MicroBatch& batch, std::span<const Value> outputs) {
  if (!usable_ || batch.examples.empty()) return;
  if (known_.empty()) {
    int64_t row_bytes = 0;
    for (const Value& value : outputs) {
      usable_ = usable_ && value.IsTensor() && !value.dims.empty() && value.dims[0] == batch.rows &&
                value.bytes() > 0;
      if (!usable_) return;
      Output output;
      output.dtype = value.dtype;
      output.row.assign(value.dims.begin() + 1, value.dims.end());
      output.row_bytes = value.bytes() / batch.rows;
      row_bytes += output.row_bytes;
      outputs_.push_back(std::move(output));
    }
    usable_ = row_bytes > 0 && examples_ <= max_bytes_ / row_bytes;
    if (!usable_) return;
    for (Output& output : outputs_) {
      output.data.resize(static_cast<size_t>(examples_ * output.row_bytes));
    }
    known_.assign(static_cast<size_t>(examples_), 0);
  }
  for (size_t o = 0; o < outputs.size(); ++o) {
    Shape row(outputs[o].dims.begin() + std::min<size_t>(1, outputs[o].dims.size()),
              outputs[o].dims.end());
    if (o >= outputs_.size() || row != outputs_[o].row) {
      usable_ = false;  // the shape of an example's outputs is not the same for all
      return;
    }
  }
  for (int64_t i = 0; i < batch.size; ++i) {
    for (size_t o = 0; o < outputs.size(); ++o) {
      Output& output = outputs_[o];
      std::memcpy(output.data.data() + batch.examples[i] * output.row_bytes,
                  outputs[o].data + i * output.row_bytes, static_cast<size_t>(output.row_bytes));
    }
    known_[static_cast<size_t>(batch.examples[i])] = 1;
  }
}

absl::Status Lanes::MakeLane(Lane* lane) {
  if (lane->tape == nullptr) {
    std::vector<std::string> wanted;
    for (const Parameter& parameter : trainable_.parameters()) wanted.push_back(parameter.input);
    TapeOptions options;
    options.cancelled = cancelled_;
    if (memory_bytes_ > 0) options.max_activation_bytes = memory_bytes_;
    ASSIGN_OR_RETURN(lane->tape, Tape::Make(trainable_.model(), wanted, options));
  }
  if (teacher_ != nullptr && lane->teacher == nullptr) {
    ExecutorOptions options;
    options.cancelled = cancelled_;
    ASSIGN_OR_RETURN(lane->teacher, Executor::Make(*teacher_, options));
  }
  return absl::OkStatus();
}

absl::Status Lanes::RunOne(const MicroBatch& batch, const LossCounts& total,
                           std::span<const Value> forward, Lane* lane) {
  RETURN_IF_ERROR(MakeLane(lane));
  Targets targets;
  targets.rows = batch.rows;
  targets.size = batch.size;
  targets.labels = batch.labels ? &*batch.labels : nullptr;
  targets.weights = batch.weights;
  lane->teacher_outputs.clear();
  if (teacher_ != nullptr) {
    if (cache_ == nullptr || !cache_->Find(batch, &lane->teacher_outputs)) {
      std::map<std::string, Value> given;
      for (const std::string& name : lane->teacher->input_names()) {
        const auto found = batch.inputs.find(name);
        if (found == batch.inputs.end()) {
          return absl::InvalidArgumentError(
              absl::StrCat("the teacher needs an input '", name, "' that the student has not"));
        }
        given[name] = found->second;
      }
      ASSIGN_OR_RETURN(lane->teacher_outputs, lane->teacher->Run(given));
    }
    targets.teacher = lane->teacher_outputs;
  }
  std::map<std::string, Value> inputs = batch.inputs;
  for (size_t i = 0; i < forward.size(); ++i) {
    inputs[trainable_.parameters()[i].input] = forward[i];
  }
  for (const Trainable::Statistic& statistic : trainable_.statistics()) {
    inputs[statistic.input] = Value::Borrow(DType::kFloat, statistic.dims, statistic.values.data());
  }
  ASSIGN_OR_RETURN(lane->outputs, lane->tape->Forward(inputs));
  const size_t real = lane->outputs.size() - trainable_.statistics().size();
  const std::span<const Value> scores(lane->outputs.data(), real);
  const auto make = [lane](Shape dims) { return lane->tape->NewValue(std::move(dims)); };
  std::vector<Value> grads;
  absl::StatusOr<LossResult> first =
      ComputeLoss(loss_, targets, total, scores, output_, make, &grads);
  if (absl::IsInvalidArgument(first.status())) {
    return WithReason(first.status(), "INVALID_DATASET");
  }
  ASSIGN_OR_RETURN(LossResult loss, std::move(first));
  if (batch.mixed_labels) {
    targets.labels = &*batch.mixed_labels;
    std::vector<Value> other;
    ASSIGN_OR_RETURN(const LossResult second,
                     ComputeLoss(loss_, targets, total, scores, output_, make, &other));
    loss.loss = batch.mix * loss.loss + (1 - batch.mix) * second.loss;
    const auto share = static_cast<float>(batch.mix);
    for (size_t o = 0; o < grads.size(); ++o) {
      if (!grads[o].IsTensor() || !other[o].IsTensor()) continue;
      const std::span<float> g = grads[o].Mutable<float>();
      const std::span<const float> h = other[o].As<float>();
      for (size_t i = 0; i < g.size(); ++i) g[i] = share * g[i] + (1 - share) * h[i];
    }
  }
  lane->result = {loss.loss, loss.labelled, loss.correct};
  grads.resize(lane->outputs.size());
  ASSIGN_OR_RETURN(lane->grads, lane->tape->Backward(std::move(grads)));
  return absl::OkStatus();
}

absl::StatusOr<StepResult> Lanes::Run(std::span<const MicroBatch> batches,
                                      std::span<const Value> forward,
                                      std::vector<std::vector<float>>* grads,
                                      std::vector<std::vector<float>>* statistics,
                                      const std::function<void()>& idle) {
  LossCounts total;
  for (const MicroBatch& batch : batches) {
    Targets targets;
    targets.size = batch.size;
    targets.labels = batch.labels ? &*batch.labels : nullptr;
    targets.weights = batch.weights;
    total += CountTargets(targets);
  }
  const size_t width = std::min<size_t>(batches.size(), static_cast<size_t>(parallel_.threads()));
  if (lanes_.size() < width) lanes_.resize(width);
  const size_t parameters = trainable_.parameters().size();
  grads->resize(parameters);
  for (std::vector<float>& grad : *grads) grad.clear();  // keeps its memory
  statistics->assign(trainable_.statistics().size(), {});
  StepResult sum;
  for (size_t first = 0; first < batches.size(); first += width) {
    const size_t count = std::min(width, batches.size() - first);
    const bool beside = first == 0 && idle != nullptr;
    parallel_.Run(static_cast<int64_t>(count) + (beside ? 1 : 0), [&](int64_t piece) {
      const auto at = static_cast<size_t>(piece);
      if (at == count) return idle();
      Lane& lane = lanes_[at];
      lane.status = RunOne(batches[first + at], total, forward, &lane);
    });
    for (size_t i = 0; i < count; ++i) {
      Lane& lane = lanes_[i];
      RETURN_IF_ERROR(lane.status);
      sum.loss += lane.result.loss;
      sum.labelled += lane.result.labelled;
      sum.correct += lane.result.correct;
      peak_bytes_ = std::max(peak_bytes_, lane.tape->peak_bytes());
      if (cache_ != nullptr && teacher_ != nullptr) {
        cache_->Put(batches[first + i], lane.teacher_outputs);
      }
      const size_t real = lane.outputs.size() - trainable_.statistics().size();
      for (size_t s = 0; s < statistics->size(); ++s) {
        const std::span<const float> next = lane.outputs[real + s].As<float>();
        std::vector<float>& mean = (*statistics)[s];
        mean.resize(next.size());
        const float share = 1.0f / static_cast<float>(batches.size());
        for (size_t k = 0; k < next.size(); ++k) mean[k] += share * next[k];
      }
    }
    parallel_.Run(static_cast<int64_t>(parameters), [&](int64_t p) {
      std::vector<float>& to = (*grads)[static_cast<size_t>(p)];
      for (size_t i = 0; i < count; ++i) {
        const Value& grad = lanes_[i].grads[static_cast<size_t>(p)];
        if (!grad.IsTensor()) continue;
        const std::span<const float> g = grad.As<float>();
        if (to.empty()) {
          to.assign(g.begin(), g.end());
        } else {
          ApplyPair(PairOp::kAdd, to.data(), 1, g.data(), 1, static_cast<int64_t>(g.size()),
                    to.data());
        }
      }
    });
  }
  return sum;
}

std::vector<std::string> Lanes::Blocked() const {
  std::vector<std::string> out;
  std::set<std::string> seen;
  for (const Lane& lane : lanes_) {
    if (lane.tape == nullptr) continue;
    for (const BlockedNode& blocked : lane.tape->Blocked()) {
      std::string line = absl::StrCat(DescribeNode(*blocked.node), ": ", blocked.reason);
      if (seen.insert(line).second) out.push_back(std::move(line));
    }
  }
  return out;
}

}  // namespace lathe::engine
