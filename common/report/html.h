// Writing HTML: escaping, and the frame of a page.
#ifndef LATHE_COMMON_REPORT_HTML_H_
#define LATHE_COMMON_REPORT_HTML_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace lathe::page {

// Text for between tags and for attributes in double quotes: & < > " ' as references, control
// characters and bytes that are not UTF-8 as U+FFFD.
std::string Escape(absl::string_view text);

// A sentence: escaped, numbers kept on one line with their units.
std::string Prose(absl::string_view text);

// A name from a model: escaped, kept apart from the direction of the text around it (a name may
// hold characters that reverse it), breakable anywhere. "" of "".
std::string Name(absl::string_view name);

// JSON for within a <script type="application/json">: no '<', '>', '&', U+2028 or U+2029 but
// escaped, so that nothing in it ends the element or opens a comment.
std::string ScriptJson(const nlohmann::json& value);

// At most `width` characters of UTF-8, the middle replaced by an ellipsis; not escaped.
std::string Shorten(absl::string_view text, size_t width);

// <ul> of lines of prose; "" when there are none.
std::string Bullets(const std::vector<std::string>& lines);

// A part of the page with a heading, under its anchor; "" when `body` is.
struct Section {
  std::string id;     // [a-z-]+
  std::string title;  // plain text
  std::string body;   // HTML
};

struct Document {
  std::string title;                     // of the window, plain text
  std::string header;                    // HTML above the sections
  std::vector<Section> sections;         // those with an empty body are left out
  const nlohmann::json* data = nullptr;  // what the page was made from; "Save JSON" gives it back
  std::string data_name;                 // the file it is saved as
  std::string footer;                    // HTML
};
std::string Render(const Document& document);

// The page's style and script: the same for every page.
extern const char kStyle[];
extern const char kScript[];

}  // namespace lathe::page

#endif  // LATHE_COMMON_REPORT_HTML_H_
