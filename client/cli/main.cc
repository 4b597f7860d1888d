// The `lathe` command: wiring only. Each subcommand is a file in commands/.
#include <iostream>

#include "client/cli/context.h"
#include "client/cli/interrupt.h"
#include "common/build_info.h"

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
                 "Server to talk to. Default: LATHE_SERVER, else 127.0.0.1:50051; `compress` "
                 "starts a private one")
      ->type_name("HOST:PORT");
  app.add_option("--token-file", context.token_file,
                 "File with the bearer token. Default: LATHE_TOKEN")
      ->type_name("FILE");
  app.add_option("--tls-ca", context.tls_ca,
                 "Use TLS and trust the authorities in this PEM file (\"system\": the machine's)")
      ->type_name("FILE");
  app.add_option("--connect-timeout", context.connect_timeout_s,
                 "Seconds to go on trying an unreachable server")
      ->check(CLI::Range(0.0, 86400.0))
      ->capture_default_str();
  app.add_flag("--json", context.json, "Machine-readable output on standard output");
  app.add_flag("-q,--quiet", context.quiet, "No progress");
  app.footer(
      "Exit codes: 0 done; 1 the server refused or something broke; 2 wrong usage, file or recipe; "
      "3 the job failed;\n"
      "4 the job was cancelled; 5 no server there, or it refused the credentials; 130 "
      "interrupted.");
  for (const Command& command : Commands()) command.add(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    app.exit(e, std::cerr, std::cerr);
    return kUsage;
  }
  return context.exit_code;
}
