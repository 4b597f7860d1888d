#include "worker/engine/methods/gradual_pruning.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "worker/engine/methods/magnitude_selection.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {
namespace {

// The sparsity has its last value after this share of the steps.
constexpr double kRising = 0.6;
// Masks are made so often while it rises.
constexpr int64_t kTimes = 50;

}  // namespace

double GradualPruning::SparsityAt(double start, double final, int64_t done, int64_t total) {
  const double n = std::max(1.0, kRising * static_cast<double>(total));
  const double left = std::max(0.0, 1 - static_cast<double>(done) / n);
  return final + (start - final) * left * left * left;
}

absl::Status GradualPruning::Apply(int64_t done, int64_t total,
                                   std::vector<Parameter>& parameters) {
  const auto end = static_cast<int64_t>(std::ceil(kRising * static_cast<double>(total)));
  const int64_t every = std::max<int64_t>(1, end / kTimes);
  if (done > end || (done % every != 0 && done != end)) return absl::OkStatus();
  std::vector<Parameter*> chosen;
  for (Parameter& parameter : parameters) {
    if (!parameter.grid && std::find(plan_->constants.begin(), plan_->constants.end(),
                                     parameter.name) != plan_->constants.end()) {
      chosen.push_back(&parameter);
    }
  }
  const double sparsity = SparsityAt(0, plan_->sparsity, done, total);
  const auto prune = [&](const std::vector<Parameter*>& together) {
    std::vector<Tensor> tensors;
    std::vector<const Tensor*> pointers;
    int64_t elements = 0;
    for (const Parameter* parameter : together) {
      tensors.push_back(Tensor::FromFloats(parameter->name, parameter->dims, parameter->values));
      elements += parameter->size();
    }
    for (const Tensor& tensor : tensors) pointers.push_back(&tensor);
    const auto count =
        static_cast<int64_t>(std::nearbyint(sparsity * static_cast<double>(elements)));
    ZeroSmallest(pointers, count, parallel_, [&](size_t i, ZeroedTensor zeroed) {
      Parameter& parameter = *together[i];
      std::memcpy(parameter.values.data(), zeroed.data.view().data(),
                  parameter.values.size() * sizeof(float));
      parameter.mask.resize(parameter.values.size());
      for (size_t k = 0; k < parameter.values.size(); ++k) {
        parameter.mask[k] = parameter.values[k] != 0;
      }
    });
  };
  if (plan_->global) {
    if (!chosen.empty()) prune(chosen);
  } else {
    for (Parameter* parameter : chosen) prune({parameter});
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
