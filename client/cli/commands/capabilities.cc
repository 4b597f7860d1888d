// lathe capabilities, workers
#include <iostream>

#include "absl/strings/str_cat.h"
#include "client/cli/commands/commands.h"
#include "client/cli/output.h"

namespace lathe::cli {
namespace {

int Capabilities(Context& context) {
  auto client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  const auto answer = (*client)->GetCapabilities();
  if (!answer.ok()) return context.Fail(answer.status());
  if (context.json) {
    std::cout << ToJson(*answer) << std::endl;
    return kOk;
  }
  std::cout << "lathed " << answer->build_id() << "\n";
  const auto print = [](const v1::Method& method) {
    std::cout << "\n" << method.name() << ": " << method.description() << "\n";
    std::vector<std::vector<std::string>> rows = {
        {"  PARAMETER", "TYPE", "RANGE", "DEFAULT", "MEANING"}};
    for (const v1::Parameter& p : method.parameters()) {
      rows.push_back(
          {absl::StrCat("  ", p.name()), p.type(), p.range(), p.default_value(), p.description()});
    }
    std::cout << Table(rows);
  };
  for (const v1::Method& method : answer->methods()) print(method);
  std::cout << "\nbeside the steps of a recipe:\n";
  for (const v1::Method& section : answer->sections()) print(section);
  return kOk;
}

int Workers(Context& context) {
  auto client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  const auto answer = (*client)->ListWorkers();
  if (!answer.ok()) return context.Fail(answer.status());
  if (context.json) {
    std::cout << ToJson(*answer) << std::endl;
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "STATE", "BUSY", "HOST", "BUILD", "ONNX RUNTIME", "LAST SEEN"}};
  for (const v1::Worker& worker : answer->workers()) {
    std::string state = v1::WorkerState_Name(worker.state());
    rows.push_back({worker.name(), state.substr(state.rfind('_') + 1),
                    absl::StrCat(worker.busy_slots(), "/", worker.slots()), worker.host(),
                    worker.build_id(),
                    worker.onnxruntime_version().empty() ? "-" : worker.onnxruntime_version(),
                    HumanTime(worker.last_seen_time())});
  }
  std::cout << Table(rows);
  return kOk;
}

}  // namespace

void AddCapabilitiesCommand(CLI::App& app, Context& context) {
  app.add_subcommand("capabilities", "List methods with their parameters, ranges and defaults")
      ->callback([&context] { Capabilities(context); });
}

void AddWorkersCommand(CLI::App& app, Context& context) {
  app.add_subcommand("workers", "List workers")->callback([&context] { Workers(context); });
}

}  // namespace lathe::cli
