// The `lathe` command: wiring only. Each subcommand is a file in commands/.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <string>

#include "absl/strings/numbers.h"
#include "client/cli/context.h"
#include "client/cli/interrupt.h"
#include "common/build_info.h"

namespace {

// The flag may stand behind what could not be parsed.
bool AsksForJson(int argc, char** argv) {
  return std::find(argv + 1, argv + argc, std::string("--json")) != argv + argc;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace lathe::cli;
  InstallInterruptHandler();
  Context context;
  CLI::App app{
      "Compresses ONNX models on a Lathe server.\n"
      "Start with: lathe compress model.onnx -o small.onnx --step quantize_weights:bits=8",
      "lathe"};
  app.set_version_flag("--version", std::string("lathe ") + lathe::BuildId());
  app.require_subcommand(1);
  app.fallthrough();
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::Throw);
  app.add_option("--server", context.server,
                 "Server to talk to. Default: 127.0.0.1:50051; `compress` starts a private one")
      ->envname("LATHE_SERVER")
      ->type_name("HOST:PORT");
  app.add_option("--token-file", context.token_file,
                 "File with the bearer token. Default: the token in LATHE_TOKEN, or none")
      ->envname("LATHE_TOKEN_FILE")
      ->type_name("FILE");
  app.add_option("--tls-ca", context.tls_ca,
                 "Use TLS and trust the authorities in this PEM file (\"system\": the machine's)")
      ->envname("LATHE_TLS_CA")
      ->type_name("FILE");
  app.add_option("--connect-timeout", context.connect_timeout_s,
                 "Seconds to go on trying an unreachable server")
      ->type_name("SECONDS")
      ->check(CLI::Range(0.0, 86400.0))
      // Not a number is neither below nor above a range.
      ->check([](const std::string& text) -> std::string {
        double seconds = 0;
        const bool number = absl::SimpleAtod(text, &seconds) && !std::isnan(seconds);
        return number ? "" : "must be a number of seconds in [0, 86400], got " + text;
      })
      ->capture_default_str();
  app.add_flag("--json", context.json, "Machine-readable output on standard output");
  app.add_flag("-q,--quiet", context.quiet, "No progress");
  app.add_flag("-v,--verbose", context.verbose,
               "Also print the job's log, and keep that of a private server");
  for (const Command& command : Commands()) command.add(app, context);
  for (CLI::App* command : app.get_subcommands({})) {
    const std::string examples = command->get_footer();
    command->footer(
        examples + (examples.empty() ? "" : "\n") +
        "Options of `lathe` itself (--server, --json, --quiet, ...) may stand here too: "
        "see `lathe --help`.");
  }
  // Last, because commands inherit the footer that stands when they are added.
  app.footer(
      "Environment: LATHE_SERVER, LATHE_TOKEN_FILE and LATHE_TLS_CA stand for their flags, "
      "LATHE_TOKEN for a token itself; flags win.\n"
      "`lathe COMMAND --help` tells a command's own options; those above go before or after it.\n"
      "Exit codes: 0 done; 1 the server refused or something broke; 2 wrong usage, file or recipe; "
      "3 the job failed;\n"
      "4 the job was cancelled; 5 no server there, or it refused the credentials; 6 lint found "
      "something; 130 interrupted.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    if (context.json || AsksForJson(argc, argv)) {
      std::cout << ErrorJson(absl::InvalidArgumentError(e.what()), kUsage) << std::endl;
    }
    app.exit(e, std::cerr, std::cerr);
    return kUsage;
  }
  return context.exit_code;
}
