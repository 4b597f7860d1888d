// Reports as the server hands them on: JSON and text blobs that a worker made.
#ifndef LATHE_SERVER_RPC_REPORT_BLOBS_H_
#define LATHE_SERVER_RPC_REPORT_BLOBS_H_

#include <google/protobuf/struct.pb.h>

#include <string>

#include "absl/status/status.h"
#include "server/blobs/blob_store.h"

namespace lathe::server {

// Reads both into a response. `text_digest` may be "". INTERNAL when the JSON is not an object.
absl::Status ReadReport(BlobStore& blobs, const std::string& json_digest,
                        const std::string& text_digest, google::protobuf::Struct* json,
                        std::string* text);

}  // namespace lathe::server

#endif  // LATHE_SERVER_RPC_REPORT_BLOBS_H_
