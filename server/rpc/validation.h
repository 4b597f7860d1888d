// Checks of requests, before anything is done. All give INVALID_ARGUMENT with field paths.
#ifndef LATHE_SERVER_RPC_VALIDATION_H_
#define LATHE_SERVER_RPC_VALIDATION_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "lathe/v1/datasets.pb.h"
#include "lathe/v1/jobs.pb.h"
#include "lathe/v1/models.pb.h"

namespace lathe::server {

// {field path, what is wrong}.
using Violations = std::vector<std::pair<std::string, std::string>>;

// OK when empty.
absl::Status ToStatus(const Violations& violations);

// Names: "models/ID" with ID of 1 to 63 characters of [a-z0-9-].
void CheckName(absl::string_view field, absl::string_view collection, absl::string_view name,
               Violations* out);
void CheckDigest(absl::string_view field, absl::string_view digest, Violations* out);
void CheckRequestId(absl::string_view request_id, Violations* out);
void CheckPage(int page_size, Violations* out);

// Files: paths relative, normal and unique; digests; one main file. Content counts against
// limits::kMaxInlineBytes.
absl::Status CheckCreateModel(const lathe::v1::CreateModelRequest& request);
absl::Status CheckCreateDataset(const lathe::v1::CreateDatasetRequest& request);
// Recipe (against the catalogue, and whether the examples that its steps need are given), bindings,
// priority, durations, labels.
absl::Status CheckCreateJob(const lathe::v1::CreateJobRequest& request);

}  // namespace lathe::server

#endif  // LATHE_SERVER_RPC_VALIDATION_H_
