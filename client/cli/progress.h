// Progress on standard error: a bar that redraws itself on a terminal, plain lines otherwise.
#ifndef LATHE_CLIENT_CLI_PROGRESS_H_
#define LATHE_CLIENT_CLI_PROGRESS_H_

#include <string>

#include "absl/time/time.h"

namespace lathe::cli {

class ProgressBar {
 public:
  // `silent`: prints nothing (--quiet, --json).
  ProgressBar(std::string label, bool silent);
  // Ends the line.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `fraction` in [0, 1]. On a terminal at most 10 redraws a second; elsewhere a line when the text
  // changes (at most one in 2 s) or at the end.
  void Update(double fraction, const std::string& text);
  // Prints a line above the bar.
  void Line(const std::string& text);
  // The last state, for good.
  void Finish(const std::string& text);

 private:
  void Draw(double fraction, const std::string& text);
  void Clear();

  const std::string label_;
  const bool silent_;
  const bool terminal_;
  bool drawn_ = false;
  absl::Time last_ = absl::InfinitePast();
  std::string last_text_;
  double last_fraction_ = 0;
};

}  // namespace lathe::cli

#endif  // LATHE_CLIENT_CLI_PROGRESS_H_
