// A folder that goes with its test.
#ifndef LATHE_TESTS_SUPPORT_TEMP_FOLDER_H_
#define LATHE_TESTS_SUPPORT_TEMP_FOLDER_H_

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace lathe::testing {

class TempFolder {
 public:
  TempFolder() {
    static std::atomic<int> count{0};
    path_ = absl::StrCat(::testing::TempDir(), "/lathe_", getpid(), "_", count.fetch_add(1));
    std::filesystem::create_directories(path_);
  }
  ~TempFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }
  std::string File(absl::string_view name) const { return absl::StrCat(path_, "/", name); }
  // Writes a file; returns its path.
  std::string Write(absl::string_view name, absl::string_view content) const {
    std::ofstream(File(name), std::ios::binary) << std::string(content);
    return File(name);
  }

 private:
  std::string path_;
};

}  // namespace lathe::testing

#endif  // LATHE_TESTS_SUPPORT_TEMP_FOLDER_H_
