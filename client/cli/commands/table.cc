#include "client/cli/commands/commands.h"

namespace lathe::cli {

const std::vector<Command>& Commands() {
  static const std::vector<Command>* commands = new std::vector<Command>{
      {"compress", AddCompressCommand},
      {"evaluate", AddEvaluateCommand},
      {"advise", AddAdviseCommand},
      {"upload", AddUploadCommand},
      {"models", AddModelsCommand},
      {"inspect", AddInspectCommand},
      {"lint", AddLintCommand},
      {"submit", AddSubmitCommand},
      {"jobs", AddJobsCommand},
      {"job", AddJobCommand},
      {"wait", AddWaitCommand},
      {"watch", AddWatchCommand},
      {"logs", AddLogsCommand},
      {"cancel", AddCancelCommand},
      {"retry", AddRetryCommand},
      {"report", AddReportCommand},
      {"download", AddDownloadCommand},
      {"delete", AddDeleteCommand},
      {"capabilities", AddCapabilitiesCommand},
      {"workers", AddWorkersCommand},
  };
  return *commands;
}

}  // namespace lathe::cli
