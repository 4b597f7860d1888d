// The two return macros that Debian's Abseil lacks.
#ifndef LATHE_COMMON_STATUS_MACROS_H_
#define LATHE_COMMON_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define LATHE_STATUS_CONCAT_INNER_(a, b) a##b
#define LATHE_STATUS_CONCAT_(a, b) LATHE_STATUS_CONCAT_INNER_(a, b)

// Returns from the enclosing function when `expr` (an absl::Status) is not OK.
#define RETURN_IF_ERROR(expr) \
  LATHE_RETURN_IF_ERROR_(LATHE_STATUS_CONCAT_(lathe_status_, __LINE__), expr)
#define LATHE_RETURN_IF_ERROR_(tmp, expr)                 \
  do {                                                    \
    if (absl::Status tmp = (expr); !tmp.ok()) return tmp; \
  } while (false)

// ASSIGN_OR_RETURN(auto x, Expr()): `x` gets the value of the StatusOr, or the function returns its
// error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  LATHE_ASSIGN_OR_RETURN_(LATHE_STATUS_CONCAT_(lathe_statusor_, __LINE__), lhs, expr)
#define LATHE_ASSIGN_OR_RETURN_(tmp, lhs, expr)  \
  auto tmp = (expr);                             \
  if (!tmp.ok()) return std::move(tmp).status(); \
  lhs = std::move(tmp).value()

#endif  // LATHE_COMMON_STATUS_MACROS_H_
