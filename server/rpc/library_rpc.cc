#include "server/rpc/library_rpc.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/status_macros.h"
#include "server/rpc/report_blobs.h"
#include "server/rpc/validation.h"
#include "server/telemetry/metrics.h"

namespace lathe::server {
namespace {

// Longest an inspection holds a call; asking again joins the same job.
constexpr absl::Duration kLongestInspect = absl::Hours(1);

absl::Status CheckOneName(absl::string_view collection, absl::string_view name) {
  Violations out;
  CheckName("name", collection, name, &out);
  return ToStatus(out);
}

absl::Status CheckOnePage(int page_size) {
  Violations out;
  CheckPage(page_size, &out);
  return ToStatus(out);
}

}  // namespace

grpc::Status ModelRpc::CreateModel(grpc::ServerContext* context,
                                   const v1::CreateModelRequest* request, v1::Model* response) {
  return guard_->Run(context, "CreateModel", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckCreateModel(*request));
    v1::Model model = request->model();
    for (v1::ModelFile& file : *model.mutable_files()) {
      if (!file.has_content()) {
        blobs_->Touch(file.digest());  // so that the collector spares it until the model names it
        continue;
      }
      const std::string digest = Sha256Hex(file.content());
      RETURN_IF_ERROR(PutBlob(*blobs_, digest, file.content()));
      if (metrics_ != nullptr) metrics_->Uploaded(static_cast<int64_t>(file.content().size()));
      file.set_digest(digest);
    }
    ASSIGN_OR_RETURN(*response, library_->CreateModel(std::move(model), request->request_id()));
    return absl::OkStatus();
  });
}

grpc::Status ModelRpc::GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                                v1::Model* response) {
  return guard_->Run(context, "GetModel", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckOneName("models", request->name()));
    ASSIGN_OR_RETURN(*response, library_->GetModel(request->name()));
    return absl::OkStatus();
  });
}

grpc::Status ModelRpc::ListModels(grpc::ServerContext* context,
                                  const v1::ListModelsRequest* request,
                                  v1::ListModelsResponse* response) {
  return guard_->Run(context, "ListModels", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckOnePage(request->page_size()));
    ASSIGN_OR_RETURN(*response, library_->ListModels(request->page_size(), request->page_token()));
    return absl::OkStatus();
  });
}

grpc::Status ModelRpc::DeleteModel(grpc::ServerContext* context,
                                   const v1::DeleteModelRequest* request,
                                   v1::DeleteModelResponse*) {
  return guard_->Run(context, "DeleteModel", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckOneName("models", request->name()));
    return library_->DeleteModel(request->name());
  });
}

grpc::Status ModelRpc::InspectModel(grpc::ServerContext* context,
                                    const v1::InspectModelRequest* request,
                                    v1::InspectModelResponse* response) {
  return guard_->Run(context, "InspectModel", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckOneName("models", request->name()));
    std::map<std::string, int64_t> bindings;
    Violations out;
    for (const auto& [symbol, size] : request->bindings()) {
      if (size < 1 || size > std::numeric_limits<int32_t>::max()) {
        out.push_back({absl::StrCat("bindings[", symbol.substr(0, 60), "]"),
                       absl::StrCat("must be in [1, 2147483647], got ", size)});
      }
      bindings[symbol] = size;
    }
    RETURN_IF_ERROR(ToStatus(out));
    ASSIGN_OR_RETURN(
        const InspectSummary summary,
        jobs_->InspectModel(request->name(), bindings, WaitFor(context, kLongestInspect)));
    return ReadReport(*blobs_, summary.summary_digest, summary.text_digest,
                      response->mutable_summary(), response->mutable_text());
  });
}

grpc::Status DatasetRpc::CreateDataset(grpc::ServerContext* context,
                                       const v1::CreateDatasetRequest* request,
                                       v1::Dataset* response) {
  return guard_->Run(context, "CreateDataset", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckCreateDataset(*request));
    ASSIGN_OR_RETURN(*response, library_->CreateDataset(request->dataset(), request->request_id()));
    return absl::OkStatus();
  });
}

grpc::Status DatasetRpc::GetDataset(grpc::ServerContext* context,
                                    const v1::GetDatasetRequest* request, v1::Dataset* response) {
  return guard_->Run(context, "GetDataset", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckOneName("datasets", request->name()));
    ASSIGN_OR_RETURN(*response, library_->GetDataset(request->name()));
    return absl::OkStatus();
  });
}

grpc::Status DatasetRpc::ListDatasets(grpc::ServerContext* context,
                                      const v1::ListDatasetsRequest* request,
                                      v1::ListDatasetsResponse* response) {
  return guard_->Run(context, "ListDatasets", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckOnePage(request->page_size()));
    ASSIGN_OR_RETURN(*response,
                     library_->ListDatasets(request->page_size(), request->page_token()));
    return absl::OkStatus();
  });
}

grpc::Status DatasetRpc::DeleteDataset(grpc::ServerContext* context,
                                       const v1::DeleteDatasetRequest* request,
                                       v1::DeleteDatasetResponse*) {
  return guard_->Run(context, "DeleteDataset", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckOneName("datasets", request->name()));
    return library_->DeleteDataset(request->name());
  });
}

}  // namespace lathe::server
