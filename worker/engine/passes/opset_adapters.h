// The adapters that passes/opset_table.cc lists, each named after the operator and the version it
// leads to.
#ifndef LATHE_WORKER_ENGINE_PASSES_OPSET_ADAPTERS_H_
#define LATHE_WORKER_ENGINE_PASSES_OPSET_ADAPTERS_H_

#include <string>

#include "worker/engine/passes/opset_adapter.h"

namespace lathe::engine {

// opset_adapters.cc
std::string AdaptAxesToInput(
    AdapterContext& ctx);  // Squeeze, Unsqueeze, ReduceSum 13; the other reductions 18
std::string AdaptBatchNormalization9(AdapterContext& ctx);
std::string AdaptBatchNormalization14(AdapterContext& ctx);
std::string AdaptClip11(AdapterContext& ctx);
std::string AdaptDft20(AdapterContext& ctx);
std::string AdaptDropout10(AdapterContext& ctx);
std::string AdaptDropout12(AdapterContext& ctx);
std::string AdaptGroupNormalization21(AdapterContext& ctx);
std::string AdaptPad11(AdapterContext& ctx);
std::string AdaptScan9(AdapterContext& ctx);
std::string AdaptScatter11(AdapterContext& ctx);
std::string AdaptSlice10(AdapterContext& ctx);
std::string AdaptSoftmax13(AdapterContext& ctx);  // also LogSoftmax, Hardmax
std::string AdaptSplit13(AdapterContext& ctx);
std::string AdaptSplit18(AdapterContext& ctx);
std::string AdaptTopK10(AdapterContext& ctx);

// opset_adapters_image.cc: sampling
std::string AdaptGridSample20(AdapterContext& ctx);
std::string AdaptResize11(AdapterContext& ctx);
std::string AdaptRoiAlign16(AdapterContext& ctx);
std::string AdaptUpsample9(AdapterContext& ctx);
std::string AdaptUpsample10(AdapterContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_OPSET_ADAPTERS_H_
