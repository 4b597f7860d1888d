// Compresses a model in this process through the installed engine:
// use_engine INPUT_FOLDER FILE OUTPUT_FOLDER.
#include <iostream>

#include "lathe/engine.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  lathe::engine::CompressRequest request;
  request.input_folder = argv[1];
  request.main_file = argv[2];
  request.output_folder = argv[3];
  request.recipe_json = R"({"steps": [{"quantize_weights": {"bits": 8}}]})";
  auto result = lathe::engine::Compress(request, {});
  if (!result.ok()) {
    std::cerr << result.status() << "\n";
    return 1;
  }
  std::cout << result->compression_ratio << "\n";
}
