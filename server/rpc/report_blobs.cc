#include "server/rpc/report_blobs.h"

#include <google/protobuf/util/json_util.h>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe::server {

absl::Status ReadReport(BlobStore& blobs, const std::string& json_digest,
                        const std::string& text_digest, google::protobuf::Struct* json,
                        std::string* text) {
  ASSIGN_OR_RETURN(const std::string bytes, ReadBlob(blobs, json_digest, limits::kMaxInlineBytes));
  if (!google::protobuf::util::JsonStringToMessage(bytes, json).ok()) {
    return absl::InternalError(
        absl::StrCat("the report in blob ", json_digest, " is not a JSON object"));
  }
  if (!text_digest.empty()) {
    ASSIGN_OR_RETURN(*text, ReadBlob(blobs, text_digest, limits::kMaxInlineBytes));
  }
  return absl::OkStatus();
}

}  // namespace lathe::server
