// Page tokens of lists.
#ifndef LATHE_SERVER_JOBS_PAGE_TOKEN_H_
#define LATHE_SERVER_JOBS_PAGE_TOKEN_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lathe::server {

// The token of the page that starts before position `before`; "" for 0, the end. `list` names the
// list and its filter
// ("jobs state=1 model="): the token is good for that list only.
std::string MakePageToken(absl::string_view list, int64_t before);
// INVALID_ARGUMENT (reason BAD_PAGE_TOKEN, field page_token) when it is not a token of that list.
// "" is the first page: 0.
absl::StatusOr<int64_t> ParsePageToken(absl::string_view list, absl::string_view token);

// 0 means the default, more than the maximum means the maximum. INVALID_ARGUMENT (field page_size)
// when negative.
absl::StatusOr<int> PageSize(int requested);

}  // namespace lathe::server

#endif  // LATHE_SERVER_JOBS_PAGE_TOKEN_H_
