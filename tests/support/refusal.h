// Matching a refused call by what stands on the wire: code, ErrorInfo, BadRequest.
#ifndef LATHE_TESTS_SUPPORT_REFUSAL_H_
#define LATHE_TESTS_SUPPORT_REFUSAL_H_

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace lathe::testing {

// A status with its details unpacked, without any of our own conversions.
struct Refusal {
  grpc::StatusCode code = grpc::StatusCode::OK;
  std::string message;
  std::string reason;
  std::string domain;
  std::vector<std::pair<std::string, std::string>> fields;         // BadRequest: path, description
  std::vector<std::pair<std::string, std::string>> preconditions;  // type, subject

  std::string field() const { return fields.empty() ? "" : fields[0].first; }
};

inline Refusal RefusalOf(const grpc::Status& status) {
  Refusal out{status.error_code(), status.error_message(), "", "", {}, {}};
  google::rpc::Status wire;
  if (!wire.ParseFromString(status.error_details())) return out;
  for (const google::protobuf::Any& detail : wire.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad;
    google::rpc::PreconditionFailure precondition;
    if (detail.UnpackTo(&info)) {
      out.reason = info.reason();
      out.domain = info.domain();
    } else if (detail.UnpackTo(&bad)) {
      for (const auto& v : bad.field_violations())
        out.fields.push_back({v.field(), v.description()});
    } else if (detail.UnpackTo(&precondition)) {
      for (const auto& v : precondition.violations())
        out.preconditions.push_back({v.type(), v.subject()});
    }
  }
  return out;
}

// EXPECT_THAT(stub->Call(...), Refused(INVALID_ARGUMENT, "BAD_REQUEST", "job.model")): the reason
// of the domain "lathe", and the path of the first field ("": no field).
MATCHER_P3(Refused, code, reason, field, "") {
  const Refusal refusal = RefusalOf(arg);
  *result_listener << "code " << refusal.code << ", reason " << refusal.reason << ", field "
                   << refusal.field() << ": " << refusal.message;
  return refusal.code == code && refusal.reason == reason &&
         refusal.domain == (refusal.reason.empty() ? "" : "lathe") && refusal.field() == field;
}

MATCHER(IsOk, "") {
  *result_listener << arg.error_code() << ": " << arg.error_message();
  return arg.ok();
}

}  // namespace lathe::testing

#endif  // LATHE_TESTS_SUPPORT_REFUSAL_H_
