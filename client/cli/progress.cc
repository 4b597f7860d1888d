#include "client/cli/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

namespace lathe::cli {
namespace {

int TerminalColumns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

ProgressBar::ProgressBar(std::string label, bool silent)
    : label_(std::move(label)), silent_(silent), terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressBar::~ProgressBar() { Clear(); }

void ProgressBar::Clear() {
  if (drawn_) std::cerr << "\r\x1b[K" << std::flush;
  drawn_ = false;
}

void ProgressBar::Draw(double fraction, const std::string& text) {
  const int columns = TerminalColumns();
  constexpr int kBar = 24;
  const int filled = static_cast<int>(fraction * kBar);
  std::string line =
      absl::StrFormat("%-10s [%s%s] %3d%% %s", label_, std::string(filled, '='),
                      std::string(kBar - filled, ' '), static_cast<int>(fraction * 100), text);
  if (static_cast<int>(line.size()) >= columns) line.resize(std::max(1, columns - 1));
  std::cerr << "\r\x1b[K" << line << std::flush;
  drawn_ = true;
}

void ProgressBar::Update(double fraction, const std::string& text) {
  if (silent_) return;
  fraction = std::clamp(fraction, 0.0, 1.0);
  last_fraction_ = fraction;
  const absl::Time now = absl::Now();
  if (now - last_ < (terminal_ ? absl::Milliseconds(100) : absl::Seconds(2))) return;
  if (terminal_) {
    Draw(fraction, text);
  } else if (text != last_text_) {
    std::cerr << label_ << ": " << static_cast<int>(fraction * 100) << "% " << text << std::endl;
  }
  last_ = now;
  last_text_ = text;
}

void ProgressBar::Line(const std::string& text) {
  if (silent_) return;
  const bool redraw = drawn_;
  Clear();
  std::cerr << text << std::endl;
  if (redraw) Draw(last_fraction_, last_text_);
}

void ProgressBar::Finish(const std::string& text) {
  if (silent_) return;
  Clear();
  std::cerr << label_ << ": " << text << std::endl;
}

}  // namespace lathe::cli
