// Reading Prometheus' text format (version 0.0.4), strictly: what does not parse fails the test.
#ifndef LATHE_TESTS_SUPPORT_PROMETHEUS_TEXT_H_
#define LATHE_TESTS_SUPPORT_PROMETHEUS_TEXT_H_

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

namespace lathe::testing {

struct PrometheusText {
  // "name{label="value"}" -> value, as they stand in the text.
  std::map<std::string, double> samples;
  std::map<std::string, std::string> types;  // name -> counter, gauge, histogram
  std::set<std::string> helped;              // names with a HELP line

  // Value of a sample; fails the test when there is none.
  double At(const std::string& sample) const {
    const auto it = samples.find(sample);
    if (it == samples.end()) ADD_FAILURE() << "no sample " << sample;
    return it == samples.end() ? 0 : it->second;
  }
};

inline PrometheusText ParsePrometheusText(const std::string& text) {
  static const std::regex help(R"(# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) \S.*)");
  static const std::regex type(R"(# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram))");
  static const std::regex sample(
      R"re(([a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-zA-Z_]+="[^"]*"(,[a-zA-Z_]+="[^"]*")*,?\})?) (\S+))re");
  PrometheusText out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    std::smatch match;
    if (line.empty()) continue;
    if (std::regex_match(line, match, help)) {
      out.helped.insert(match[1]);
    } else if (std::regex_match(line, match, type)) {
      out.types[match[1]] = match[2];
    } else if (std::regex_match(line, match, sample)) {
      const std::string value = match[4];
      size_t used = 0;
      const double number = value == "+Inf" ? HUGE_VAL : std::stod(value, &used);
      if (value != "+Inf" && used != value.size()) ADD_FAILURE() << "no number: " << line;
      if (!out.samples.emplace(match[1], number).second) ADD_FAILURE() << "given twice: " << line;
    } else {
      ADD_FAILURE() << "no line of Prometheus' text format: " << line;
    }
  }
  return out;
}

}  // namespace lathe::testing

#endif  // LATHE_TESTS_SUPPORT_PROMETHEUS_TEXT_H_
