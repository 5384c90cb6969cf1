// SPDX-License-Identifier: Apache-2.0
//
// merritt run: one prompt, the answer on stdout as it comes, statistics on stderr.
#include <cstdio>
#include <memory>

#include "cli.hpp"
#include "engine_flags.hpp"
#include "interrupt.hpp"
#include "sampling_flags.hpp"
#include "terminal.hpp"

namespace merritt::tools {
namespace {

struct RunFlags {
  ModelFlags model;
  SamplingFlags sampling;
  std::string prompt;
  bool raw = false;
  bool quiet = false;
};

int run(const RunFlags& flags) {
  watch_interrupts();
  Engine engine = open_engine(flags.model.engine);
  Model model = load_model(engine, flags.model);
  const ModelInfo info = expect(model.info(), "model");
  Tenant tenant = expect(engine.tenant("cli"), "tenant");
  Session session = expect(tenant.session(model), "session");
  RequestOptions options = request_of(flags.sampling);
  const std::string prompt = flags.prompt == "-" ? read_stdin() : flags.prompt;
  if (flags.raw) {
    set_raw_prompt(options, prompt, info);
  } else {
    options.messages = {{"user", prompt}};
  }
  auto submitted = session.submit(options);
  if (!submitted && submitted.error().code() == Code::kUnsupported && !flags.raw) {
    throw with_fix(std::string("the model's chat template: ") + submitted.error().message(),
                   "--raw sends the prompt without a template");
  }
  Request request = expect(std::move(submitted), "run");
  const Finish finish = stream_to_stdout(request);
  if (!flags.quiet) print_stats(expect(request.stats(), "statistics"), info);
  return finish == Finish::kCancelled ? kExitFailed : kExitOk;
}

}  // namespace

void add_run(CLI::App& app, Verb& verb) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App* self = app.add_subcommand("run", "Generate from one prompt");
  add_model_flags(*self, flags->model);
  self->add_option("-p,--prompt", flags->prompt, "The prompt; - reads stdin")->required();
  self->add_flag("--raw", flags->raw, "No chat template: the prompt as it is, BOS as the model wants it");
  self->add_flag("--quiet", flags->quiet, "No statistics");
  add_sampling_flags(*self, flags->sampling);
  self->callback([flags, &verb] { verb = [flags] { return run(*flags); }; });
}

}  // namespace merritt::tools
