#include "client/cli/page_flags.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace lathe::cli {
namespace {

// "file:///..." with everything escaped that an address may not hold.
std::string FileAddress(const std::string& path) {
  std::error_code error;
  const std::filesystem::path absolute = std::filesystem::absolute(path, error);
  std::string out = "file://";
  for (const char c : error ? path : absolute.string()) {
    const bool plain = absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '/' || c == '.' ||
                       c == '-' || c == '_' || c == '~';
    if (plain) {
      out += c;
    } else {
      absl::StrAppend(&out, "%", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
    }
  }
  return out;
}

// Starts it without a shell, its output thrown away. False when it does not start.
bool Start(std::vector<std::string> words) {
  std::vector<char*> arguments;
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);  // it outlives the terminal
  pid_t pid = 0;
  const int error =
      posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error == 0;
}

bool StartBrowser(absl::string_view command, const std::string& address) {
  std::vector<std::string> words = absl::StrSplit(command, ' ', absl::SkipEmpty());
  if (words.empty()) return false;
  bool placed = false;
  for (std::string& word : words) {
    placed |= absl::StrReplaceAll({{"%s", address}}, &word) > 0;
  }
  if (!placed) words.push_back(address);
  return Start(std::move(words));
}

}  // namespace

void PageFlags::Add(CLI::App& command, const std::string& what) {
  CLI::Option* page =
      command.add_option("--html", html, absl::StrCat("Also write ", what, " as an HTML page"))
          ->type_name("OUT.html");
  command.add_flag("--open", open, "Show that page in $BROWSER, or with xdg-open")->needs(page);
}

absl::Status PageFlags::Write(const std::string& json_text,
                              std::string (*render)(const nlohmann::json&)) const {
  if (html.empty()) return absl::OkStatus();
  const nlohmann::json json = nlohmann::json::parse(json_text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return absl::InternalError("the server's report is not a JSON object");
  return WriteTextFile(html, render(json));
}

absl::Status PageFlags::Open() const { return open ? OpenInBrowser(html) : absl::OkStatus(); }

absl::Status WriteTextFile(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  if (!out) return absl::FailedPreconditionError(absl::StrCat("cannot write ", path));
  return absl::OkStatus();
}

absl::Status OpenInBrowser(const std::string& path) {
  const std::string address = FileAddress(path);
  const char* browser = std::getenv("BROWSER");
  if (browser != nullptr && *browser != '\0') {
    for (const absl::string_view command : absl::StrSplit(browser, ':', absl::SkipEmpty())) {
      if (StartBrowser(command, address)) return absl::OkStatus();
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "nothing that BROWSER names (", browser, ") could be started; open ", path, " by hand"));
  }
  if (StartBrowser("xdg-open", address)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "there is no xdg-open here and BROWSER is not set; set it to a command, or open ", path,
      " by hand"));
}

}  // namespace lathe::cli
