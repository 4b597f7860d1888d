// Whether a compressed encoder still puts examples where the original puts them.
//
//   cosine              = mean over examples of cos(before, after), each example's output flattened
//   neighbour_agreement = share of examples whose nearest neighbour among the others, by cosine, is
//                         the same before and after; of equally near ones the first
// Neighbours need all pairs, so that only the first limits::kMaxNeighbourExamples examples take
// part (fewer of very long embeddings, limits::kMaxNeighbourFloats); the report says how many did.
// Examples with NaN or infinities on either side are counted and left out of both figures.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_EMBEDDING_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_EMBEDDING_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/evaluate/metrics/arrays.h"

namespace lathe::engine {

class EmbeddingComparison {
 public:
  // before, after: [n, ...], the same shape, and so many numbers an example as earlier batches had.
  // INVALID_ARGUMENT otherwise; nothing is added then.
  absl::Status Add(const NamedArray& before, const NamedArray& after);

  int64_t examples() const { return examples_; }
  std::vector<std::string> Warnings() const;
  // cosine, neighbour_agreement, neighbour_examples, examples, non_finite. O(m^2 d) for m kept
  // examples of d numbers.
  nlohmann::json Result() const;

 private:
  int64_t examples_ = 0;
  int64_t non_finite_ = 0;
  int64_t kept_ = 0;
  int64_t width_ = 0;
  double cosines_ = 0;
  std::vector<float> before_;  // [kept, width]
  std::vector<float> after_;
};

// For each of the rows of `values` [count, width] the index of its nearest other row by cosine; -1
// when count < 2. A row of zeros is at cosine 0 of all.
std::vector<int64_t> NearestNeighbours(const std::vector<float>& values, int64_t count,
                                       int64_t width);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_EMBEDDING_H_
