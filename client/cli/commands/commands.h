// Every subcommand of `lathe`: one file each, one line here, one line in table.cc.
#ifndef LATHE_CLIENT_CLI_COMMANDS_COMMANDS_H_
#define LATHE_CLIENT_CLI_COMMANDS_COMMANDS_H_

#include "client/cli/context.h"

namespace lathe::cli {

void AddCompressCommand(CLI::App& app, Context& context);
void AddAdviseCommand(CLI::App& app, Context& context);
void AddEvaluateCommand(CLI::App& app, Context& context);
void AddUploadCommand(CLI::App& app, Context& context);
void AddModelsCommand(CLI::App& app, Context& context);
void AddInspectCommand(CLI::App& app, Context& context);
void AddLintCommand(CLI::App& app, Context& context);
void AddSubmitCommand(CLI::App& app, Context& context);
void AddJobsCommand(CLI::App& app, Context& context);
void AddJobCommand(CLI::App& app, Context& context);
void AddWaitCommand(CLI::App& app, Context& context);
void AddWatchCommand(CLI::App& app, Context& context);
void AddLogsCommand(CLI::App& app, Context& context);
void AddCancelCommand(CLI::App& app, Context& context);
void AddRetryCommand(CLI::App& app, Context& context);
void AddReportCommand(CLI::App& app, Context& context);
void AddDownloadCommand(CLI::App& app, Context& context);
void AddDeleteCommand(CLI::App& app, Context& context);
void AddCapabilitiesCommand(CLI::App& app, Context& context);
void AddWorkersCommand(CLI::App& app, Context& context);

}  // namespace lathe::cli

#endif  // LATHE_CLIENT_CLI_COMMANDS_COMMANDS_H_
