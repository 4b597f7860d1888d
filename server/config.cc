#include "server/config.h"

#include <yaml-cpp/yaml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <thread>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/build_info.h"
#include "common/recipe/validate.h"
#include "common/status_macros.h"
#include "server/listen_address.h"

namespace lathe::server {
namespace {

constexpr char kDescription[] =
    "Lathe's server: takes ONNX models and compression jobs over gRPC and hands the jobs to "
    "workers.\n"
    "With no flags it serves on 127.0.0.1:50051, keeps everything in ./lathe-data, and runs "
    "workers of its own.";

constexpr char kFooter[] =
    "Examples:\n"
    "  lathed --data-dir /var/lib/lathe\n"
    "  lathed --listen 0.0.0.0:50051 --auth-token-file tokens --tls-cert cert.pem --tls-key "
    "key.pem\n"
    "Every flag may stand in the --config file under its name without dashes: `local-workers: 2`. "
    "Flags win.\n"
    "SIGTERM drains: no new jobs start, running ones get --drain-seconds, what is interrupted is "
    "not counted as an attempt.\n"
    "Exit codes: 0 stopped as told; 1 could not serve, or broke; 2 wrong flags or configuration.";

// As CLI::Range, which lets NaN through: it is neither below nor above.
CLI::Validator Within(double least, double most) {
  const auto check = [least, most](std::string& text) -> std::string {
    double value = 0;
    if (absl::SimpleAtod(text, &value) && value >= least && value <= most) return "";
    return absl::StrCat("must be in [", least, ", ", most, "], got ", text);
  };
  return CLI::Validator(check, absl::StrCat("in [", least, ", ", most, "]"));
}

void AddFlags(CLI::App& app, Config& c) {
  app.add_option("--listen", c.listen, "Where to serve gRPC; port 0 takes a free one")
      ->group("Listening")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_option("--metrics-listen", c.metrics_listen,
                 "Where to serve /metrics and /healthz over HTTP; port 0 takes a free one")
      ->group("Listening")
      ->type_name("HOST:PORT")
      ->capture_default_str();
  app.add_option("--port-file", c.port_file, "Write the bound addresses here as JSON once serving")
      ->group("Listening")
      ->type_name("FILE");

  app.add_option("--tls-cert", c.tls_cert, "Certificate chain, PEM; with --tls-key turns TLS on")
      ->group("Security")
      ->type_name("FILE");
  app.add_option("--tls-key", c.tls_key, "Private key, PEM")->group("Security")->type_name("FILE");
  app.add_option("--auth-token-file", c.auth_token_file,
                 "Bearer tokens, one a line; calls without one of them are refused")
      ->group("Security")
      ->type_name("FILE");
  app.add_flag("--allow-plaintext", c.allow_plaintext,
               "Serve beyond loopback without TLS, as behind a proxy or on a private container "
               "network; a token is still needed")
      ->group("Security");

  app.add_option("--data-dir", c.data_dir,
                 "Holds everything: database, blobs, workers' caches; one server a folder")
      ->group("Storage")
      ->type_name("DIR")
      ->capture_default_str();
  app.add_option("--gc-interval-seconds", c.gc_interval_s,
                 "Pause between collections of blobs that nothing names")
      ->group("Storage")
      ->type_name("SECONDS")
      ->check(Within(1.0, 1e9))
      ->capture_default_str();
  app.add_option("--gc-grace-seconds", c.gc_grace_s,
                 "Blobs and unfinished uploads younger than this are spared")
      ->group("Storage")
      ->type_name("SECONDS")
      ->check(Within(60.0, 1e9))
      ->capture_default_str();

  app.add_option("--local-workers", c.local_workers,
                 "Workers to start and look after; 0: all workers come from elsewhere")
      ->group("Jobs and workers")
      ->check(CLI::Range(0, 256))
      ->capture_default_str();
  app.add_option("--worker-binary", c.worker_binary,
                 "Program of the local workers; default: lathe-worker beside lathed")
      ->group("Jobs and workers")
      ->type_name("FILE");
  app.add_option("--worker-memory-limit-mb", c.worker_memory_limit_mb,
                 "Memory of one job process of a local worker; 0: the worker's default")
      ->group("Jobs and workers")
      ->type_name("MB")
      ->check(Within(0.0, 1e9))
      ->capture_default_str();
  app.add_option("--ort-library", c.ort_library,
                 "ONNX Runtime's shared library, in which the local workers' jobs measure latency "
                 "too; default: none")
      ->group("Jobs and workers")
      ->type_name("FILE");
  app.add_option("--checkpoint-seconds", c.checkpoint_s,
                 "How often a local worker's job that trains saves where it stands, for the next "
                 "attempt to go on from; 0: never")
      ->group("Jobs and workers")
      ->type_name("SECONDS")
      ->check(Within(0.0, 86400.0))
      ->capture_default_str();
  app.add_option("--lease-seconds", c.lease_s, "A worker silent for this long loses its jobs")
      ->group("Jobs and workers")
      ->type_name("SECONDS")
      ->check(Within(1.0, 3600.0))
      ->capture_default_str();
  app.add_option("--max-attempts", c.max_attempts,
                 "Attempts a job gets when workers crash or vanish")
      ->group("Jobs and workers")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  app.add_option("--retry-seconds", c.retry_initial_s,
                 "Wait before the second attempt; doubles from there")
      ->group("Jobs and workers")
      ->type_name("SECONDS")
      ->check(Within(0.0, 3600.0))
      ->capture_default_str();
  app.add_option("--drain-seconds", c.drain_s, "Time running jobs get to finish after SIGTERM")
      ->group("Jobs and workers")
      ->type_name("SECONDS")
      ->check(Within(0.0, 86400.0))
      ->capture_default_str();
  app.add_flag("--result-cache,!--no-result-cache", c.result_cache,
               "Answer a job from an earlier one with the same inputs, recipe, build and seed "
               "(default: on)")
      ->group("Jobs and workers");

  app.add_option("--log-level", c.log_level, "Least severe message to print")
      ->group("Logging")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->capture_default_str();
  app.add_option("--log-format", c.log_format, "text, or json lines; on standard error")
      ->group("Logging")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

// The file's keys as arguments, in front of the user's own so that those win.
absl::StatusOr<std::vector<std::string>> ArgumentsFromFile(const std::string& path,
                                                           const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    const std::string name = option->get_name().substr(option->get_name().find_first_not_of('-'));
    if (name != "help" && name != "version" && name != "config") names.push_back(name);
  }
  std::vector<std::string> out;
  try {
    const YAML::Node root = YAML::LoadFile(path);
    if (root.IsNull()) return out;
    if (!root.IsMap())
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": must be a map of flag names to values"));
    for (const auto& entry : root) {
      const std::string key = entry.first.as<std::string>();
      if (std::count(names.begin(), names.end(), key) == 0) {
        const std::string nearest = NearestName(key, names);
        return absl::InvalidArgumentError(
            absl::StrCat(path, ": unknown key \"", key, "\"; ",
                         nearest.empty() ? absl::StrCat("valid are: ", absl::StrJoin(names, ", "))
                                         : absl::StrCat("did you mean \"", nearest, "\"?")));
      }
      if (!entry.second.IsScalar())
        return absl::InvalidArgumentError(absl::StrCat(path, ": ", key, " must be one value"));
      out.push_back(absl::StrCat("--", key, "=", entry.second.Scalar()));
    }
  } catch (const YAML::Exception& e) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", e.what()));
  }
  return out;
}

ParsedConfig Exit(int code, std::string output) {
  ParsedConfig out;
  out.exit_now = true;
  out.exit_code = code;
  out.output = std::move(output);
  return out;
}

}  // namespace

ParsedConfig ParseConfig(int argc, const char* const* argv) {
  ParsedConfig parsed;
  parsed.config.local_workers =
      static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 4u));
  CLI::App app{kDescription, "lathed"};
  app.footer(kFooter);
  app.set_version_flag("--version", absl::StrCat("lathed ", BuildId()));
  std::string config_file;
  app.add_option("--config", config_file, "YAML file with any of these flags")->type_name("FILE");
  AddFlags(app, parsed.config);
  for (CLI::Option* option : app.get_options())
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);

  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  for (size_t i = 0; i < arguments.size(); ++i) {
    if (arguments[i] == "--config" && i + 1 < arguments.size()) config_file = arguments[i + 1];
    if (arguments[i].rfind("--config=", 0) == 0) config_file = arguments[i].substr(9);
  }
  if (!config_file.empty()) {
    absl::StatusOr<std::vector<std::string>> from_file = ArgumentsFromFile(config_file, app);
    if (!from_file.ok())
      return Exit(2, absl::StrCat("lathed: ", from_file.status().message(), "\n"));
    arguments.insert(arguments.begin(), from_file->begin(), from_file->end());
  }
  std::reverse(arguments.begin(), arguments.end());  // as CLI11 wants them
  try {
    app.parse(arguments);
  } catch (const CLI::Success& e) {
    std::ostringstream out;
    app.exit(e, out, out);
    return Exit(0, out.str());
  } catch (const CLI::ParseError& e) {
    std::ostringstream out;
    app.exit(e, out, out);
    return Exit(2, out.str());
  }
  return parsed;
}

absl::Status CheckConfig(Config* config) {
  ASSIGN_OR_RETURN(const ListenAddress listen, ListenAddress::Parse(config->listen));
  RETURN_IF_ERROR(ListenAddress::Parse(config->metrics_listen).status());
  if (config->tls_cert.empty() != config->tls_key.empty()) {
    return absl::InvalidArgumentError("--tls-cert and --tls-key go together; give both");
  }
  if (!config->auth_token_file.empty()) {
    std::ifstream in(config->auth_token_file);
    if (!in)
      return absl::InvalidArgumentError(
          absl::StrCat("cannot read --auth-token-file ", config->auth_token_file));
    for (std::string line; std::getline(in, line);) {
      const absl::string_view token = absl::StripAsciiWhitespace(line);
      if (token.empty() || token[0] == '#') continue;
      if (token.size() < 16) {
        return absl::InvalidArgumentError(absl::StrCat(
            config->auth_token_file,
            ": a token has fewer than 16 characters; make one with `openssl rand -hex 32`"));
      }
      config->tokens.emplace_back(token);
    }
    if (config->tokens.empty())
      return absl::InvalidArgumentError(absl::StrCat(config->auth_token_file, " holds no token"));
  }
  if (!listen.IsLoopback()) {
    std::vector<std::string> missing;
    if (config->tokens.empty()) missing.push_back("a token (--auth-token-file FILE)");
    if (config->tls_cert.empty() && !config->allow_plaintext) {
      missing.push_back(
          "TLS (--tls-cert FILE --tls-key FILE; or --allow-plaintext behind a proxy or on a "
          "private network)");
    }
    if (!missing.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--listen ", config->listen,
                       " can be reached from other machines: refusing to serve there without ",
                       absl::StrJoin(missing, " and ")));
    }
  }
  return absl::OkStatus();
}

}  // namespace lathe::server
