#include "worker/job/ort_access.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"

namespace lathe::worker {
namespace {

namespace fs = std::filesystem;

// Where the dynamic linker looks for what a library needs.
constexpr const char* kLibraryFolders[] = {"/lib", "/lib64", "/usr/lib", "/usr/lib64",
                                           "/usr/local/lib"};
constexpr const char* kProcessorFolder = "/sys/devices/system/cpu";
constexpr const char* kFiles[] = {"/etc/ld.so.cache", "/proc/cpuinfo"};

}  // namespace

void AllowOrtLibrary(const std::string& path, SandboxOptions* options) {
  std::error_code error;
  options->read_files.push_back(path);
  // The folder may be anybody's home: libraries in it alone.
  for (fs::directory_iterator it(fs::path(path).parent_path(), error), end; !error && it != end;
       it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!absl::StartsWith(name, "lib") || !absl::StrContains(name, ".so")) continue;
    if (it->is_regular_file(error)) options->read_files.push_back(it->path().string());
  }
  for (const char* file : kFiles) options->read_files.push_back(file);
  for (const char* folder : kLibraryFolders) {
    if (fs::is_directory(folder, error)) options->read_folders.push_back(folder);
  }
  if (fs::is_directory(kProcessorFolder, error)) options->read_folders.push_back(kProcessorFolder);
}

}  // namespace lathe::worker
