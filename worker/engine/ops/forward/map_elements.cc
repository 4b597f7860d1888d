#include "worker/engine/ops/forward/map_elements.h"

#include <algorithm>

namespace lathe::engine {

void ClearPadding(Value& value) {
  const int64_t block = LayoutBlock(value.layout);
  if (value.dims.size() < 2 || value.dims[1] % block == 0) return;
  const int64_t live = value.dims[1] % block;
  const int64_t blocks = value.dims[1] / block + 1;
  int64_t pixels = 1;
  for (size_t i = 2; i < value.dims.size(); ++i) pixels *= value.dims[i];
  auto* data = reinterpret_cast<float*>(value.buffer->data());
  for (int64_t n = 0; n < value.dims[0]; ++n) {
    float* last = data + ((n + 1) * blocks - 1) * pixels * block;
    for (int64_t p = 0; p < pixels; ++p) {
      std::fill(last + p * block + live, last + (p + 1) * block, 0.0F);
    }
  }
}

}  // namespace lathe::engine
