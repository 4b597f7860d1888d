// Puts a quantized weight into the graph, in a form that stock ONNX Runtime runs no slower than
// float:
//
//   folded    q (int4/int8) -> Cast -> [Sub(Cast(zp))] -> Mul(scale) ->
//   [Reshape -> [Slice -> Reshape]] -> [Mul(input scale)] -> [Cast] = W
//             The chain hangs on constants alone, so the runtime folds it when it loads the model:
//             the file is small, speed and memory at run time are float's. W keeps its name, so
//             Transpose, Identity, Cast and every use stay as they are.
//   lookup    Gather(q, i) -> Cast -> [Sub(Cast(Gather(zp, i)))] -> Mul(Gather(scale, i)) ->
//   [Mul(input scale)] = y
//             An embedding's table stays integer in memory; only the rows looked up are decoded.
//   blocks    GatherBlockQuantized(q, i, scale) = y: the same for 4-bit tables with a scale a
//   block.
#ifndef LATHE_WORKER_ENGINE_PASSES_EMIT_QUANTIZED_H_
#define LATHE_WORKER_ENGINE_PASSES_EMIT_QUANTIZED_H_

#include <cstdint>
#include <string>
#include <vector>

#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

struct QuantizedConstants {
  DType dtype = DType::kInt8;  // of the integers: int8, uint8, int4, uint4
  std::string integers;        // raw_data
  Shape stored_dims;
  std::vector<float> scales;
  Shape scale_dims;          // broadcasts against stored_dims
  bool half_scales = false;  // store the scales as float16 (they are float16 values)
  std::string zero_points;   // uint8, one a scale; empty when symmetric
  // A second scale for each input, along `input_axis` of the weight; of what is looked up, its last
  // axis. Empty: none.
  std::vector<float> input_scales;
  int input_axis = -1;
  // The stored integers, decoded, are reshaped to [outer, length, inner] and cut to `length`.
  bool reshaped = false;
  bool padded = false;
  int64_t outer = 1;
  int64_t length = 1;
  int64_t inner = 1;
};

// Opset of ai.onnx that holds where the weight's constant lies.
int64_t OpsetAt(const Model& model, const Graph& graph);
// Every use is a Gather that reads the constant itself.
bool IsPureLookup(const Weight& weight);

// Each removes the source and adds what takes its place; returns the bytes of the new constants.
int64_t EmitFolded(Model& model, const Weight& weight, QuantizedConstants constants,
                   NameScope& names);
// Needs IsPureLookup, stored_dims of the table's own shape, and scales per row or per tensor.
int64_t EmitLookup(Model& model, const Weight& weight, QuantizedConstants constants,
                   NameScope& names);
// Needs IsPureLookup of a 2-D table, int4 integers [V, groups, group_size], symmetric. Imports
// com.microsoft.
int64_t EmitBlockLookup(Model& model, const Weight& weight, QuantizedConstants constants,
                        int64_t group_size, NameScope& names);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_EMIT_QUANTIZED_H_
