// lathe models
#include <iostream>

#include "client/cli/commands/commands.h"
#include "client/cli/output.h"

namespace lathe::cli {
namespace {

int Run(Context& context, int limit) {
  auto client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  v1::ListModelsResponse all;
  std::string page_token;
  do {
    auto page = (*client)->ListModels(std::min(limit - all.models_size(), 1000), page_token);
    if (!page.ok()) return context.Fail(page.status());
    for (const v1::Model& model : page->models()) *all.add_models() = model;
    page_token = page->next_page_token();
  } while (!page_token.empty() && all.models_size() < limit);
  if (context.json) {
    std::cout << ToJson(all) << std::endl;
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {{"NAME", "FILE", "SIZE", "CREATED", "FROM"}};
  for (const v1::Model& model : all.models()) {
    rows.push_back({model.name(), model.display_name(), HumanBytes(model.total_bytes()),
                    HumanTime(model.create_time()), model.source_job()});
  }
  std::cout << Table(rows);
  if (!page_token.empty())
    std::cerr << "more than " << limit << " models; see --limit" << std::endl;
  return kOk;
}

}  // namespace

void AddModelsCommand(CLI::App& app, Context& context) {
  auto limit = std::make_shared<int>(50);
  CLI::App* command = app.add_subcommand("models", "List models, newest first");
  command->add_option("-n,--limit", *limit, "Most to list")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->callback([&context, limit] { Run(context, *limit); });
}

}  // namespace lathe::cli
