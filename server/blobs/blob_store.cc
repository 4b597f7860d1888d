#include "server/blobs/blob_store.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/status_reason.h"

namespace lathe::server {

bool IsStored(BlobStore& store, const std::string& digest, int64_t size_bytes) {
  const absl::StatusOr<int64_t> stored = store.BlobSize(digest);
  return stored.ok() && *stored == size_bytes && store.Touch(digest);
}

absl::Status PutBlob(BlobStore& store, const std::string& digest, absl::string_view bytes) {
  if (IsStored(store, digest, static_cast<int64_t>(bytes.size()))) {
    const absl::StatusOr<std::string> stored =
        ReadBlob(store, digest, static_cast<int64_t>(bytes.size()));
    if (stored.ok() && *stored == bytes) return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(std::unique_ptr<BlobWriter> writer,
                   store.BeginUpload(digest, static_cast<int64_t>(bytes.size()), 0));
  RETURN_IF_ERROR(writer->Append(bytes));
  return writer->Finish();
}

absl::StatusOr<std::string> ReadBlob(BlobStore& store, const std::string& digest,
                                     int64_t limit_bytes) {
  ASSIGN_OR_RETURN(std::unique_ptr<BlobReader> reader, store.Open(digest));
  if (reader->size() > limit_bytes) {
    return WithReason(absl::ResourceExhaustedError(absl::StrCat(
                          "blob ", digest, " has ", reader->size(), " bytes, more than the ",
                          limit_bytes, " that fit one message; use DownloadBlob")),
                      "BLOB_TOO_LARGE");
  }
  std::string out(static_cast<size_t>(reader->size()), '\0');
  int64_t have = 0;
  while (have < reader->size()) {
    ASSIGN_OR_RETURN(const int64_t got,
                     reader->Read(have, out.data() + have, reader->size() - have));
    if (got == 0)
      return absl::DataLossError(absl::StrCat("blob ", digest, " is shorter than it was"));
    have += got;
  }
  return out;
}

}  // namespace lathe::server
