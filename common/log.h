// Structured logs: one line an event, `time level component message key=value ...`, to standard
// error; or JSON lines. Built on spdlog. Never log a token, a certificate key or a blob's content.
#ifndef LATHE_COMMON_LOG_H_
#define LATHE_COMMON_LOG_H_

#include <initializer_list>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace lathe {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// One key of a log line. Numbers convert through absl::AlphaNum.
struct LogField {
  LogField(absl::string_view k, const absl::AlphaNum& v) : key(k), value(v.Piece()) {}
  std::string key;
  std::string value;
};

// Sets what is printed, process-wide; call once from main.
void InitLog(LogLevel least, LogFormat format, absl::string_view component);
// Parses "debug", "info", "warning", "error"; false when it is none of them.
bool ParseLogLevel(absl::string_view text, LogLevel* level);

// Thread-safe. Values with spaces or quotes are quoted; control characters are escaped, so that
// outside text cannot forge lines.
void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields = {});

inline void LogDebug(absl::string_view m, std::initializer_list<LogField> f = {}) {
  Log(LogLevel::kDebug, m, f);
}
inline void LogInfo(absl::string_view m, std::initializer_list<LogField> f = {}) {
  Log(LogLevel::kInfo, m, f);
}
inline void LogWarning(absl::string_view m, std::initializer_list<LogField> f = {}) {
  Log(LogLevel::kWarning, m, f);
}
inline void LogError(absl::string_view m, std::initializer_list<LogField> f = {}) {
  Log(LogLevel::kError, m, f);
}

}  // namespace lathe

#endif  // LATHE_COMMON_LOG_H_
