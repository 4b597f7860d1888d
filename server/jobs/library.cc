#include "server/jobs/library.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "proto/grpc_status.h"
#include "server/jobs/cache_key.h"
#include "server/jobs/idempotency.h"
#include "server/jobs/page_token.h"
#include "server/jobs/timestamps.h"

namespace lathe::server {
namespace {

using lathe::v1::Dataset;
using lathe::v1::Model;

// A store's NOT_FOUND with the resource's reason.
template <typename T>
absl::StatusOr<T> OrNotFound(absl::StatusOr<T> found, absl::string_view reason) {
  if (absl::IsNotFound(found.status())) return WithReason(found.status(), reason);
  return found;
}

absl::Status BlobsMissing(const std::vector<std::string>& missing) {
  std::vector<std::pair<std::string, std::string>> violations;
  for (const std::string& digest : missing)
    violations.push_back({digest, "this blob is not stored; upload it first"});
  return PreconditionError("BLOB_MISSING", violations);
}

// Fills in what the client may leave out, and checks what only makes sense for the model as a
// whole.
absl::Status Normalize(Model* model) {
  if (model->files().empty()) {
    return WithField(absl::InvalidArgumentError("a model needs at least one file"), "model.files");
  }
  std::sort(model->mutable_files()->begin(), model->mutable_files()->end(),
            [](const auto& a, const auto& b) { return a.path() < b.path(); });
  for (int i = 1; i < model->files_size(); ++i) {
    if (model->files(i).path() == model->files(i - 1).path()) {
      return WithField(absl::InvalidArgumentError(absl::StrCat("two files have the path \"",
                                                               model->files(i).path(), "\"")),
                       "model.files");
    }
  }
  if (model->main_file().empty()) {
    std::vector<std::string> onnx;
    for (const auto& file : model->files()) {
      if (absl::EndsWith(file.path(), ".onnx")) onnx.push_back(file.path());
    }
    if (model->files_size() == 1) {
      model->set_main_file(model->files(0).path());
    } else if (onnx.size() == 1) {
      model->set_main_file(onnx[0]);
    } else {
      return WithField(absl::InvalidArgumentError(
                           absl::StrCat("main_file must name the ONNX file: ", onnx.size(),
                                        " of the ", model->files_size(), " files end in .onnx")),
                       "model.main_file");
    }
  }
  const auto is_main = [&](const auto& file) { return file.path() == model->main_file(); };
  if (std::none_of(model->files().begin(), model->files().end(), is_main)) {
    return WithField(absl::InvalidArgumentError(absl::StrCat("main_file \"", model->main_file(),
                                                             "\" is none of the model's files")),
                     "model.main_file");
  }
  if (model->display_name().empty()) model->set_display_name(model->main_file());
  return absl::OkStatus();
}

absl::Status Normalize(Dataset* dataset) {
  if (dataset->format() != lathe::v1::DATASET_FORMAT_UNSPECIFIED) return absl::OkStatus();
  if (absl::EndsWith(dataset->display_name(), ".npz")) {
    dataset->set_format(lathe::v1::DATASET_FORMAT_NPZ);
  } else if (absl::EndsWith(dataset->display_name(), ".safetensors")) {
    dataset->set_format(lathe::v1::DATASET_FORMAT_SAFETENSORS);
  } else {
    return WithField(
        absl::InvalidArgumentError(absl::StrCat(
            "the format of dataset \"", dataset->display_name(),
            "\" cannot be told: end its display_name in .npz or .safetensors, or set format")),
        "dataset.format");
  }
  return absl::OkStatus();
}

}  // namespace

Library::Library(Store* store, BlobSizes* blobs, const Clock* clock, IdGenerator* ids)
    : store_(store), blobs_(blobs), clock_(clock), ids_(ids) {}

absl::StatusOr<Model> Library::CreateModel(Model model, const std::string& request_id) {
  RETURN_IF_ERROR(CheckRequestId(request_id));
  model.clear_name();
  model.clear_create_time();
  model.clear_source_job();
  model.clear_total_bytes();
  for (auto& file : *model.mutable_files()) file.clear_size_bytes();
  const RequestKey key{"/CreateModel", request_id, Fingerprint(model)};
  RETURN_IF_ERROR(Normalize(&model));

  std::vector<std::string> missing;
  int64_t total = 0;
  for (auto& file : *model.mutable_files()) {
    const absl::StatusOr<int64_t> size = blobs_->BlobSize(file.digest());
    if (absl::IsNotFound(size.status())) {
      missing.push_back(file.digest());
      continue;
    }
    RETURN_IF_ERROR(size.status());
    file.set_size_bytes(*size);
    const std::optional<int64_t> sum = CheckedAdd(total, *size);
    if (!sum.has_value())
      return absl::InvalidArgumentError("the model's files are too large together");
    total = *sum;
  }
  model.set_name(absl::StrCat("models/", ids_->NewId()));
  model.set_total_bytes(total);
  *model.mutable_create_time() = ToProto(clock_->Now());

  std::optional<std::string> earlier;
  Model answer;
  RETURN_IF_ERROR(store_->Write([&](WriteTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(earlier, FindEarlier(tx, key));
    if (earlier.has_value()) {
      const absl::StatusOr<Model> found = tx.GetModel(*earlier);
      if (absl::IsNotFound(found.status())) return ResourceOfRequestIsGone(key, *earlier);
      RETURN_IF_ERROR(found.status());
      answer = *found;
      return absl::OkStatus();
    }
    if (!missing.empty()) return BlobsMissing(missing);
    RETURN_IF_ERROR(tx.InsertModel(model));
    RETURN_IF_ERROR(RememberRequest(tx, key, model.name()));
    answer = model;
    return absl::OkStatus();
  }));
  return answer;
}

absl::StatusOr<Model> Library::GetModel(absl::string_view name) {
  absl::StatusOr<Model> model;
  RETURN_IF_ERROR(store_->Read([&](ReadTransaction& tx) {
    model = OrNotFound(tx.GetModel(name), "MODEL_NOT_FOUND");
    return model.status();
  }));
  return model;
}

absl::StatusOr<lathe::v1::ListModelsResponse> Library::ListModels(int page_size,
                                                                  const std::string& page_token) {
  ASSIGN_OR_RETURN(const int limit, PageSize(page_size));
  ASSIGN_OR_RETURN(const int64_t before, ParsePageToken("models", page_token));
  lathe::v1::ListModelsResponse response;
  RETURN_IF_ERROR(store_->Read([&](ReadTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(Page<Model> page, tx.ListModels(before, limit));
    for (Model& model : page.items) *response.add_models() = std::move(model);
    response.set_next_page_token(MakePageToken("models", page.next_before));
    return absl::OkStatus();
  }));
  return response;
}

absl::Status Library::DeleteModel(absl::string_view name) {
  const absl::Status status =
      store_->Write([&](WriteTransaction& tx) { return tx.DeleteModel(name); });
  return absl::IsNotFound(status) ? WithReason(status, "MODEL_NOT_FOUND") : status;
}

absl::StatusOr<Dataset> Library::CreateDataset(Dataset dataset, const std::string& request_id) {
  RETURN_IF_ERROR(CheckRequestId(request_id));
  dataset.clear_name();
  dataset.clear_create_time();
  dataset.clear_size_bytes();
  const RequestKey key{"/CreateDataset", request_id, Fingerprint(dataset)};
  RETURN_IF_ERROR(Normalize(&dataset));
  const absl::StatusOr<int64_t> size = blobs_->BlobSize(dataset.digest());
  if (!size.ok() && !absl::IsNotFound(size.status())) return size.status();
  dataset.set_name(absl::StrCat("datasets/", ids_->NewId()));
  dataset.set_size_bytes(size.ok() ? *size : 0);
  *dataset.mutable_create_time() = ToProto(clock_->Now());

  Dataset answer;
  RETURN_IF_ERROR(store_->Write([&](WriteTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(const std::optional<std::string> earlier, FindEarlier(tx, key));
    if (earlier.has_value()) {
      const absl::StatusOr<Dataset> found = tx.GetDataset(*earlier);
      if (absl::IsNotFound(found.status())) return ResourceOfRequestIsGone(key, *earlier);
      RETURN_IF_ERROR(found.status());
      answer = *found;
      return absl::OkStatus();
    }
    if (!size.ok()) return BlobsMissing({dataset.digest()});
    RETURN_IF_ERROR(tx.InsertDataset(dataset));
    RETURN_IF_ERROR(RememberRequest(tx, key, dataset.name()));
    answer = dataset;
    return absl::OkStatus();
  }));
  return answer;
}

absl::StatusOr<Dataset> Library::GetDataset(absl::string_view name) {
  absl::StatusOr<Dataset> dataset;
  RETURN_IF_ERROR(store_->Read([&](ReadTransaction& tx) {
    dataset = OrNotFound(tx.GetDataset(name), "DATASET_NOT_FOUND");
    return dataset.status();
  }));
  return dataset;
}

absl::StatusOr<lathe::v1::ListDatasetsResponse> Library::ListDatasets(
    int page_size, const std::string& page_token) {
  ASSIGN_OR_RETURN(const int limit, PageSize(page_size));
  ASSIGN_OR_RETURN(const int64_t before, ParsePageToken("datasets", page_token));
  lathe::v1::ListDatasetsResponse response;
  RETURN_IF_ERROR(store_->Read([&](ReadTransaction& tx) -> absl::Status {
    ASSIGN_OR_RETURN(Page<Dataset> page, tx.ListDatasets(before, limit));
    for (Dataset& dataset : page.items) *response.add_datasets() = std::move(dataset);
    response.set_next_page_token(MakePageToken("datasets", page.next_before));
    return absl::OkStatus();
  }));
  return response;
}

absl::Status Library::DeleteDataset(absl::string_view name) {
  const absl::Status status =
      store_->Write([&](WriteTransaction& tx) { return tx.DeleteDataset(name); });
  return absl::IsNotFound(status) ? WithReason(status, "DATASET_NOT_FOUND") : status;
}

}  // namespace lathe::server
