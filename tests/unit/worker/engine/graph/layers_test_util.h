// What tests of FindWeights share.
#ifndef LATHE_TESTS_UNIT_WORKER_ENGINE_GRAPH_LAYERS_TEST_UTIL_H_
#define LATHE_TESTS_UNIT_WORKER_ENGINE_GRAPH_LAYERS_TEST_UTIL_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/support/graph_builder.h"
#include "worker/engine/graph/layers.h"

namespace lathe::engine {

inline std::vector<std::string> NamesOf(const std::vector<Weight>& weights) {
  std::vector<std::string> names;
  for (const Weight& weight : weights) names.push_back(weight.name);
  return names;
}

// The only weight, which must not be blocked.
inline Weight TheWeight(Model& model) {
  std::vector<Weight> weights = FindWeights(model);
  EXPECT_THAT(weights, ::testing::SizeIs(1));
  if (weights.empty()) return {};
  EXPECT_EQ(weights[0].blocked_reason, "");
  return weights[0];
}

// The reason of the only entry.
inline std::string TheReason(Model& model) {
  const std::vector<Weight> weights = FindWeights(model);
  EXPECT_THAT(weights, ::testing::SizeIs(1));
  return weights.empty() ? "no entry" : weights[0].blocked_reason;
}

}  // namespace lathe::engine

#endif  // LATHE_TESTS_UNIT_WORKER_ENGINE_GRAPH_LAYERS_TEST_UTIL_H_
