// Every bound on what comes from outside, in one place. Raising one is a decision about memory or
// time: say why.
#ifndef LATHE_COMMON_LIMITS_H_
#define LATHE_COMMON_LIMITS_H_

#include <cstdint>

namespace lathe::limits {

// Transport.
inline constexpr int64_t kUploadChunkBytes = 1 << 20;  // what clients send at a time
inline constexpr int64_t kMaxMessageBytes = 64
                                            << 20;  // any one gRPC message, unary uploads included
inline constexpr int64_t kMaxInlineBytes = 48 << 20;         // PutBlob and ModelFile.content
inline constexpr int64_t kMaxBlobBytes = int64_t{64} << 30;  // one blob
inline constexpr int kMaxPageSize = 1000;
inline constexpr int kDefaultPageSize = 50;

// Resources.
inline constexpr int kMaxModelFiles = 4096;
inline constexpr int kMaxPathBytes = 1024;
inline constexpr int kMaxDisplayNameBytes = 256;
inline constexpr int kMaxRequestIdBytes = 128;
inline constexpr int kMaxLabels = 64;

// Recipes.
inline constexpr int kMaxRecipeBytes = 1 << 20;
inline constexpr int kMaxSteps = 64;
inline constexpr int kMaxPatterns = 1024;  // globs in one targets or skip list
inline constexpr int kMaxPatternBytes = 512;
inline constexpr int kMaxYamlDepth = 16;

// Models (job process).
inline constexpr int64_t kMaxModelProtoBytes = int64_t{8}
                                               << 30;  // one .onnx file, external data not counted
inline constexpr int kMaxGraphDepth = 24;              // subgraphs within subgraphs
inline constexpr int64_t kMaxNodes = 5'000'000;        // over all graphs and functions
inline constexpr int64_t kMaxInlinedNodes =
    100'000;  // functions calling functions grow exponentially
inline constexpr int64_t kMaxTensors = 5'000'000;
inline constexpr int kMaxTensorRank = 64;
inline constexpr int kMaxWalkDepth = 200;  // nested protobuf messages

// The state of a training run, as a file: an agent sends it, a server keeps it, a job process holds
// it in memory. A model whose state is larger is trained without checkpoints.
inline constexpr int64_t kMaxCheckpointBytes = int64_t{4} << 30;
inline constexpr int64_t kMaxCheckpointHeaderBytes = 64 << 10;

// Evaluation (job process). Beyond these, figures are left out or examples are, and the report says
// so; a data set is refused only where a figure could not be had at all.
inline constexpr int64_t kMaxBatchExamples = int64_t{1} << 26;  // whether they hold anything or not
inline constexpr int64_t kMaxClasses = int64_t{1} << 22;        // a few counters each
inline constexpr int64_t kMaxConfusionClasses = 100;            // squared, in the report
inline constexpr int64_t kMaxListedClasses = 1000;              // per-class figures in the report
inline constexpr int64_t kMaxNeighbourExamples = 4096;          // every pair is compared
inline constexpr int64_t kMaxNeighbourFloats = int64_t{32} << 20;  // of kept embeddings: 128 MiB
inline constexpr int64_t kMaxDetections = int64_t{8} << 20;  // kept until the end, 12 bytes each
inline constexpr int64_t kMaxDetectionBoxes = 100'000;       // of one example, true or predicted
inline constexpr int64_t kMaxMatchPairs = int64_t{1} << 28;  // true times predicted boxes of one
inline constexpr int64_t kMaxEditCells = int64_t{1} << 28;   // of one pair of sequences
inline constexpr int64_t kMaxBootstrapUnits = int64_t{1} << 16;
inline constexpr int kMaxResamples = 100'000;
// Datasets (job process).
inline constexpr int kMaxArrays = 4096;  // arrays in one file
inline constexpr int kMaxArrayNameBytes = 1024;
inline constexpr int64_t kMaxZipDirectoryBytes = 16 << 20;
inline constexpr int kMaxNpyHeaderBytes = 64 << 10;
// Of .safetensors: 64 MiB would be a zip's first bytes read as a length.
inline constexpr int64_t kMaxSafetensorsHeaderBytes = 16 << 20;
// An array in Fortran order is turned around in memory.
inline constexpr int64_t kMaxFortranBytes = 256 << 20;
inline constexpr int64_t kMaxBatchBytes = int64_t{1} << 30;  // inputs and labels of one batch

}  // namespace lathe::limits

#endif  // LATHE_COMMON_LIMITS_H_
