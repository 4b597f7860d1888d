#include "worker/engine/ops/forward/elementwise.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "worker/engine/ops/forward/map_elements.h"
#include "worker/engine/ops/forward/run_node.h"

namespace lathe::engine {
namespace {

// Runs one node on values that live in the run's memory.
class ForwardTest : public testing::Test {
 protected:
  ForwardTest() { memory_.BeginRun("test"); }

  Value Floats(Shape dims, const std::vector<float>& elements, Layout layout = Layout::kPlain) {
    Value value;
    value.kind = Value::Kind::kTensor;
    value.dtype = DType::kFloat;
    value.dims = std::move(dims);
    value.layout = layout;
    value.buffer = *memory_.Allocate(static_cast<int64_t>(elements.size() * sizeof(float)));
    value.data = value.buffer->data();
    std::copy(elements.begin(), elements.end(), reinterpret_cast<float*>(value.buffer->data()));
    return value;
  }

  // The inputs are handed over, as the executor does at a value's last use.
  absl::StatusOr<Value> Run(const std::string& op, std::vector<Value> inputs) {
    Node node;
    node.op_type = op;
    node.inputs.resize(inputs.size(), "x");
    node.outputs = {"y"};
    std::vector<Value> outputs(1);
    std::vector<const ValueFact*> constants(inputs.size(), nullptr);
    std::unique_ptr<NodeState> state;
    NodeCall call;
    call.node = &node;
    call.opset = 20;
    call.rule = FindOpRule("", op);
    call.inputs = std::span<Value>(inputs);
    call.constants = constants;
    call.outputs = std::span<Value>(outputs);
    call.memory = &memory_;
    call.state = &state;
    const absl::Status status = RunNode(*FindForward("", op), call);
    if (!status.ok()) return status;
    return outputs[0];
  }

  static std::vector<float> Stored(const Value& value) {
    const auto* data = reinterpret_cast<const float*>(value.data);
    return {data, data + value.bytes() / static_cast<int64_t>(sizeof(float))};
  }

  ActivationMemory memory_{1 << 20};
};

TEST_F(ForwardTest, ASumTakesTheMemoryOfAnOperandThatNobodyElseNeeds) {
  Value a = Floats({3}, {1, 2, 3});
  Value b = Floats({2, 3}, {10, 20, 30, 40, 50, 60});
  const char* place = b.data;
  std::vector<Value> inputs;
  inputs.push_back(std::move(a));
  inputs.push_back(std::move(b));
  const auto sum = Run("Add", std::move(inputs));
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(sum->data, place);
  EXPECT_EQ(Stored(*sum), (std::vector<float>{11, 22, 33, 41, 52, 63}));
}

TEST_F(ForwardTest, AnOperandThatIsStillNeededIsLeftAsItIs) {
  const Value a = Floats({3}, {1, 2, 3});
  for (const char* op : {"Add", "Sub", "Mul", "Div", "Max"}) {
    const auto result = Run(op, {a, a});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_NE(result->data, a.data);
  }
  for (const char* op : {"Relu", "Neg", "Sigmoid", "Clip"}) ASSERT_TRUE(Run(op, {a}).ok());
  EXPECT_EQ(Stored(a), (std::vector<float>{1, 2, 3}));
}

// [1, 3, 1, 2] in blocks of 8: channels 0, 1, 2 and five of zeros, for each of two pixels.
std::vector<float> Blocks() { return {1, 2, 3, 0, 0, 0, 0, 0, 4, 5, 6, 0, 0, 0, 0, 0}; }

TEST_F(ForwardTest, BlockedOperandsAreAddedAsTheyLie) {
  const Value a = Floats({1, 3, 1, 2}, Blocks(), Layout::kBlocked8);
  const auto sum = Run("Add", {a, a});
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(sum->layout, Layout::kBlocked8);
  EXPECT_EQ(Stored(*sum), (std::vector<float>{2, 4, 6, 0, 0, 0, 0, 0, 8, 10, 12, 0, 0, 0, 0, 0}));
}

TEST_F(ForwardTest, ABlockedGateBroadcastsOverPixels) {
  const Value a = Floats({1, 3, 1, 2}, Blocks(), Layout::kBlocked8);
  const Value gate = Floats({1, 3, 1, 1}, {2, 3, 4, 0, 0, 0, 0, 0}, Layout::kBlocked8);
  const auto product = Run("Mul", {a, gate});
  ASSERT_TRUE(product.ok()) << product.status();
  EXPECT_EQ(product->layout, Layout::kBlocked8);
  EXPECT_EQ(Stored(*product),
            (std::vector<float>{2, 6, 12, 0, 0, 0, 0, 0, 8, 15, 24, 0, 0, 0, 0, 0}));
}

TEST_F(ForwardTest, ABlockedAndAPlainOperandMeetInPlainLayout) {
  const Value a = Floats({1, 3, 1, 2}, Blocks(), Layout::kBlocked8);
  const Value bias = Floats({1, 3, 1, 1}, {10, 20, 30});
  const auto sum = Run("Add", {a, bias});
  ASSERT_TRUE(sum.ok()) << sum.status();
  EXPECT_EQ(sum->layout, Layout::kPlain);
  EXPECT_EQ(Stored(*sum), (std::vector<float>{11, 14, 22, 25, 33, 36}));
  // 0 / 0 would leave NaN past the channels.
  const auto quotient = Run("Div", {a, a});
  ASSERT_TRUE(quotient.ok()) << quotient.status();
  EXPECT_EQ(quotient->layout, Layout::kPlain);
  EXPECT_EQ(Stored(*quotient), std::vector<float>(6, 1));
}

TEST_F(ForwardTest, WhatLiesPastTheChannelsStaysZero) {
  for (const char* op : {"Sigmoid", "Exp", "Cos", "Log", "Reciprocal", "HardSigmoid", "Softplus"}) {
    const Value a = Floats({1, 3, 1, 2}, Blocks(), Layout::kBlocked8);
    const auto result = Run(op, {a});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->layout, Layout::kBlocked8);
    const std::vector<float> stored = Stored(*result);
    for (size_t i = 0; i < stored.size(); ++i) {
      if (i % 8 < 3) continue;
      EXPECT_EQ(stored[i], 0) << op << " at " << i;
    }
  }
}

TEST(BroadcastWalkTest, RunsAreAsLongAsTheInputsAllow) {
  struct Case {
    Shape out;
    Shape a;
    Shape b;
    int64_t run;
  };
  const Case cases[] = {{{2, 3, 4}, {2, 3, 4}, {2, 3, 4}, 24}, {{2, 3, 4}, {2, 3, 4}, {1}, 24},
                        {{2, 3, 4}, {2, 3, 4}, {4}, 4},        {{2, 3, 4}, {2, 3, 4}, {3, 1}, 4},
                        {{2, 3, 4}, {2, 1, 1}, {3, 4}, 12},    {{}, {}, {}, 1},
                        {{2, 1, 4}, {2, 1, 4}, {2, 1, 4}, 8}};
  for (const Case& c : cases) {
    const auto walk = BroadcastWalk<2>::Make(c.out, {&c.a, &c.b});
    ASSERT_TRUE(walk.has_value());
    EXPECT_EQ(walk->run(), c.run);
  }
}

TEST(BroadcastWalkTest, AnEmptyShapeHasNoRun) {
  const Shape out = {0, 3};
  const Shape a = {1, 3};
  const auto walk = BroadcastWalk<1>::Make(out, {&a});
  ASSERT_TRUE(walk.has_value());
  walk->ForEachRun([](int64_t, const auto&) { FAIL(); });
}

TEST(BroadcastWalkTest, AnInputMustBroadcast) {
  const Shape out = {2, 3};
  for (const Shape& a : {Shape{2}, Shape{3, 3}, Shape{1, 2, 3}, Shape{2, 0}}) {
    EXPECT_FALSE(BroadcastWalk<1>::Make(out, {&a}).has_value());
  }
}

TEST(SaturatedTest, NearestOfTheRange) {
  EXPECT_EQ(Saturated<int8_t>(300), 127);
  EXPECT_EQ(Saturated<int8_t>(-300), -128);
  EXPECT_EQ(Saturated<uint8_t>(-1), 0);
  EXPECT_EQ(Saturated<int64_t>(1e30), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(Saturated<uint64_t>(1e30), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(Saturated<int32_t>(std::nan("")), 0);
  EXPECT_EQ(Saturated<int32_t>(-1.9), -1);
}

}  // namespace
}  // namespace lathe::engine
