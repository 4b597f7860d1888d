// Tensor data that lies in files beside the model (TensorProto.external_data).
#ifndef LATHE_WORKER_ENGINE_GRAPH_EXTERNAL_DATA_H_
#define LATHE_WORKER_ENGINE_GRAPH_EXTERNAL_DATA_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/graph/mapped_file.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

using ExternalEntries = std::vector<std::pair<absl::string_view, absl::string_view>>;

// Maps the data files of one model, each once.
class ExternalData {
 public:
  // Locations are relative to `folder`; nullopt refuses all external data (a model that came as
  // bytes).
  explicit ExternalData(std::optional<std::string> folder) : folder_(std::move(folder)) {}

  // The bytes that `entries` (keys location, offset, length; others are ignored) speak of.
  // `expected_bytes` is what type and dims ask for, when that is known. INVALID_ARGUMENT for
  // whatever does not fit; the caller adds the tensor's name.
  absl::StatusOr<Bytes> Resolve(const ExternalEntries& entries,
                                std::optional<int64_t> expected_bytes);

  // Locations read so far, in the order of their first use.
  const std::vector<std::string>& files() const { return files_; }

 private:
  absl::StatusOr<std::shared_ptr<const MappedFile>> Map(const std::string& location);

  const std::optional<std::string> folder_;
  std::map<std::string, std::shared_ptr<const MappedFile>> maps_;
  std::vector<std::string> files_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_EXTERNAL_DATA_H_
