// SPDX-License-Identifier: Apache-2.0
//
// merritt chat: a conversation in the terminal. The whole conversation is sent each time; the session keeps the KV
// cache, so only what is new is run.
#include <cstdio>
#include <iostream>
#include <memory>

#include "cli.hpp"
#include "engine_flags.hpp"
#include "interrupt.hpp"
#include "sampling_flags.hpp"
#include "terminal.hpp"

namespace merritt::tools {
namespace {

struct ChatFlags {
  ModelFlags model;
  SamplingFlags sampling;
  std::string system;
  bool stats = false;
};

constexpr const char* kHelp = "/clear forgets the conversation, /quit ends; Ctrl-C stops an answer\n";

// False at the end of input or when Ctrl-C was pressed at the prompt.
bool read_line(std::string& line) {
  if (stderr_is_terminal()) std::fputs("> ", stderr);
  return static_cast<bool>(std::getline(std::cin, line)) && !interrupted();
}

// Runs one turn and appends the answer; a failure is told and the turn taken back.
void answer(Session& session, std::vector<Message>& messages, const ChatFlags& flags, const ModelInfo& info) {
  RequestOptions options = request_of(flags.sampling);
  options.messages = messages;
  try {
    Request request = expect(session.submit(options), "chat");
    std::string text;
    stream_to_stdout(request, &text);
    if (flags.stats) print_stats(expect(request.stats(), "statistics"), info);
    messages.push_back({"assistant", text});
  } catch (const Failure& failure) {
    std::fprintf(stderr, "merritt: %s\n", failure.what());
    messages.pop_back();
  }
  forget_interrupts();
}

int chat(const ChatFlags& flags) {
  watch_interrupts();
  Engine engine = open_engine(flags.model.engine);
  Model model = load_model(engine, flags.model);
  const ModelInfo info = expect(model.info(), "model");
  if (std::string_view(info.chat_template) == "none") {
    throw with_fix(flags.model.model + ": the file has no chat template", "`merritt run --raw` sends plain text");
  }
  Tenant tenant = expect(engine.tenant("cli"), "tenant");
  Session session = expect(tenant.session(model), "session");
  if (stderr_is_terminal()) std::fprintf(stderr, "%s on %s. %s", info.name, info.backend, kHelp);
  std::vector<Message> opening;
  if (!flags.system.empty()) opening.push_back({"system", flags.system});
  std::vector<Message> messages = opening;
  std::string line;
  while (read_line(line)) {
    if (line == "/quit" || line == "/exit") break;
    if (line.empty()) continue;
    if (line == "/help") {
      std::fputs(kHelp, stderr);
    } else if (line == "/clear") {
      messages = opening;
      session = expect(tenant.session(model), "session");
    } else {
      messages.push_back({"user", line});
      answer(session, messages, flags, info);
    }
  }
  if (stderr_is_terminal()) std::fputs("\n", stderr);
  return kExitOk;
}

}  // namespace

void add_chat(CLI::App& app, Verb& verb) {
  auto flags = std::make_shared<ChatFlags>();
  CLI::App* self = app.add_subcommand("chat", "Talk to a model");
  add_model_flags(*self, flags->model);
  self->add_option("--system", flags->system, "A system message, for models whose template takes one");
  self->add_flag("--stats", flags->stats, "Statistics after each answer");
  add_sampling_flags(*self, flags->sampling);
  self->callback([flags, &verb] { verb = [flags] { return chat(*flags); }; });
}

}  // namespace merritt::tools
