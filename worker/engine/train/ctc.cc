#include "worker/engine/train/ctc.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lathe::engine {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

double LogAdd(double a, double b) {
  if (a == kNever) return b;
  if (b == kNever) return a;
  return std::max(a, b) + std::log1p(std::exp(-std::abs(a - b)));
}

}  // namespace

absl::Status CtcLoss(const Value& scores, std::span<const int64_t> labels, int64_t most,
                     int64_t size, int64_t blank, const std::function<double(int64_t)>& share,
                     std::span<float> grad, double* loss) {
  if (scores.dims.size() != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("loss ctc needs scores [examples, frames, classes] or [frames, examples, "
                     "classes], not ",
                     Describe(scores)));
  }
  const bool frames_first = scores.dims[0] != size && scores.dims[1] >= size;
  const int64_t frames = scores.dims[frames_first ? 0 : 1];
  const int64_t batch = scores.dims[frames_first ? 1 : 0];
  const int64_t classes = scores.dims[2];
  if (batch < size || classes < 2) {
    return absl::InvalidArgumentError(
        absl::StrCat(size, " texts do not fit scores of ", Describe(scores)));
  }
  if (blank < 0) blank = classes - 1;
  const float* z = scores.As<float>().data();
  std::vector<double> log_p(static_cast<size_t>(frames * classes));
  for (int64_t n = 0; n < size; ++n) {
    std::vector<int64_t> path = {blank};  // blanks between all symbols
    for (int64_t i = 0; i < most; ++i) {
      const int64_t label = labels[n * most + i];
      if (label < 0) break;
      if (label >= classes || label == blank) {
        return absl::InvalidArgumentError(absl::StrCat("symbol ", label, " of example ", n,
                                                       " is not among ", classes,
                                                       " classes without the blank ", blank));
      }
      path.push_back(label);
      path.push_back(blank);
    }
    const auto at = [&](int64_t t) {
      return (frames_first ? t * batch + n : n * frames + t) * classes;
    };
    for (int64_t t = 0; t < frames; ++t) {
      double peak = kNever;
      for (int64_t c = 0; c < classes; ++c)
        peak = std::max(peak, static_cast<double>(z[at(t) + c]));
      double sum = 0;
      for (int64_t c = 0; c < classes; ++c)
        sum += std::exp(static_cast<double>(z[at(t) + c]) - peak);
      for (int64_t c = 0; c < classes; ++c) {
        log_p[t * classes + c] = static_cast<double>(z[at(t) + c]) - peak - std::log(sum);
      }
    }
    const auto states = static_cast<int64_t>(path.size());
    const auto skips = [&](int64_t s) {
      return s >= 2 && path[s] != blank && path[s] != path[s - 2];
    };
    std::vector<double> forward(static_cast<size_t>(frames * states), kNever);
    std::vector<double> backward(forward.size(), kNever);
    for (int64_t s = 0; s < std::min<int64_t>(2, states); ++s) forward[s] = log_p[path[s]];
    for (int64_t t = 1; t < frames; ++t) {
      for (int64_t s = 0; s < states; ++s) {
        double sum = forward[(t - 1) * states + s];
        if (s > 0) sum = LogAdd(sum, forward[(t - 1) * states + s - 1]);
        if (skips(s)) sum = LogAdd(sum, forward[(t - 1) * states + s - 2]);
        if (sum != kNever) forward[t * states + s] = sum + log_p[t * classes + path[s]];
      }
    }
    // backward[t, s]: what follows frame t from state s, frame t itself left out.
    for (int64_t s = std::max<int64_t>(0, states - 2); s < states; ++s) {
      backward[(frames - 1) * states + s] = 0;
    }
    for (int64_t t = frames - 1; t-- > 0;) {
      for (int64_t s = 0; s < states; ++s) {
        double sum = kNever;
        for (int64_t next = s; next <= std::min(states - 1, s + 2); ++next) {
          if (next == s + 2 && !skips(next)) continue;
          const double rest = backward[(t + 1) * states + next];
          if (rest != kNever) sum = LogAdd(sum, rest + log_p[(t + 1) * classes + path[next]]);
        }
        backward[t * states + s] = sum;
      }
    }
    double total = forward[(frames - 1) * states + states - 1];
    if (states > 1) total = LogAdd(total, forward[(frames - 1) * states + states - 2]);
    if (total == kNever) continue;
    const double weight = share(n);
    *loss -= weight * total;
    std::vector<double> seen(static_cast<size_t>(classes));
    for (int64_t t = 0; t < frames; ++t) {
      std::fill(seen.begin(), seen.end(), kNever);
      for (int64_t s = 0; s < states; ++s) {
        const double a = forward[t * states + s];
        const double b = backward[t * states + s];
        if (a != kNever && b != kNever) seen[path[s]] = LogAdd(seen[path[s]], a + b);
      }
      for (int64_t c = 0; c < classes; ++c) {
        const double here = seen[c] == kNever ? 0 : std::exp(seen[c] - total);
        grad[at(t) + c] = static_cast<float>(weight * (std::exp(log_p[t * classes + c]) - here));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
