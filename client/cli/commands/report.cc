// lathe report JOB, inspect MODEL
#include <iostream>

#include "absl/strings/match.h"
#include "client/cli/commands/commands.h"
#include "client/cli/job_flags.h"
#include "client/cli/output.h"
#include "client/cli/page_flags.h"
#include "common/report/page.h"

namespace lathe::cli {
namespace {

int PrintReport(Context& context, const PageFlags& page,
                std::string (*render)(const nlohmann::json&),
                const absl::StatusOr<client::Report>& report) {
  if (!report.ok()) return context.Fail(report.status());
  if (const absl::Status written = page.Write(report->json, render); !written.ok()) {
    return context.Fail(written);
  }
  std::cout << (context.json ? report->json : report->text);
  if (context.json || !absl::EndsWith(report->text, "\n")) std::cout << "\n";
  if (!page.html.empty() && !context.json) std::cout << "wrote " << page.html << "\n";
  std::cout << std::flush;
  const absl::Status opened = page.Open();
  return opened.ok() ? kOk : context.Fail(opened);
}

int Inspect(Context& context, const std::string& model, const std::vector<std::string>& bindings,
            const PageFlags& page) {
  const auto bound = ParseBindings(bindings);
  if (!bound.ok()) return context.Fail(bound.status());
  auto client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  const absl::StatusOr<std::string> name = ModelArgument(**client, context, model);
  if (!name.ok()) return context.Fail(name.status());
  return PrintReport(context, page, ModelPage, (*client)->InspectModel(*name, *bound));
}

}  // namespace

void AddReportCommand(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("report", "Print a finished job's report: a table, or JSON with --json");
  command->add_option("JOB", *name, "jobs/ID, or just ID")->required();
  auto page = std::make_shared<PageFlags>();
  page->Add(*command, "the report");
  command->callback([&context, name, page] {
    auto client = context.Connect();
    if (!client.ok()) return static_cast<void>(context.Fail(client.status()));
    PrintReport(context, *page, ReportPage, (*client)->GetReport(ResourceName("jobs", *name)));
  });
}

void AddInspectCommand(CLI::App& app, Context& context) {
  auto model = std::make_shared<std::string>();
  auto bindings = std::make_shared<std::vector<std::string>>();
  CLI::App* command = app.add_subcommand(
      "inspect", "Tell what is in a model, and which methods apply to which layers");
  command->add_option("MODEL", *model, "models/ID, or an .onnx file to upload first")->required();
  command->add_option("-b,--bind", *bindings, "Size of a symbolic dimension, repeatable")
      ->type_name("NAME=SIZE")
      ->allow_extra_args(false);
  auto page = std::make_shared<PageFlags>();
  page->Add(*command, "the summary");
  command->callback(
      [&context, model, bindings, page] { Inspect(context, *model, *bindings, *page); });
}

}  // namespace lathe::cli
