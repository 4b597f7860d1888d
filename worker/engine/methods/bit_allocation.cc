#include "worker/engine/methods/bit_allocation.h"

#include <cstddef>

namespace lathe::engine {

std::vector<size_t> AllocateBits(const std::vector<std::vector<BitChoice>>& layers,
                                 int64_t budget) {
  std::vector<size_t> chosen(layers.size(), 0);
  int64_t spent = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const std::vector<BitChoice>& choices = layers[i];
    for (size_t c = 1; c < choices.size(); ++c) {
      const BitChoice& best = choices[chosen[i]];
      if (choices[c].bytes < best.bytes ||
          (choices[c].bytes == best.bytes && choices[c].error < best.error)) {
        chosen[i] = c;
      }
    }
    spent += choices[chosen[i]].bytes;
  }
  while (true) {
    size_t layer = 0;
    size_t to = 0;
    double most = 0;
    for (size_t i = 0; i < layers.size(); ++i) {
      const BitChoice& now = layers[i][chosen[i]];
      for (size_t c = 0; c < layers[i].size(); ++c) {
        const BitChoice& other = layers[i][c];
        const int64_t more = other.bytes - now.bytes;
        if (more <= 0 || spent + more > budget) continue;
        const double rate = (now.error - other.error) / static_cast<double>(more);
        if (rate <= most) continue;
        most = rate;
        layer = i;
        to = c;
      }
    }
    if (most <= 0) return chosen;
    spent += layers[layer][to].bytes - layers[layer][chosen[layer]].bytes;
    chosen[layer] = to;
  }
}

}  // namespace lathe::engine
