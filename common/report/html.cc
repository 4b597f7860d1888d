#include "common/report/html.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/digest.h"

namespace lathe::page {
namespace {

using nlohmann::json;

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr absl::string_view kEllipsis = "\xE2\x80\xA6";

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

// Bytes of the well-formed character at `at` (no overlong form, no surrogate, at most U+10FFFF); 0
// when there is none.
size_t CharacterBytes(absl::string_view text, size_t at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return 1;
  const size_t bytes = lead >= 0xc2 && lead < 0xe0   ? 2
                       : lead >= 0xe0 && lead < 0xf0 ? 3
                       : lead >= 0xf0 && lead < 0xf5 ? 4
                                                     : 0;
  if (bytes == 0 || at + bytes > text.size()) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    if (!IsContinuation(text[at + i])) return 0;
  }
  const auto second = static_cast<unsigned char>(text[at + 1]);
  const bool overlong = (lead == 0xe0 && second < 0xa0) || (lead == 0xf0 && second < 0x90);
  const bool outside = (lead == 0xed && second >= 0xa0) || (lead == 0xf4 && second >= 0x90);
  return overlong || outside ? 0 : bytes;
}

// The policy allows the one script below by its digest: a script that slipped in through a name
// would not run, and nothing is fetched.
std::string Policy() {
  const std::string digest = absl::HexStringToBytes(Sha256Hex(kScript));
  return absl::StrCat(
      "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-",
      absl::Base64Escape(digest), "'; base-uri 'none'; form-action 'none'");
}

std::string Navigation(const std::vector<Section>& sections) {
  std::string out = "<nav aria-label=\"Sections\"><ul>";
  for (const Section& section : sections) {
    if (section.body.empty()) continue;
    absl::StrAppend(&out, "<li><a href=\"#", section.id, "\">", Escape(section.title), "</a></li>");
  }
  return absl::StrCat(out, "</ul></nav>\n");
}

}  // namespace

std::string Escape(absl::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (size_t at = 0; at < text.size();) {
    const size_t bytes = CharacterBytes(text, at);
    const char c = text[at];
    if (bytes > 1) {
      absl::StrAppend(&out, text.substr(at, bytes));
    } else if (bytes == 0 || c == 0x7f || (c >= 0 && c < 0x20 && c != '\n' && c != '\t')) {
      absl::StrAppend(&out, kReplacement);
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '"') {
      out += "&quot;";
    } else if (c == '\'') {
      out += "&#39;";
    } else {
      out += c;
    }
    at += std::max<size_t>(bytes, 1);
  }
  return out;
}

std::string Prose(absl::string_view text) {
  std::string out = Escape(text);
  for (const char* unit : {"%", "B", "kB", "MB", "GB", "ms", "dB", "bits", "points"}) {
    for (size_t at = 0; (at = out.find(absl::StrCat(" ", unit), at)) != std::string::npos; ++at) {
      if (at > 0 && absl::ascii_isdigit(static_cast<unsigned char>(out[at - 1]))) {
        out.replace(at, 1, "&nbsp;");
      }
    }
  }
  return out;
}

std::string Name(absl::string_view name) {
  if (name.empty()) return "";
  const std::string parts = absl::StrReplaceAll(
      Escape(name), {{"/", "/<wbr>"}, {".", ".<wbr>"}, {"_", "_<wbr>"}, {":", ":<wbr>"}});
  return absl::StrCat("<bdi class=\"name\">", parts, "</bdi>");
}

std::string ScriptJson(const json& value) {
  return absl::StrReplaceAll(value.dump(-1, ' ', false, json::error_handler_t::replace),
                             {{"<", "\\u003c"},
                              {">", "\\u003e"},
                              {"&", "\\u0026"},
                              {"\xE2\x80\xA8", "\\u2028"},
                              {"\xE2\x80\xA9", "\\u2029"}});
}

std::string Shorten(absl::string_view text, size_t width) {
  std::vector<size_t> starts;  // of characters
  for (size_t at = 0; at < text.size(); ++at) {
    if (!IsContinuation(text[at])) starts.push_back(at);
  }
  if (starts.size() <= width || width < 3) return std::string(text);
  const size_t head = width / 2;
  const size_t tail = width - 1 - head;
  return absl::StrCat(text.substr(0, starts[head]), kEllipsis,
                      text.substr(starts[starts.size() - tail]));
}

std::string Bullets(const std::vector<std::string>& lines) {
  if (lines.empty()) return "";
  std::string out = "<ul class=\"lines\">\n";
  for (const std::string& line : lines) absl::StrAppend(&out, "<li>", Prose(line), "</li>\n");
  return absl::StrCat(out, "</ul>\n");
}

std::string Render(const Document& document) {
  std::string out = absl::StrCat(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"",
      Policy(),
      "\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"color-scheme\" "
      "content=\"light dark\">\n"
      "<link rel=\"icon\" href=\"data:,\">\n<title>",
      Escape(document.title), "</title>\n<style>", kStyle,
      "</style>\n</head>\n<body>\n<div class=\"page\">\n");
  absl::StrAppend(&out,
                  "<div class=\"tools\" hidden><button type=\"button\" id=\"theme\">Dark</button>"
                  "<button type=\"button\" id=\"save\" data-file=\"",
                  Escape(document.data_name), "\">Save JSON</button></div>\n");
  absl::StrAppend(&out, "<header>\n", document.header, "</header>\n", Navigation(document.sections),
                  "<main>\n");
  for (const Section& section : document.sections) {
    if (section.body.empty()) continue;
    absl::StrAppend(&out, "<section id=\"", section.id, "\" aria-labelledby=\"", section.id,
                    "-title\">\n<h2 id=\"", section.id, "-title\">", Escape(section.title),
                    "</h2>\n", section.body, "</section>\n");
  }
  absl::StrAppend(&out, "</main>\n<footer>\n", document.footer, "</footer>\n</div>\n");
  if (document.data != nullptr) {
    absl::StrAppend(&out, "<script type=\"application/json\" id=\"data\">",
                    ScriptJson(*document.data), "</script>\n");
  }
  return absl::StrCat(out, "<script>", kScript, "</script>\n</body>\n</html>\n");
}

}  // namespace lathe::page
