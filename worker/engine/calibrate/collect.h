// Runs a model over examples and keeps what its values look like.
#ifndef LATHE_WORKER_ENGINE_CALIBRATE_COLLECT_H_
#define LATHE_WORKER_ENGINE_CALIBRATE_COLLECT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/calibrate/value_range.h"
#include "worker/engine/data/calibration_data.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Along one axis of a value.
struct ChannelStatistics {
  std::vector<double> sum;
  std::vector<float> largest;  // magnitude
  int64_t elements = 0;        // summed, a channel
  double Mean(size_t channel) const {
    return elements > 0 ? sum[channel] / static_cast<double>(elements) : 0;
  }
};

struct CollectRequest {
  const Model* model = nullptr;
  std::set<std::string> values;             // float32 values of the main graph
  std::map<std::string, int> channel_axes;  // of some of them: -1 is the last axis
  std::function<bool()> cancelled;
  std::function<void(int64_t)> progress;  // examples done
};

struct Collected {
  std::map<std::string, ValueStatistics> values;
  std::map<std::string, ChannelStatistics> channels;
  int64_t examples = 0;
};

// Memory does not grow with the number of examples. Errors as Executor::Make and Run, and as
// `next`.
absl::StatusOr<Collected> Collect(const CollectRequest& request, const CalibrationData::Next& next);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_CALIBRATE_COLLECT_H_
