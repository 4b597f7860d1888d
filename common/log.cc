#include "common/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace lathe {
namespace {

struct LogState {
  std::shared_ptr<spdlog::logger> logger;
  LogFormat format = LogFormat::kText;
};

LogState& State() {
  static LogState* state = [] {
    auto* s = new LogState;  // never destroyed: threads may log until the very end
    s->logger = std::make_shared<spdlog::logger>("lathe",
                                                 std::make_shared<spdlog::sinks::stderr_sink_mt>());
    s->logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    return s;
  }();
  return *state;
}

// JSON string escapes are also what the text form uses for quoted values.
std::string Quote(absl::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (u < 0x20 || u == 0x7f) {
      constexpr char kHex[] = "0123456789abcdef";
      out += "\\u00";
      out += kHex[u >> 4];
      out += kHex[u & 15];
    } else {
      out += c;
    }
  }
  out += '"';
  return out;
}

bool IsPlain(absl::string_view text) {
  if (text.empty()) return false;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (u <= 0x20 || u == 0x7f || c == '"' || c == '\\' || c == '=') return false;
  }
  return true;
}

std::string EscapeMessage(absl::string_view text) {
  const std::string quoted = Quote(text);
  return quoted.substr(1, quoted.size() - 2);
}

}  // namespace

void InitLog(LogLevel least, LogFormat format, absl::string_view component) {
  LogState& state = State();
  state.format = format;
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  state.logger->set_level(kLevels[static_cast<int>(least)]);
  const std::string name(component);
  if (format == LogFormat::kJson) {
    state.logger->set_pattern(
        R"({"time":"%Y-%m-%dT%H:%M:%S.%eZ","level":"%l","component":")" + name + R"(",%v})",
        spdlog::pattern_time_type::utc);
  } else {
    state.logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l " + name + " %v",
                              spdlog::pattern_time_type::utc);
  }
}

bool ParseLogLevel(absl::string_view text, LogLevel* level) {
  if (text == "debug")
    *level = LogLevel::kDebug;
  else if (text == "info")
    *level = LogLevel::kInfo;
  else if (text == "warning")
    *level = LogLevel::kWarning;
  else if (text == "error")
    *level = LogLevel::kError;
  else
    return false;
  return true;
}

void Log(LogLevel level, absl::string_view message, std::initializer_list<LogField> fields) {
  static constexpr spdlog::level::level_enum kLevels[] = {spdlog::level::debug, spdlog::level::info,
                                                          spdlog::level::warn, spdlog::level::err};
  LogState& state = State();
  const auto spd_level = kLevels[static_cast<int>(level)];
  if (!state.logger->should_log(spd_level)) return;
  std::string line;
  if (state.format == LogFormat::kJson) {
    line = absl::StrCat("\"message\":", Quote(message));
    for (const LogField& field : fields) {
      absl::StrAppend(&line, ",", Quote(field.key), ":", Quote(field.value));
    }
  } else {
    line = EscapeMessage(message);
    for (const LogField& field : fields) {
      absl::StrAppend(&line, " ", field.key, "=",
                      IsPlain(field.value) ? field.value : Quote(field.value));
    }
  }
  state.logger->log(spd_level, spdlog::string_view_t(line.data(), line.size()));
}

}  // namespace lathe
