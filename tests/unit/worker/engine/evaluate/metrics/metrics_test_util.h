// Arrays and labels that own their values, for the tests of metrics.
#ifndef LATHE_TESTS_UNIT_WORKER_ENGINE_EVALUATE_METRICS_METRICS_TEST_UTIL_H_
#define LATHE_TESTS_UNIT_WORKER_ENGINE_EVALUATE_METRICS_METRICS_TEST_UTIL_H_

#include <string>
#include <utility>
#include <vector>

#include "worker/engine/evaluate/metrics/arrays.h"

namespace lathe::engine::testing {

struct Output {
  Output(Shape shape, std::vector<float> given, std::string called = "y")
      : dims(std::move(shape)), values(std::move(given)), name(std::move(called)) {}

  NamedArray array() const { return {name, {dims, values}}; }

  Shape dims;
  std::vector<float> values;
  std::string name;
};

struct Labels {
  LabelBatch batch() const {
    LabelBatch labels;
    if (!id_dims.empty()) labels.ids = IntArray{id_dims, ids};
    if (!value_dims.empty()) labels.values = FloatArray{value_dims, values};
    labels.weights = weights;
    return labels;
  }

  Shape id_dims;
  std::vector<int64_t> ids;
  Shape value_dims;
  std::vector<float> values;
  std::vector<float> weights;
};

inline Labels Ids(Shape dims, std::vector<int64_t> ids, std::vector<float> weights = {}) {
  return {std::move(dims), std::move(ids), {}, {}, std::move(weights)};
}

inline Labels Values(Shape dims, std::vector<float> values) {
  return {{}, {}, std::move(dims), std::move(values), {}};
}

}  // namespace lathe::engine::testing

#endif  // LATHE_TESTS_UNIT_WORKER_ENGINE_EVALUATE_METRICS_METRICS_TEST_UTIL_H_
