// lathe upload FILE.onnx
#include <iostream>

#include "client/cli/commands/commands.h"
#include "client/cli/job_flags.h"
#include "client/cli/output.h"

namespace lathe::cli {
namespace {

struct Flags {
  std::string path;
  std::string display_name;
};

int Run(Context& context, const Flags& flags) {
  auto client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  const auto model = UploadWithProgress(**client, context, flags.path, flags.display_name);
  if (!model.ok()) return context.Fail(model.status());
  std::cout << (context.json ? ToJson(*model) : model->name()) << std::endl;
  return kOk;
}

}  // namespace

void AddUploadCommand(CLI::App& app, Context& context) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("upload", "Upload an ONNX model, with its external data; prints its name");
  command->add_option("FILE", flags->path, "The .onnx file")->required()->check(CLI::ExistingFile);
  command->add_option("--display-name", flags->display_name,
                      "Name for people (default: the file's)");
  command->callback([&context, flags] { Run(context, *flags); });
}

}  // namespace lathe::cli
