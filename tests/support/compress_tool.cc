#include "tests/support/compress_tool.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>

#include "common/status_macros.h"
#include "worker/engine/engine.h"

namespace lathe::engine {

absl::Status CompressModel(const std::vector<std::string>& args) {
  namespace fs = std::filesystem;
  CompressRequest request;
  Hooks hooks;
  std::vector<std::string> plain;
  bool verbose = false;
  for (size_t i = 0; i < args.size(); ++i) {
    const auto value = [&] { return i + 1 < args.size() ? args[++i] : std::string(); };
    if (args[i] == "--threads") {
      request.threads = std::atoi(value().c_str());
    } else if (args[i] == "--teacher") {
      const fs::path teacher(value());
      request.teacher_folder = teacher.has_parent_path() ? teacher.parent_path().string() : ".";
      request.teacher_main_file = teacher.filename().string();
    } else if (args[i] == "--verbose") {
      verbose = true;
    } else {
      plain.push_back(args[i]);
    }
  }
  if (plain.size() < 3)
    return absl::InvalidArgumentError("compress IN OUT_FOLDER RECIPE DATA... [--teacher FILE]");
  const fs::path in(plain[0]);
  request.input_folder = in.has_parent_path() ? in.parent_path().string() : ".";
  request.main_file = in.filename().string();
  request.output_folder = plain[1];
  request.recipe_json = plain[2];
  for (size_t i = 3; i < plain.size(); ++i) {
    const size_t equals = plain[i].find('=');
    InputDataset dataset;
    dataset.role = equals == std::string::npos ? "" : plain[i].substr(0, equals);
    dataset.path = equals == std::string::npos ? plain[i] : plain[i].substr(equals + 1);
    dataset.name = fs::path(dataset.path).filename().string();
    request.datasets.push_back(dataset);
  }
  const auto start = std::chrono::steady_clock::now();
  hooks.seconds = [start] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  if (verbose) {
    hooks.progress = [](const Progress& progress) {
      std::cerr << progress.stage << " " << progress.fraction << " " << progress.message << "\n";
    };
  }
  ASSIGN_OR_RETURN(const CompressResult result, Compress(request, hooks));
  if (verbose) std::cerr << result.report_text << "\n";
  std::cout << result.report_json << std::endl;
  return absl::OkStatus();
}

}  // namespace lathe::engine
