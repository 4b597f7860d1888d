#include "server/rpc/blob_rpc.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "server/rpc/validation.h"
#include "server/telemetry/metrics.h"

namespace lathe::server {
namespace {

constexpr int kMaxDigestsACall = 4096;

absl::Status CheckOneDigest(absl::string_view field, absl::string_view digest) {
  Violations out;
  CheckDigest(field, digest, &out);
  return ToStatus(out);
}

}  // namespace

grpc::Status BlobRpc::FindMissingBlobs(grpc::ServerContext* context,
                                       const v1::FindMissingBlobsRequest* request,
                                       v1::FindMissingBlobsResponse* response) {
  return guard_->Run(context, "FindMissingBlobs", [&]() -> absl::Status {
    Violations out;
    if (request->digests_size() > kMaxDigestsACall) {
      out.push_back({"digests", absl::StrCat("at most ", kMaxDigestsACall, " a call, got ",
                                             request->digests_size())});
      return ToStatus(out);
    }
    for (int i = 0; i < request->digests_size(); ++i) {
      CheckDigest(absl::StrCat("digests[", i, "]"), request->digests(i), &out);
      if (out.size() > 20) break;
    }
    RETURN_IF_ERROR(ToStatus(out));
    std::set<std::string> seen;
    for (const std::string& digest : request->digests()) {
      if (seen.insert(digest).second && !blobs_->Touch(digest))
        response->add_missing_digests(digest);
    }
    return absl::OkStatus();
  });
}

grpc::Status BlobRpc::PutBlob(grpc::ServerContext* context, const v1::PutBlobRequest* request,
                              v1::Blob* response) {
  return guard_->Run(context, "PutBlob", [&]() -> absl::Status {
    if (static_cast<int64_t>(request->data().size()) > limits::kMaxInlineBytes) {
      return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                            request->data().size(), " bytes are more than the ",
                            limits::kMaxInlineBytes, " that fit one call; use UploadBlob")),
                        "BLOB_TOO_LARGE");
    }
    const std::string digest = Sha256Hex(request->data());
    if (!request->digest().empty() && request->digest() != digest) {
      RETURN_IF_ERROR(CheckOneDigest("digest", request->digest()));
      if (metrics_ != nullptr) metrics_->DigestMismatch();
      return WithReason(absl::InvalidArgumentError(absl::StrCat("the data have the digest ", digest,
                                                                ", not ", request->digest())),
                        "DIGEST_MISMATCH");
    }
    RETURN_IF_ERROR(lathe::server::PutBlob(*blobs_, digest, request->data()));
    if (metrics_ != nullptr) metrics_->Uploaded(static_cast<int64_t>(request->data().size()));
    response->set_digest(digest);
    response->set_size_bytes(static_cast<int64_t>(request->data().size()));
    return absl::OkStatus();
  });
}

absl::Status BlobRpc::Receive(grpc::ServerReader<v1::UploadBlobRequest>* reader,
                              v1::Blob* response) {
  v1::UploadBlobRequest message;
  if (!reader->Read(&message) || !message.has_header()) {
    return WithReason(
        absl::InvalidArgumentError("the first message of an upload must be its header"),
        "NO_HEADER");
  }
  const v1::UploadHeader header = message.header();
  Violations out;
  CheckDigest("header.digest", header.digest(), &out);
  if (header.size_bytes() < 0 || header.size_bytes() > limits::kMaxBlobBytes) {
    out.push_back({"header.size_bytes", absl::StrCat("must be in [0, ", limits::kMaxBlobBytes,
                                                     "], got ", header.size_bytes())});
  }
  if (header.offset() < 0 || header.offset() > header.size_bytes()) {
    out.push_back(
        {"header.offset", absl::StrCat("must be in [0, size_bytes], got ", header.offset())});
  }
  RETURN_IF_ERROR(ToStatus(out));
  response->set_digest(header.digest());
  response->set_size_bytes(header.size_bytes());
  // Somebody was faster. A stored file of another size is damaged, and this upload replaces it.
  if (IsStored(*blobs_, header.digest(), header.size_bytes())) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::unique_ptr<BlobWriter> writer,
                   blobs_->BeginUpload(header.digest(), header.size_bytes(), header.offset()));
  if (metrics_ != nullptr && header.offset() > 0) metrics_->UploadResumed();
  while (reader->Read(&message)) {
    if (!message.has_chunk()) {
      return WithReason(absl::InvalidArgumentError("a header in the middle of an upload"),
                        "SECOND_HEADER");
    }
    RETURN_IF_ERROR(writer->Append(message.chunk()));
    if (metrics_ != nullptr) metrics_->Uploaded(static_cast<int64_t>(message.chunk().size()));
  }
  return writer->Finish();
}

grpc::Status BlobRpc::UploadBlob(grpc::ServerContext* context,
                                 grpc::ServerReader<v1::UploadBlobRequest>* reader,
                                 v1::Blob* response) {
  return guard_->Run(context, "UploadBlob", [&] {
    const absl::Status status = Receive(reader, response);
    if (metrics_ != nullptr && ReasonOf(status) == "DIGEST_MISMATCH") metrics_->DigestMismatch();
    return status;
  });
}

grpc::Status BlobRpc::QueryUpload(grpc::ServerContext* context,
                                  const v1::QueryUploadRequest* request,
                                  v1::QueryUploadResponse* response) {
  return guard_->Run(context, "QueryUpload", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckOneDigest("digest", request->digest()));
    ASSIGN_OR_RETURN(const UploadState state, blobs_->QueryUpload(request->digest()));
    response->set_committed_bytes(state.committed_bytes);
    response->set_complete(state.complete);
    return absl::OkStatus();
  });
}

grpc::Status BlobRpc::GetBlob(grpc::ServerContext* context, const v1::GetBlobRequest* request,
                              v1::GetBlobResponse* response) {
  return guard_->Run(context, "GetBlob", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckOneDigest("digest", request->digest()));
    ASSIGN_OR_RETURN(*response->mutable_data(),
                     ReadBlob(*blobs_, request->digest(), limits::kMaxInlineBytes));
    return absl::OkStatus();
  });
}

absl::Status BlobRpc::Send(const v1::DownloadBlobRequest& request,
                           grpc::ServerWriter<v1::DownloadBlobResponse>* writer) {
  RETURN_IF_ERROR(CheckOneDigest("digest", request.digest()));
  ASSIGN_OR_RETURN(std::unique_ptr<BlobReader> reader, blobs_->Open(request.digest()));
  if (request.offset() < 0 || request.offset() > reader->size()) {
    return WithReason(absl::OutOfRangeError(absl::StrCat(
                          "offset ", request.offset(), " of a blob of ", reader->size(), " bytes")),
                      "WRONG_OFFSET");
  }
  if (request.limit() < 0)
    return ToStatus({{"limit", absl::StrCat("must not be negative, got ", request.limit())}});
  int64_t left = reader->size() - request.offset();
  if (request.limit() > 0) left = std::min(left, request.limit());
  v1::DownloadBlobResponse message;
  for (int64_t at = request.offset(); left > 0;) {
    std::string* chunk = message.mutable_chunk();
    chunk->resize(static_cast<size_t>(std::min(left, limits::kUploadChunkBytes)));
    ASSIGN_OR_RETURN(const int64_t got,
                     reader->Read(at, chunk->data(), static_cast<int64_t>(chunk->size())));
    if (got == 0)
      return absl::DataLossError(
          absl::StrCat("blob ", request.digest(), " is shorter than it was"));
    chunk->resize(static_cast<size_t>(got));
    if (!writer->Write(message)) return absl::CancelledError("the client went away");
    at += got;
    left -= got;
  }
  return absl::OkStatus();
}

grpc::Status BlobRpc::DownloadBlob(grpc::ServerContext* context,
                                   const v1::DownloadBlobRequest* request,
                                   grpc::ServerWriter<v1::DownloadBlobResponse>* writer) {
  return guard_->Run(context, "DownloadBlob", [&] { return Send(*request, writer); });
}

}  // namespace lathe::server
