#include "server/jobs/cache_key.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/digest.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace lathe::server {
namespace {

// Feeds fields to a digest, each behind its length, so that no two lists of fields give the same
// bytes.
class FieldHasher {
 public:
  void Add(absl::string_view field) {
    sha_.Update(absl::StrCat(field.size(), ":"));
    sha_.Update(field);
  }
  void Add(int64_t number) { Add(absl::StrCat(number)); }
  std::string HexDigest() const { return sha_.HexDigest(); }

 private:
  Sha256 sha_;
};

}  // namespace

std::string ResultCacheKey(const lathe::v1::Attempt& attempt, absl::string_view build_id) {
  FieldHasher hash;
  hash.Add("lathe result key 1");
  hash.Add(build_id);
  hash.Add(attempt.kind());
  hash.Add(attempt.recipe_json());
  hash.Add(attempt.main_file());
  std::vector<std::pair<std::string, std::string>> files;
  for (const auto& file : attempt.files()) files.emplace_back(file.path(), file.digest());
  std::sort(files.begin(), files.end());
  hash.Add(static_cast<int64_t>(files.size()));
  for (const auto& file : files) {
    hash.Add(file.first);
    hash.Add(file.second);
  }
  const std::map<std::string, int64_t> bindings(attempt.bindings().begin(),
                                                attempt.bindings().end());
  hash.Add(static_cast<int64_t>(bindings.size()));
  for (const auto& binding : bindings) {
    hash.Add(binding.first);
    hash.Add(binding.second);
  }
  hash.Add(static_cast<int64_t>(attempt.datasets_size()));
  for (const auto& dataset : attempt.datasets()) {
    hash.Add(dataset.role());
    hash.Add(dataset.display_name());  // its ending tells the format
    hash.Add(dataset.digest());
  }
  // Keys of attempts without these are as they were.
  if (attempt.compared_files_size() > 0) {
    hash.Add(attempt.compared_main_file());
    std::map<std::string, std::string> compared;
    for (const auto& file : attempt.compared_files()) compared[file.path()] = file.digest();
    for (const auto& file : compared) {
      hash.Add(file.first);
      hash.Add(file.second);
    }
  }
  if (attempt.teacher_files_size() > 0) {
    hash.Add("teacher");
    hash.Add(attempt.teacher_main_file());
    std::map<std::string, std::string> teacher;
    for (const auto& file : attempt.teacher_files()) teacher[file.path()] = file.digest();
    for (const auto& file : teacher) {
      hash.Add(file.first);
      hash.Add(file.second);
    }
  }
  return hash.HexDigest();
}

std::string Fingerprint(const google::protobuf::MessageLite& message) {
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return Sha256Hex(bytes);
}

}  // namespace lathe::server
