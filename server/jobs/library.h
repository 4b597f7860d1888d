// Models and datasets as resources: named, listed, deleted, created once a request id.
#ifndef LATHE_SERVER_JOBS_LIBRARY_H_
#define LATHE_SERVER_JOBS_LIBRARY_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/clock.h"
#include "common/ids.h"
#include "lathe/v1/datasets.pb.h"
#include "lathe/v1/models.pb.h"
#include "server/store/store.h"

namespace lathe::server {

// Which blobs are stored whole. Thread-safe; implemented by the blob store.
class BlobSizes {
 public:
  virtual ~BlobSizes() = default;
  // Size in bytes; NOT_FOUND when the blob is not stored whole.
  virtual absl::StatusOr<int64_t> BlobSize(const std::string& digest) = 0;
};

// Thread-safe. Page sizes are clamped to [1, limits::kMaxPageSize], 0 means
// limits::kDefaultPageSize; a page token that this server did not give for the same list is
// INVALID_ARGUMENT (reason BAD_PAGE_TOKEN). Unknown names are NOT_FOUND (reasons MODEL_NOT_FOUND,
// DATASET_NOT_FOUND).
class Library {
 public:
  // All must outlive the library.
  Library(Store* store, BlobSizes* blobs, const Clock* clock, IdGenerator* ids);

  // `model`: display_name, files with paths and digests (inline content already stored as blobs by
  // the caller), main_file; the caller has checked paths. Sets name, sizes, create_time, and sorts
  // the files by path; an empty main_file is the only
  // ".onnx" file; an empty display name is the main file's. FAILED_PRECONDITION (reason
  // BLOB_MISSING) names every blob that is not stored. INVALID_ARGUMENT (reason REQUEST_ID_REUSED)
  // when `request_id` (may be "") was used with another body.
  absl::StatusOr<lathe::v1::Model> CreateModel(lathe::v1::Model model,
                                               const std::string& request_id);
  absl::StatusOr<lathe::v1::Model> GetModel(absl::string_view name);
  absl::StatusOr<lathe::v1::ListModelsResponse> ListModels(int page_size,
                                                           const std::string& page_token);
  absl::Status DeleteModel(absl::string_view name);

  // `dataset`: display_name, format (UNSPECIFIED: told from the display name's ending;
  // INVALID_ARGUMENT when it cannot be), digest. The rest as for models.
  absl::StatusOr<lathe::v1::Dataset> CreateDataset(lathe::v1::Dataset dataset,
                                                   const std::string& request_id);
  absl::StatusOr<lathe::v1::Dataset> GetDataset(absl::string_view name);
  absl::StatusOr<lathe::v1::ListDatasetsResponse> ListDatasets(int page_size,
                                                               const std::string& page_token);
  absl::Status DeleteDataset(absl::string_view name);

 private:
  Store* const store_;
  BlobSizes* const blobs_;
  const Clock* const clock_;
  IdGenerator* const ids_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_JOBS_LIBRARY_H_
