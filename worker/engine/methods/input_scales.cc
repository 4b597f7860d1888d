#include "worker/engine/methods/input_scales.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lathe::engine {
namespace {

constexpr double kWorth = 0.933;  // squared error that is 0.3 dB lower
constexpr int64_t kFewestInputs = 16;
constexpr std::array<double, 4> kPowers = {0.25, 0.5, 0.75, 1.0};

// dims around an axis: [outer, length, inner].
struct View {
  int64_t outer = 1;
  int64_t length = 1;
  int64_t inner = 1;
};

View Around(const Shape& dims, int axis) {
  View view;
  for (int i = 0; i < static_cast<int>(dims.size()); ++i) {
    (i < axis ? view.outer : i == axis ? view.length : view.inner) *= dims[static_cast<size_t>(i)];
  }
  return view;
}

// Root of each input's sum of squares.
std::vector<double> Norms(const Tensor& w, const View& view, Parallel& parallel) {
  constexpr int64_t kPieceElements = int64_t{64} << 10;
  const int64_t eighth = std::max<int64_t>(16, (view.length + 7) / 8);
  const int64_t a_piece = std::clamp<int64_t>(kPieceElements / view.inner, 1, eighth);
  std::vector<double> norms(static_cast<size_t>(view.length), 0);
  parallel.Run((view.length + a_piece - 1) / a_piece, [&](int64_t piece) {
    const int64_t begin = piece * a_piece;
    const int64_t end = std::min(view.length, begin + a_piece);
    ReadRoom room;
    for (int64_t o = 0; o < view.outer; ++o) {
      const float* at =
          ReadElements(w, (o * view.length + begin) * view.inner, (end - begin) * view.inner, room);
      for (int64_t k = begin; k < end; ++k) {
        double sum = 0;
        for (int64_t i = 0; i < view.inner; ++i, ++at) sum += static_cast<double>(*at) * *at;
        norms[static_cast<size_t>(k)] += sum;
      }
    }
    for (int64_t k = begin; k < end; ++k) {
      double& norm = norms[static_cast<size_t>(k)];
      norm = std::sqrt(norm);
    }
  });
  return norms;
}

}  // namespace

std::vector<float> InputDivisors(const Shape& dims, const QuantizedLayout& layout, int axis,
                                 const std::vector<float>& input_scales) {
  if (input_scales.empty()) return {};
  int64_t length = 1;
  int64_t after = 1;  // elements of a row from one input to the next
  for (size_t i = 0; i < dims.size(); ++i) {
    if (layout.kept_axes[i]) continue;
    length *= dims[i];
    if (static_cast<int>(i) > axis) after *= dims[i];
  }
  std::vector<float> divisors(static_cast<size_t>(length));
  for (int64_t j = 0; j < length; ++j) {
    const auto input = static_cast<size_t>(j / after) % input_scales.size();
    divisors[static_cast<size_t>(j)] = input_scales[input];
  }
  return divisors;
}

std::vector<float> FindInputScales(const Tensor& w, int axis, const QuantizedLayout& layout,
                                   const RoundingRule& rule, const std::vector<double>& row_weights,
                                   Parallel& parallel) {
  const View view = Around(w.dims, axis);
  if (view.length < kFewestInputs) return {};
  const std::vector<double> norms = Norms(w, view, parallel);
  std::vector<double> sorted = norms;
  std::nth_element(sorted.begin(), sorted.begin() + view.length / 2, sorted.end());
  const double median = sorted[static_cast<size_t>(view.length / 2)];
  if (!(median > 0)) return {};

  // Candidate 0 has no scales.
  constexpr size_t kCandidates = kPowers.size() + 1;
  std::array<std::vector<float>, kCandidates> scales;
  std::array<std::vector<float>, kCandidates> divisors;
  for (size_t c = 1; c < kCandidates; ++c) {
    for (const double norm : norms) {
      // Inputs that are all zeros, or nearly, keep a scale that cannot overflow.
      scales[c].push_back(
          static_cast<float>(std::pow(std::clamp(norm / median, 1e-3, 1e3), kPowers[c - 1])));
    }
    divisors[c] = InputDivisors(w.dims, layout, axis, scales[c]);
  }
  RoundingRule plain = rule;
  plain.clip_mse = false;
  // All candidates while a piece is in the cache.
  const RowOrder order = RowsOf(w.dims, layout);
  const int64_t rows_a_piece = RowsAPiece(order);
  const int64_t pieces = (order.rows() + rows_a_piece - 1) / rows_a_piece;
  std::vector<std::array<double, kCandidates>> errors(static_cast<size_t>(pieces));
  parallel.Run(pieces, [&](int64_t piece) {
    const int64_t begin = piece * rows_a_piece;
    const int64_t end = std::min(order.rows(), begin + rows_a_piece);
    const int64_t length = order.length();
    ReadRoom room;
    std::vector<float> divided(static_cast<size_t>(length));
    std::vector<int8_t> q(static_cast<size_t>(length));
    std::array<double, kCandidates> sums = {};
    const float* row = ReadRows(w, order, begin, end, room);
    for (int64_t r = begin; r < end; ++r, row += length) {
      for (size_t c = 0; c < kCandidates; ++c) {
        const float* in = row;
        if (c > 0) {
          DivideEach(row, divisors[c].data(), length, divided.data());
          in = divided.data();
        }
        SetScale s;
        if (plain.symmetric) {
          RoundSets(in, length, length, plain.bits, /*nibbles=*/false,
                    reinterpret_cast<uint8_t*>(q.data()), &s.scale);
        } else {
          s = FindScale(in, length, plain);
          RoundSet(in, length, plain, s, q.data());
        }
        const double error =
            SetError(row, q.data(), length, plain, s, c > 0 ? divisors[c].data() : nullptr).error;
        sums[c] += row_weights.empty() ? error : error * row_weights[static_cast<size_t>(r)];
      }
    }
    errors[static_cast<size_t>(piece)] = sums;
  });
  std::array<double, kCandidates> total = {};
  for (const auto& sums : errors) {
    for (size_t c = 0; c < kCandidates; ++c) total[c] += sums[c];
  }
  size_t best = 0;
  double least = total[0] * kWorth;
  for (size_t c = 1; c < kCandidates; ++c) {
    if (total[c] >= least) continue;
    least = total[c];
    best = c;
  }
  return scales[best];
}

}  // namespace lathe::engine
