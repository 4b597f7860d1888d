// What can be said of a job's files before it is created: headers alone, read here.
#ifndef LATHE_CLIENT_CLI_DATA_CHECK_H_
#define LATHE_CLIENT_CLI_DATA_CHECK_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/recipe/recipe.h"

namespace lathe::cli {

// Holds the headers of the datasets at `paths` against the inputs of the ONNX file `model_path`,
// and the outputs that the validated recipe names against those that the file has. INVALID_ARGUMENT
// names the file, the key, what was expected and what is there, or the recipe's field. Values are
// the job's to look at, and so is a model that cannot be read here: OK then. OK too for what is no
// file (a name of the server's), and for a recipe that uses no data.
absl::Status CheckData(const std::string& model_path, const Recipe& recipe,
                       const std::vector<std::string>& paths);

}  // namespace lathe::cli

#endif  // LATHE_CLIENT_CLI_DATA_CHECK_H_
