// SPDX-License-Identifier: Apache-2.0
//
// The `merritt` command: reads the command line, runs one verb, prints its failure. Exit codes: 0 done, 1 failed, 2 the
// command line itself is wrong.
#include <cstdio>
#include <exception>

#include "cli.hpp"
#include "interrupt.hpp"

namespace {

int parse_and_run(CLI::App& app, int argc, char** argv, merritt::tools::Verb& verb) {
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? merritt::tools::kExitOk : merritt::tools::kExitUsage;
  }
  merritt::tools::end_on_interrupt();
  try {
    return verb();
  } catch (const merritt::tools::Failure& failure) {
    std::fflush(stdout);
    std::fprintf(stderr, "merritt: %s\n", failure.what());
    return failure.exit_code();
  } catch (const std::exception& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "merritt: %s\n", error.what());
    return merritt::tools::kExitFailed;
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("Merritt: language models in your process, for many tenants.", "merritt");
  merritt::tools::Verb verb;
  merritt::tools::add_run(app, verb);
  merritt::tools::add_chat(app, verb);
  merritt::tools::add_tokenize(app, verb);
  merritt::tools::add_detokenize(app, verb);
  merritt::tools::add_eval(app, verb);
  merritt::tools::add_bench(app, verb);
  merritt::tools::add_inspect(app, verb);
  merritt::tools::add_backends(app, verb);
  merritt::tools::add_plugin(app, verb);
  merritt::tools::add_doctor(app, verb);
  merritt::tools::add_demo(app, verb);
  app.set_version_flag("--version", merritt_version_string());
  app.require_subcommand(1);
  app.footer("`merritt VERB --help` lists the options of a verb.");
  return parse_and_run(app, argc, argv, verb);
}
