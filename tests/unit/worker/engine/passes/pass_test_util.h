// Runs a model as written and after a pass, for tests of rewriting passes.
#ifndef LATHE_TESTS_UNIT_WORKER_ENGINE_PASSES_PASS_TEST_UTIL_H_
#define LATHE_TESTS_UNIT_WORKER_ENGINE_PASSES_PASS_TEST_UTIL_H_

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "tests/support/graph_builder.h"
#include "worker/engine/run/executor.h"

namespace lathe::engine::testing {

// The first output on floats of these shapes, node by node.
inline std::vector<float> RunPlainly(const Model& model,
                                     const std::map<std::string, Shape>& shapes) {
  ExecutorOptions options;
  options.optimize = false;
  auto executor = Executor::Make(model, options);
  EXPECT_TRUE(executor.ok()) << executor.status();
  if (!executor.ok()) return {};
  std::map<std::string, std::vector<float>> data;
  std::map<std::string, Value> inputs;
  for (const auto& [name, dims] : shapes) {
    data[name] = Values(Elements(dims));
    // Wide enough to reach the bends of activations.
    for (float& value : data[name]) value *= 8;
    inputs[name] = Value::Borrow(DType::kFloat, dims, data[name].data());
  }
  auto outputs = (*executor)->Run(inputs);
  EXPECT_TRUE(outputs.ok()) << outputs.status();
  if (!outputs.ok()) return {};
  const auto floats = (*outputs)[0].As<float>();
  return {floats.begin(), floats.end()};
}

// Sums of some hundred products of numbers up to 8 in another order: 1e-5 of the largest result is
// over ten times what float32 rounding gives.
inline void ExpectSame(const std::vector<float>& wanted, const std::vector<float>& got) {
  ASSERT_EQ(wanted.size(), got.size());
  ASSERT_FALSE(wanted.empty());
  float largest = 1;
  for (const float value : wanted) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_NEAR(wanted[i], got[i], 1e-5f * largest) << "element " << i;
  }
}

}  // namespace lathe::engine::testing

#endif  // LATHE_TESTS_UNIT_WORKER_ENGINE_PASSES_PASS_TEST_UTIL_H_
