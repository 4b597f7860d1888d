// EmitMatMulNBits: what the executor computes from the packed form is the product with the decoded
// weight, for every layout that a weight may have in its source.
#include "worker/engine/passes/emit_matmul_nbits.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/unit/worker/engine/passes/pass_test_util.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/verifier.h"

namespace lathe::engine {
namespace {

using testing::AddInput;
using testing::AddNode;
using testing::AddOutput;
using testing::AddWeight;
using ::testing::ElementsAre;
using testing::ExpectSame;
using testing::NewModel;
using testing::OpTypes;
using testing::RunPlainly;

constexpr int64_t kK = 40;  // not a multiple of the block
constexpr int64_t kN = 6;
constexpr int64_t kBlock = 16;
constexpr int64_t kBlocks = 3;
const Bindings kRows = {{"rows", 5}};

// Integers for a weight whose N rows of K lie as [outer, blocks * block, inner], and what they
// decode to, [N, K].
struct Blocks {
  BlockConstants constants;
  std::vector<float> decoded;
};

Blocks MakeBlocks(bool columns, bool zero_points) {
  Blocks b;
  BlockConstants& c = b.constants;
  c.outer = columns ? 1 : kN;
  c.inner = columns ? kN : 1;
  c.blocks = kBlocks;
  c.block = kBlock;
  c.k = kK;
  c.integers.assign(kN * kBlocks * kBlock, '\0');
  c.scales.assign(kN * kBlocks, 0.0f);
  if (zero_points) c.zero_points.assign(kN * kBlocks, '\0');
  for (int64_t n = 0; n < kN; ++n) {
    const auto at = [&](int64_t k, int64_t length) {
      return static_cast<size_t>(columns ? k * kN + n : n * length + k);
    };
    for (int64_t k = 0; k < kBlocks * kBlock; ++k) {
      const int64_t block = k / kBlock;
      const float scale = static_cast<float>(1 + n + 10 * block) / 64;
      const int zero = zero_points ? static_cast<int>((n + block) % 16) : 0;
      const int q = static_cast<int>((k * 7 + n * 3) % 16) - (zero_points ? 0 : 8);
      c.integers[at(k, kBlocks * kBlock)] = static_cast<char>(q);
      c.scales[at(block, kBlocks)] = scale;
      if (zero_points) c.zero_points[at(block, kBlocks)] = static_cast<char>(zero);
      if (k < kK) b.decoded.push_back(static_cast<float>(q - zero) * scale);
    }
  }
  return b;
}

struct Layer {
  const char* what;
  bool columns;  // K is the first axis
  std::function<void(Graph&)> use;
  std::vector<std::string> ops;  // after
};

// x [rows, K] -> y.
Model Make(const Layer& layer, const std::vector<float>& decoded) {
  Model model = NewModel(21);
  Graph& graph = *model.graph;
  ValueInfo x = testing::Info("x");
  x.dims = std::vector<Dim>(2);
  (*x.dims)[0].symbol = "rows";
  (*x.dims)[1].value = kK;
  graph.inputs.push_back(x);
  std::vector<float> w = decoded;
  if (layer.columns) {
    for (int64_t n = 0; n < kN; ++n) {
      for (int64_t k = 0; k < kK; ++k) w[static_cast<size_t>(k * kN + n)] = decoded[n * kK + k];
    }
  }
  testing::AddInitializer(
      graph, Tensor::FromFloats("w", layer.columns ? Shape{kK, kN} : Shape{kN, kK}, w));
  layer.use(graph);
  AddOutput(graph, "y");
  return model;
}

const Layer kLayers[] = {
    {"a product",
     true,
     [](Graph& g) {
       AddNode(g, "MatMul", {"x", "w"}, {"y"});
     },
     {"MatMulNBits"}},
    {"a product with a turned weight",
     false,
     [](Graph& g) {
       AddNode(g, "Transpose", {"w"}, {"t"}).SetInts("perm", {1, 0});
       AddNode(g, "MatMul", {"x", "t"}, {"y"});
     },
     {"MatMulNBits"}},
    {"a Gemm",
     true,
     [](Graph& g) {
       AddNode(g, "Gemm", {"x", "w"}, {"y"});
     },
     {"MatMulNBits"}},
    {"a Gemm with a bias that goes inside",
     false,
     [](Graph& g) {
       AddWeight(g, "b", {kN});
       AddNode(g, "Gemm", {"x", "w", "b"}, {"y"}).SetInt("transB", 1);
     },
     {"MatMulNBits"}},
    {"a Gemm with a bias that cannot",
     true,
     [](Graph& g) {
       AddWeight(g, "b", {1});
       AddNode(g, "Gemm", {"x", "w", "b"}, {"y"});
     },
     {"MatMulNBits", "Add"}},
    {"two uses",
     true,
     [](Graph& g) {
       AddNode(g, "MatMul", {"x", "w"}, {"s"});
       AddNode(g, "Gemm", {"x", "w"}, {"t"});
       AddNode(g, "Add", {"s", "t"}, {"y"});
     },
     {"MatMulNBits", "MatMulNBits", "Add"}},
};

TEST(EmitMatMulNBitsTest, PackedBlocksGiveTheProductWithTheDecodedWeight) {
  for (const Layer& layer : kLayers) {
    for (const bool zero_points : {false, true}) {
      for (const bool scaled : {false, true}) {
        SCOPED_TRACE(absl::StrCat(layer.what, zero_points ? ", zero points" : "",
                                  scaled ? ", input scales" : ""));
        Blocks blocks = MakeBlocks(layer.columns, zero_points);
        Model model = Make(layer, blocks.decoded);
        if (scaled) {
          // The weight of the model is that of the blocks times 2, and the inputs' scale is 2.
          blocks.constants.input_scales.assign(kK, 2.0f);
          for (float& value : blocks.decoded) value *= 2;
          model = Make(layer, blocks.decoded);
        }
        const std::vector<float> wanted = RunPlainly(model, {{"x", {5, kK}}});
        const std::vector<Weight> weights = FindWeights(model);
        ASSERT_EQ(weights.size(), 1u);
        const Inference shapes = InferShapes(model, kRows);
        ASSERT_TRUE(AllowsMatMulNBits(model, weights[0], shapes));
        NameScope names(model);
        const int64_t bytes = EmitMatMulNBits(model, weights[0], blocks.constants, shapes, names);
        // Half a byte a weight, padding included; a float a block; half a byte a zero point, rows
        // padded to whole bytes.
        EXPECT_EQ(bytes, kN * kBlocks * kBlock / 2 + kN * kBlocks * 4 + (zero_points ? kN * 2 : 0) +
                             (scaled ? kK * 4 : 0));
        RemoveUnusedConstants(model);
        ASSERT_TRUE(VerifyModel(model).ok()) << VerifyModel(model);
        std::vector<std::string> ops = OpTypes(*model.graph);
        ops.erase(std::remove(ops.begin(), ops.end(), "Mul"), ops.end());
        EXPECT_EQ(ops, layer.ops);
        EXPECT_EQ(model.graph->initializers.count("w"), 0u);
        EXPECT_EQ(model.OpsetVersion("com.microsoft"), 1);
        ExpectSame(wanted, RunPlainly(model, {{"x", {5, kK}}}));
      }
    }
  }
}

TEST(EmitMatMulNBitsTest, NibblesAreLowFirstAndZeroIsEight) {
  const Layer& layer = kLayers[0];
  const Blocks blocks = MakeBlocks(layer.columns, false);
  Model model = Make(layer, blocks.decoded);
  const std::vector<Weight> weights = FindWeights(model);
  NameScope names(model);
  EmitMatMulNBits(model, weights[0], blocks.constants, InferShapes(model, kRows), names);
  const Node& node = *model.graph->nodes[0];
  EXPECT_EQ(node.IntAttribute("K", 0), kK);
  EXPECT_EQ(node.IntAttribute("N", 0), kN);
  EXPECT_EQ(node.IntAttribute("bits", 0), 4);
  EXPECT_EQ(node.IntAttribute("block_size", 0), kBlock);
  EXPECT_EQ(node.IntAttribute("accuracy_level", 0), 4);
  ASSERT_EQ(node.inputs.size(), 3u);
  const Tensor& q = model.graph->initializers.at(node.inputs[1]);
  EXPECT_THAT(q.dims, ElementsAre(kN, kBlocks, kBlock / 2));
  // Row 0: k = 0 and 1 are 0 and 7, stored with 8 in the middle of -8 to 7.
  EXPECT_EQ(static_cast<unsigned char>(q.data.view()[0]), 0x70);
  EXPECT_THAT(model.graph->initializers.at(node.inputs[2]).dims, ElementsAre(kN, kBlocks));
}

TEST(EmitMatMulNBitsTest, WhatItCannotDoIsNotAllowed) {
  struct Case {
    const char* what;
    std::function<void(Graph&)> use;
  };
  const Case cases[] = {
      {"a turned input",
       [](Graph& g) {
         AddNode(g, "Gemm", {"x", "w"}, {"y"}).SetInt("transA", 1);
       }},
      {"alpha",
       [](Graph& g) {
         AddNode(g, "Gemm", {"x", "w"}, {"y"}).SetFloat("alpha", 0.5f);
       }},
      {"beta",
       [](Graph& g) {
         AddNode(g, "Gemm", {"x", "w"}, {"y"}).SetFloat("beta", 0.5f);
       }},
      {"a left operand",
       [](Graph& g) {
         AddNode(g, "MatMul", {"w", "x"}, {"y"});
       }},
      {"an input of unknown rank",
       [](Graph& g) {
         AddInput(g, "u");
         AddNode(g, "MatMul", {"u", "w"}, {"y"});
       }},
      {"uses along different axes",
       [](Graph& g) {
         AddNode(g, "Gemm", {"x", "w"}, {"s"});
         AddNode(g, "Gemm", {"x", "w"}, {"t"}).SetInt("transB", 1);
         AddNode(g, "Add", {"s", "t"}, {"y"});
       }},
  };
  for (const Case& c : cases) {
    Model model = Make({c.what, true, c.use, {}}, MakeBlocks(true, false).decoded);
    const std::vector<Weight> weights = FindWeights(model);
    ASSERT_EQ(weights.size(), 1u) << c.what;
    EXPECT_FALSE(AllowsMatMulNBits(model, weights[0], InferShapes(model, kRows))) << c.what;
  }
}

}  // namespace
}  // namespace lathe::engine
