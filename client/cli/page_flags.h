// `--html OUT.html` and `--open`: a report or a model summary as a page, shown at once if asked
// for.
#ifndef LATHE_CLIENT_CLI_PAGE_FLAGS_H_
#define LATHE_CLIENT_CLI_PAGE_FLAGS_H_

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/status.h"

namespace lathe::cli {

struct PageFlags {
  std::string html;  // "" when no page is wanted
  bool open = false;

  // `what` is written: "the report".
  void Add(CLI::App& command, const std::string& what);

  // Writes the page that `render` makes of `json_text`, if one is wanted. INTERNAL when the text is
  // not JSON, FAILED_PRECONDITION when the file cannot be written.
  absl::Status Write(const std::string& json_text,
                     std::string (*render)(const nlohmann::json&)) const;
  // Opens what was written, if asked to: see OpenInBrowser.
  absl::Status Open() const;
};

// FAILED_PRECONDITION when it cannot be written.
absl::Status WriteTextFile(const std::string& path, const std::string& text);

// Starts what the environment variable BROWSER names (commands separated by colons, the first that
// starts; %s in it stands for the address, which otherwise comes last), or xdg-open, and does not
// wait for it. FAILED_PRECONDITION when there is neither.
absl::Status OpenInBrowser(const std::string& path);

}  // namespace lathe::cli

#endif  // LATHE_CLIENT_CLI_PAGE_FLAGS_H_
