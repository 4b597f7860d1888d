#include "server/jobs/page_token.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "common/limits.h"
#include "common/status_reason.h"

namespace lathe::server {
namespace {

constexpr size_t kListDigestChars = 8;

std::string ListDigest(absl::string_view list) {
  return Sha256Hex(list).substr(0, kListDigestChars);
}

}  // namespace

std::string MakePageToken(absl::string_view list, int64_t before) {
  if (before <= 0) return "";
  return absl::WebSafeBase64Escape(absl::StrCat(ListDigest(list), before));
}

absl::StatusOr<int64_t> ParsePageToken(absl::string_view list, absl::string_view token) {
  if (token.empty()) return 0;
  std::string text;
  int64_t before = 0;
  if (absl::WebSafeBase64Unescape(token, &text) && text.size() > kListDigestChars &&
      text.substr(0, kListDigestChars) == ListDigest(list) &&
      absl::SimpleAtoi(text.substr(kListDigestChars), &before) && before > 0) {
    return before;
  }
  return WithField(
      WithReason(absl::InvalidArgumentError(
                     "page_token is not one that this server gave for the same list and filter; "
                     "start again without it"),
                 "BAD_PAGE_TOKEN"),
      "page_token");
}

absl::StatusOr<int> PageSize(int requested) {
  if (requested < 0) {
    return WithField(absl::InvalidArgumentError(absl::StrCat(
                         "page_size must be in [1, ", limits::kMaxPageSize, "], got ", requested)),
                     "page_size");
  }
  return requested == 0 ? limits::kDefaultPageSize : std::min(requested, limits::kMaxPageSize);
}

}  // namespace lathe::server
