#include "worker/engine/train/loss.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/engine/train/ctc.h"

namespace lathe::engine {
namespace {

bool Ignored(int64_t label) { return label == -1 || label == -100; }

std::string Dims(const Shape& dims) { return absl::StrCat("[", absl::StrJoin(dims, ", "), "]"); }

// Scores seen as [outer, classes, inner]: `outer` counts examples first.
struct Scores {
  int64_t outer = 1;
  int64_t classes = 1;
  int64_t inner = 1;
  int64_t positions_an_example = 1;
};

int64_t Count(const Shape& dims, size_t from, size_t to) {
  int64_t out = 1;
  for (size_t i = from; i < to; ++i) out *= dims[i];
  return out;
}

// Where the class axis of scores is, for labels of the shape `labels` without the axis of examples:
// the last axis or, where the labels' positions say so, the second. Without labels, the last.
absl::StatusOr<Scores> ReadScores(const Value& output, const Shape* labels) {
  Shape dims = output.dims;
  if (dims.size() < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("scores must be [examples, classes, ...], not ", Dims(dims)));
  }
  // [N, C, 1, 1] are the scores of one position.
  while (dims.size() > 2 && dims.back() == 1 && (labels == nullptr || labels->empty())) {
    dims.pop_back();
  }
  size_t axis = dims.size() - 1;
  if (labels != nullptr && !labels->empty()) {
    const Shape last(dims.begin() + 1, dims.end() - 1);
    const Shape second(dims.begin() + 2, dims.end());
    if (*labels == last) {
      axis = dims.size() - 1;
    } else if (*labels == second) {
      axis = 1;
    } else {
      return absl::InvalidArgumentError(absl::StrCat(
          "labels of shape ", Dims(*labels), " an example do not fit scores of shape ",
          Dims(output.dims), ": expected one label for each position, the classes last or second"));
    }
  } else if (labels != nullptr && Count(dims, 2, dims.size()) != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("one label an example does not fit scores of shape ", Dims(output.dims)));
  }
  Scores scores;
  scores.outer = Count(dims, 0, axis);
  scores.classes = dims[axis];
  scores.inner = Count(dims, axis + 1, dims.size());
  scores.positions_an_example =
      std::max<int64_t>(1, scores.outer / std::max<int64_t>(1, dims[0])) * scores.inner;
  return scores;
}

// log softmax of `classes` scores, `step` apart, over T.
void LogSoftmax(const float* z, int64_t classes, int64_t step, double temperature, double* out) {
  double most = -INFINITY;
  for (int64_t c = 0; c < classes; ++c) {
    out[c] = static_cast<double>(z[c * step]) / temperature;
    most = std::max(most, out[c]);
  }
  double sum = 0;
  for (int64_t c = 0; c < classes; ++c) sum += std::exp(out[c] - most);
  const double shift = most + std::log(sum);
  for (int64_t c = 0; c < classes; ++c) out[c] -= shift;
}

class Computation {
 public:
  Computation(const LossOptions& options, const Targets& targets, const LossCounts& total,
              std::span<const Value> outputs, size_t which,
              const std::function<absl::StatusOr<Value>(Shape)>& make, std::vector<Value>* grads)
      : options_(options),
        targets_(targets),
        total_(total),
        outputs_(outputs),
        which_(which),
        make_(make),
        grads_(grads) {}

  absl::StatusOr<LossResult> Run() {
    grads_->assign(outputs_.size(), Value());
    switch (options_.kind) {
      case LossKind::kMse:
        RETURN_IF_ERROR(Mse());
        break;
      case LossKind::kFeature:
        RETURN_IF_ERROR(Feature());
        break;
      case LossKind::kCtc:
        RETURN_IF_ERROR(Ctc());
        break;
      default:
        RETURN_IF_ERROR(Classes());
        break;
    }
    return result_;
  }

 private:
  double WeightOf(int64_t example) const {
    return targets_.weights.empty() ? 1.0 : static_cast<double>(targets_.weights[example]);
  }
  // A gradient of zeros for output `i`.
  absl::StatusOr<std::span<float>> Grad(size_t i) {
    ASSIGN_OR_RETURN((*grads_)[i], make_(outputs_[i].dims));
    const std::span<float> out = (*grads_)[i].Mutable<float>();
    std::fill(out.begin(), out.end(), 0.0f);
    return out;
  }
  absl::Status CheckFloat(const Value& value) const {
    if (value.IsTensor() && value.dtype == DType::kFloat) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("training needs float32 outputs, not ", Describe(value)));
  }

  absl::Status Mse();
  absl::Status Feature();
  absl::Status Ctc();
  absl::Status Classes();
  void Position(const float* z, const float* teacher, int64_t step, int64_t classes, int64_t label,
                double weight, double label_share, double teacher_share, float* g);
  void Binary(float z, const float* teacher, int64_t label, double weight, double label_share,
              double teacher_share, float* g);

  const LossOptions& options_;
  const Targets& targets_;
  const LossCounts& total_;
  const std::span<const Value> outputs_;
  const size_t which_;
  const std::function<absl::StatusOr<Value>(Shape)>& make_;
  std::vector<Value>* const grads_;
  LossResult result_;
  std::vector<double> log_student_;
  std::vector<double> log_soft_;
  std::vector<double> log_teacher_;
};

absl::Status Computation::Mse() {
  const Value& y = outputs_[which_];
  RETURN_IF_ERROR(CheckFloat(y));
  if (targets_.labels == nullptr || targets_.labels->dtype != DType::kFloat) {
    return absl::InvalidArgumentError("loss mse needs float targets under the key 'labels'");
  }
  const int64_t row = y.size() / std::max<int64_t>(1, y.dims.empty() ? 1 : y.dims[0]);
  if (targets_.labels->size() != row * targets_.size) {
    return absl::InvalidArgumentError(absl::StrCat("targets of shape ", Dims(targets_.labels->dims),
                                                   " do not fit an output of shape ",
                                                   Dims(y.dims)));
  }
  const Value labels = Value::FromTensor(*targets_.labels);
  const float* t = labels.As<float>().data();
  ASSIGN_OR_RETURN(const std::span<float> g, Grad(which_));
  for (int64_t n = 0; n < targets_.size; ++n) {
    const double share = WeightOf(n) / (total_.examples * static_cast<double>(row));
    for (int64_t i = n * row; i < (n + 1) * row; ++i) {
      const double d = static_cast<double>(y.As<float>()[i]) - static_cast<double>(t[i]);
      result_.loss += share * d * d;
      g[i] = static_cast<float>(2 * share * d);
    }
  }
  return absl::OkStatus();
}

absl::Status Computation::Feature() {
  if (targets_.teacher.size() != outputs_.size()) {
    return absl::InvalidArgumentError("the teacher has other outputs than the student");
  }
  size_t count = 0;
  for (size_t o = 0; o < outputs_.size(); ++o) {
    count += outputs_[o].IsTensor() && outputs_[o].dtype == DType::kFloat && outputs_[o].size() > 0;
  }
  if (count == 0) return absl::InvalidArgumentError("the model has no float32 output");
  for (size_t o = 0; o < outputs_.size(); ++o) {
    const Value& y = outputs_[o];
    if (!y.IsTensor() || y.dtype != DType::kFloat || y.size() == 0) continue;
    const Value& t = targets_.teacher[o];
    if (t.dims != y.dims || t.dtype != DType::kFloat) {
      return absl::InvalidArgumentError(absl::StrCat("the teacher's output ", o, " is ",
                                                     Describe(t), ", the student's ", Describe(y)));
    }
    const int64_t rows = std::max<int64_t>(1, y.dims.empty() ? 1 : y.dims[0]);
    const int64_t row = y.size() / rows;
    // An output whose first axis is another than that of the examples counts whole.
    const bool by_example = rows == targets_.rows;
    const int64_t live = by_example ? targets_.size : rows;
    double energy = 0;
    for (int64_t i = 0; i < live * row; ++i) {
      const auto v = static_cast<double>(t.As<float>()[i]);
      energy += v * v;
    }
    energy = energy / static_cast<double>(live * row) + 1e-12;
    ASSIGN_OR_RETURN(const std::span<float> g, Grad(o));
    for (int64_t n = 0; n < live; ++n) {
      const double part =
          by_example ? WeightOf(n) : static_cast<double>(targets_.size) / static_cast<double>(live);
      const double share =
          part / (total_.examples * static_cast<double>(row) * energy * static_cast<double>(count));
      for (int64_t i = n * row; i < (n + 1) * row; ++i) {
        const double d =
            static_cast<double>(y.As<float>()[i]) - static_cast<double>(t.As<float>()[i]);
        result_.loss += share * d * d;
        g[i] = static_cast<float>(2 * share * d);
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Computation::Ctc() {
  const Value& y = outputs_[which_];
  RETURN_IF_ERROR(CheckFloat(y));
  if (targets_.labels == nullptr || targets_.labels->dtype != DType::kInt64 ||
      targets_.labels->dims.size() != 2) {
    return absl::InvalidArgumentError(
        "loss ctc needs integer labels [examples, symbols], -1 where a text is shorter");
  }
  ASSIGN_OR_RETURN(const std::span<float> g, Grad(which_));
  const Value labels = Value::FromTensor(*targets_.labels);
  return CtcLoss(
      y, labels.As<int64_t>(), targets_.labels->dims[1], targets_.size, options_.blank,
      [this](int64_t n) { return WeightOf(n) / total_.examples; }, g, &result_.loss);
}

// One position of a classification: adds to the loss, and to the gradient `g` of its scores.
void Computation::Position(const float* z, const float* teacher, int64_t step, int64_t classes,
                           int64_t label, double weight, double label_share, double teacher_share,
                           float* g) {
  const auto n = static_cast<size_t>(classes);
  log_student_.resize(n);
  LogSoftmax(z, classes, step, 1, log_student_.data());
  if (label >= 0) {
    const auto best = std::max_element(log_student_.begin(), log_student_.end());
    result_.labelled += 1;
    result_.correct += best - log_student_.begin() == label;
    if (label_share > 0) {
      const double share = weight * label_share;
      const double off = options_.label_smoothing / static_cast<double>(classes);
      for (int64_t c = 0; c < classes; ++c) {
        const double target = (c == label ? 1 - options_.label_smoothing : 0) + off;
        result_.loss -= share * target * log_student_[c];
        g[c * step] += static_cast<float>(share * (std::exp(log_student_[c]) - target));
      }
    }
  }
  if (teacher == nullptr || teacher_share <= 0) return;
  const double t = options_.temperature;
  const double share = weight * teacher_share * t * t;
  log_soft_.resize(n);
  log_teacher_.resize(n);
  LogSoftmax(z, classes, step, t, log_soft_.data());
  LogSoftmax(teacher, classes, step, t, log_teacher_.data());
  if (options_.kind != LossKind::kDkd || label < 0 || classes < 2) {
    for (int64_t c = 0; c < classes; ++c) {
      const double p = std::exp(log_teacher_[c]);
      result_.loss += share * p * (log_teacher_[c] - log_soft_[c]);
      g[c * step] += static_cast<float>(share / t * (std::exp(log_soft_[c]) - p));
    }
    return;
  }
  // TCKD on (p_y, 1 - p_y) and beta NCKD on the others, renormalized.
  const double ps = std::clamp(std::exp(log_soft_[label]), 1e-12, 1 - 1e-12);
  const double pt = std::clamp(std::exp(log_teacher_[label]), 1e-12, 1 - 1e-12);
  result_.loss += share * (pt * std::log(pt / ps) + (1 - pt) * std::log((1 - pt) / (1 - ps)));
  const double tckd = share / t * (ps - pt);  // with respect to z_y; of others, by their share
  const double rest_s = std::log(1 - ps);
  const double rest_t = std::log(1 - pt);
  for (int64_t c = 0; c < classes; ++c) {
    if (c == label) {
      g[c * step] += static_cast<float>(tckd);
      continue;
    }
    const double qs = std::exp(log_soft_[c] - rest_s);
    const double qt = std::exp(log_teacher_[c] - rest_t);
    result_.loss +=
        share * options_.dkd_beta * qt * (log_teacher_[c] - rest_t - log_soft_[c] + rest_s);
    g[c * step] += static_cast<float>(-tckd * qs + share * options_.dkd_beta / t * (qs - qt));
  }
}

// One score: log(1 + e^-z) for label 1, log(1 + e^z) for 0.
void Computation::Binary(float z, const float* teacher, int64_t label, double weight,
                         double label_share, double teacher_share, float* g) {
  const auto x = static_cast<double>(z);
  const auto softplus = [](double v) {
    return std::max(v, 0.0) + std::log1p(std::exp(-std::abs(v)));
  };
  const auto sigmoid = [](double v) { return 1 / (1 + std::exp(-v)); };
  if (label >= 0) {
    result_.labelled += 1;
    result_.correct += (x > 0) == (label > 0);
    const double e = options_.label_smoothing;
    const double target = (label > 0 ? 1 - e : 0) + e / 2;
    result_.loss += weight * label_share * (softplus(x) - target * x);
    *g += static_cast<float>(weight * label_share * (sigmoid(x) - target));
  }
  if (teacher == nullptr || teacher_share <= 0) return;
  const double t = options_.temperature;
  const double p = sigmoid(static_cast<double>(*teacher) / t);
  const double share = weight * teacher_share * t * t;
  const auto xlogx = [](double v) { return v > 0 ? v * std::log(v) : 0; };
  result_.loss += share * (softplus(x / t) - p * x / t + xlogx(p) + xlogx(1 - p));
  *g += static_cast<float>(share / t * (sigmoid(x / t) - p));
}

absl::Status Computation::Classes() {
  const Value& y = outputs_[which_];
  RETURN_IF_ERROR(CheckFloat(y));
  const bool soft = options_.kind == LossKind::kKl || options_.kind == LossKind::kDkd;
  const Tensor* labels = targets_.labels;
  if (labels != nullptr && labels->dtype != DType::kInt64) {
    return absl::InvalidArgumentError("the loss needs classes as labels, not float targets");
  }
  if (!soft && labels == nullptr) {
    return absl::InvalidArgumentError(
        "loss cross_entropy needs labels: give them under the key 'labels'");
  }
  Shape label_dims;
  if (labels != nullptr) label_dims.assign(labels->dims.begin() + 1, labels->dims.end());
  ASSIGN_OR_RETURN(const Scores scores, ReadScores(y, labels == nullptr ? nullptr : &label_dims));
  const float* teacher = nullptr;
  if (soft) {
    if (targets_.teacher.size() <= which_ || targets_.teacher[which_].dims != y.dims ||
        targets_.teacher[which_].dtype != DType::kFloat) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the teacher's scores must be as the student's, ", Describe(y), ", and are ",
          targets_.teacher.size() <= which_ ? "missing" : Describe(targets_.teacher[which_])));
    }
    teacher = targets_.teacher[which_].As<float>().data();
  }
  ASSIGN_OR_RETURN(const std::span<float> g, Grad(which_));
  const Value label_value = labels == nullptr ? Value() : Value::FromTensor(*labels);
  const double label_part = soft ? 1 - options_.alpha : 1;
  const double label_share = total_.labelled > 0 ? label_part / total_.labelled : 0;
  const double teacher_share =
      soft && total_.examples > 0
          ? options_.alpha / (total_.examples * static_cast<double>(scores.positions_an_example))
          : 0;
  const float* z = y.As<float>().data();
  const int64_t positions = targets_.size * scores.positions_an_example;
  for (int64_t at = 0; at < positions; ++at) {
    const int64_t o = at / scores.inner;
    const int64_t offset = o * scores.classes * scores.inner + at % scores.inner;
    int64_t label = -1;
    if (labels != nullptr) {
      label = label_value.As<int64_t>()[at];
      if (Ignored(label)) {
        label = -1;
      } else if (label < 0 || label >= std::max<int64_t>(2, scores.classes)) {
        return absl::InvalidArgumentError(
            absl::StrCat("label ", label, " is not among ", scores.classes, " classes"));
      }
    }
    const double weight = WeightOf(at / scores.positions_an_example);
    const float* t = teacher == nullptr ? nullptr : teacher + offset;
    if (scores.classes == 1) {
      Binary(z[offset], t, label, weight, label_share, teacher_share, &g[offset]);
    } else {
      Position(z + offset, t, scores.inner, scores.classes, label, weight, label_share,
               teacher_share, &g[offset]);
    }
  }
  return absl::OkStatus();
}

}  // namespace

LossCounts& LossCounts::operator+=(const LossCounts& other) {
  examples += other.examples;
  labelled += other.labelled;
  return *this;
}

LossCounts CountTargets(const Targets& targets) {
  LossCounts counts;
  for (int64_t n = 0; n < targets.size; ++n) {
    counts.examples += targets.weights.empty() ? 1.0 : static_cast<double>(targets.weights[n]);
  }
  if (targets.labels == nullptr || targets.labels->dtype != DType::kInt64) return counts;
  const Value labels = Value::FromTensor(*targets.labels);
  const int64_t row = labels.size() / std::max<int64_t>(1, targets.size);
  for (int64_t i = 0; i < labels.size(); ++i) {
    if (Ignored(labels.As<int64_t>()[i])) continue;
    counts.labelled +=
        targets.weights.empty() ? 1.0 : static_cast<double>(targets.weights[i / row]);
  }
  return counts;
}

absl::StatusOr<LossResult> ComputeLoss(const LossOptions& options, const Targets& targets,
                                       const LossCounts& total, std::span<const Value> outputs,
                                       size_t which,
                                       const std::function<absl::StatusOr<Value>(Shape)>& make,
                                       std::vector<Value>* grads) {
  return Computation(options, targets, total, outputs, which, make, grads).Run();
}

}  // namespace lathe::engine
