#include "worker/engine/train/checkpoint.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace lathe::engine {
namespace {

constexpr absl::string_view kMagic = "LATHECP1";

uint64_t Fnv(absl::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash;
}

void PutWord(std::string* out, uint64_t word) {
  for (int i = 0; i < 8; ++i) out->push_back(static_cast<char>(word >> (8 * i)));
}

uint64_t GetWord(absl::string_view bytes) {
  uint64_t word = 0;
  for (int i = 0; i < 8; ++i)
    word |= static_cast<uint64_t>(static_cast<uint8_t>(bytes[i])) << (8 * i);
  return word;
}

absl::Status Damaged(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("the checkpoint is damaged: ", what));
}

}  // namespace

std::string WriteCheckpoint(const Checkpoint& checkpoint) {
  nlohmann::json state = checkpoint.state;
  state["sizes"] = nlohmann::json::array();
  for (const std::vector<float>& array : checkpoint.arrays) state["sizes"].push_back(array.size());
  const std::string json = state.dump();
  std::string out(kMagic);
  PutWord(&out, json.size());
  out += json;
  for (const std::vector<float>& array : checkpoint.arrays) {
    out.append(reinterpret_cast<const char*>(array.data()), array.size() * sizeof(float));
  }
  PutWord(&out, Fnv(out));
  return out;
}

absl::StatusOr<Checkpoint> ReadCheckpoint(absl::string_view bytes) {
  if (bytes.size() < kMagic.size() + 16 || bytes.substr(0, kMagic.size()) != kMagic) {
    return Damaged("it does not begin as one");
  }
  const absl::string_view body = bytes.substr(0, bytes.size() - 8);
  if (GetWord(bytes.substr(bytes.size() - 8)) != Fnv(body)) return Damaged("its sum is wrong");
  absl::string_view rest = body.substr(kMagic.size());
  const uint64_t length = GetWord(rest);
  rest.remove_prefix(8);
  if (length > rest.size()) return Damaged("it ends early");
  Checkpoint checkpoint;
  const absl::string_view text = rest.substr(0, length);
  checkpoint.state =
      nlohmann::json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  rest.remove_prefix(length);
  if (!checkpoint.state.is_object() || !checkpoint.state["sizes"].is_array()) {
    return Damaged("its description does not parse");
  }
  for (const nlohmann::json& size : checkpoint.state["sizes"]) {
    if (!size.is_number_unsigned() || size.get<uint64_t>() > rest.size() / sizeof(float)) {
      return Damaged("an array ends early");
    }
    std::vector<float>& array = checkpoint.arrays.emplace_back(size.get<size_t>());
    std::memcpy(array.data(), rest.data(), array.size() * sizeof(float));
    rest.remove_prefix(array.size() * sizeof(float));
  }
  if (!rest.empty()) return Damaged("something follows its arrays");
  return checkpoint;
}

}  // namespace lathe::engine
