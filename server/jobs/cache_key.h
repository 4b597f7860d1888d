// Digests that say "the same request" and "the same result".
#ifndef LATHE_SERVER_JOBS_CACHE_KEY_H_
#define LATHE_SERVER_JOBS_CACHE_KEY_H_

#include <string>

#include "absl/strings/string_view.h"
#include "google/protobuf/message_lite.h"
#include "lathe/v1/workers.pb.h"

namespace lathe::server {

// Key of an attempt's result: SHA-256 over everything that can change its bytes. That is its kind,
// the files (paths and digests, in path order), which of them is the main one, the canonical recipe
// (seed included), the bindings, the datasets (roles and digests, in order), and the build of the
// engine. Names, limits and priorities are no part of it.
std::string ResultCacheKey(const lathe::v1::Attempt& attempt, absl::string_view build_id);

// SHA-256 of a message, equal for equal messages whatever the order of their maps.
std::string Fingerprint(const google::protobuf::MessageLite& message);

}  // namespace lathe::server

#endif  // LATHE_SERVER_JOBS_CACHE_KEY_H_
