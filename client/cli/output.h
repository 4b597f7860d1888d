// How commands print: tables for people, JSON for programs.
#ifndef LATHE_CLIENT_CLI_OUTPUT_H_
#define LATHE_CLIENT_CLI_OUTPUT_H_

#include <google/protobuf/message.h>
#include <google/protobuf/timestamp.pb.h>

#include <cstdint>
#include <string>
#include <vector>

namespace lathe::cli {

// Proto field names, defaults included. `compact`: one line.
std::string ToJson(const google::protobuf::Message& message, bool compact = false);

// "1.4 MB", "812 B": powers of 1000.
std::string HumanBytes(int64_t bytes);
// "2026-01-31 12:00:05" local time; "" when unset.
std::string HumanTime(const google::protobuf::Timestamp& time);

// Columns as wide as their widest cell, two spaces between; the first row is the header.
std::string Table(const std::vector<std::vector<std::string>>& rows);

}  // namespace lathe::cli

#endif  // LATHE_CLIENT_CLI_OUTPUT_H_
