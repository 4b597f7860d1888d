#include "worker/engine/train/checkpoint_set.h"

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/digest.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

constexpr absl::string_view kMagic = "LATHESET1";

absl::Status Damaged(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the checkpoint is damaged: ", what));
}

}  // namespace

std::vector<absl::string_view> CheckpointPieces(const CheckpointSet& set, std::string* header) {
  *header = absl::StrCat(kMagic, " ", set.identity);
  for (const auto& [step, state] : set.states) {
    absl::StrAppend(header, " ", step, ":", state.size());
  }
  *header += "\n";
  std::vector<absl::string_view> pieces = {*header};
  for (const auto& [step, state] : set.states) pieces.push_back(state);
  return pieces;
}

absl::StatusOr<CheckpointSet> ParseCheckpointSet(absl::string_view bytes) {
  const size_t line =
      bytes.substr(0, static_cast<size_t>(limits::kMaxCheckpointHeaderBytes)).find('\n');
  if (line == absl::string_view::npos) return Damaged("its first line does not end");
  const std::vector<absl::string_view> words = absl::StrSplit(bytes.substr(0, line), ' ');
  if (words.size() < 2 || words[0] != kMagic) return Damaged("it does not begin as one");
  CheckpointSet set;
  set.identity = std::string(words[1]);
  if (!ValidateDigest(set.identity).ok()) return Damaged("its identity is no digest");
  bytes.remove_prefix(line + 1);
  for (size_t i = 2; i < words.size(); ++i) {
    const std::vector<absl::string_view> parts = absl::StrSplit(words[i], ':');
    int step = 0;
    uint64_t size = 0;
    const bool good = parts.size() == 2 && absl::SimpleAtoi(parts[0], &step) && step >= 0 &&
                      step < limits::kMaxSteps && absl::SimpleAtoi(parts[1], &size);
    if (!good) return Damaged("its list of steps does not parse");
    if (size > bytes.size())
      return Damaged(absl::StrCat("the state of step ", step, " ends early"));
    if (!set.states.emplace(step, bytes.substr(0, size)).second) {
      return Damaged(absl::StrCat("it has step ", step, " twice"));
    }
    bytes.remove_prefix(size);
  }
  if (!bytes.empty()) return Damaged("something follows its states");
  return set;
}

absl::StatusOr<CheckpointSet> ReadCheckpointSet(const std::string& path) {
  std::error_code error;
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path, error));
  if (error) return absl::NotFoundError(absl::StrCat("cannot read ", path, ": ", error.message()));
  if (size > limits::kMaxCheckpointBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the checkpoint has ", size, " bytes; at most ", limits::kMaxCheckpointBytes, " are read"));
  }
  std::string bytes(static_cast<size_t>(size), '\0');
  std::ifstream in(path, std::ios::binary);
  in.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  return ParseCheckpointSet(bytes);
}

}  // namespace lathe::engine
