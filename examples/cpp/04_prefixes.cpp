// SPDX-License-Identifier: Apache-2.0
//
// One instruction in front of every prompt is run once: published by the operator for all tenants, or kept for one.
// Exceptions: value_or_throw() throws what a Result has instead of a value.
//
// usage: 04_prefixes MODEL.gguf PLUGIN_DIR PUBLISHER PUBLIC_KEY_HEX
#include <iostream>

#include "common.hpp"

namespace {

// Runs a prompt in a session of its own and says how much of it was there already.
void ask(merritt::Tenant& tenant, merritt::Model& model, const char* name, const std::string& prompt) {
  auto session = tenant.session(model).value_or_throw();
  auto request = session.submit({.text = prompt, .max_tokens = 16}).value_or_throw();
  std::string text;
  for (auto event = request.next().value_or_throw(); event.kind != merritt::EventKind::kEnd;
       event = request.next().value_or_throw()) {
    text += event.text;
  }
  const auto stats = request.stats().value_or_throw();
  std::cout << name << ": " << stats.cached_tokens << " of " << stats.prompt_tokens << " tokens were there\n";
}

}  // namespace

int main(int argc, char** argv) try {
  auto engine = merritt::Engine::create(options_of(argc, argv)).value_or_throw();
  engine.load_backends().value_or_throw();
  auto model = engine.load(argv[1], {.page_tokens = 16}).value_or_throw();
  std::string instruction = "Once upon a time there was a little girl who liked to answer questions. ";
  instruction += instruction;

  // What everybody may know is published by a tenant of the operator's own.
  // It is promised for good, so it must fit into what is kept for that tenant.
  auto operators = engine.tenant("operator", {.kv_bytes_floor = 256u << 10, .publishes = true}).value_or_throw();
  auto session = operators.session(model).value_or_throw();
  auto request = session.submit({.text = instruction, .max_tokens = 1}).value_or_throw();
  while (request.next().value_or_throw().kind != merritt::EventKind::kEnd) {
  }
  std::cout << session.publish().value_or_throw() << " tokens are published\n";

  // What a tenant's own prompts begin with is kept for that tenant alone, within a limit.
  auto acme = engine.tenant("acme", {.prefix_bytes_max = 16u << 20}).value_or_throw();
  auto globex = engine.tenant("globex").value_or_throw();
  const std::string own = instruction + "Her dog, who is nobody else's business, is called Rex. ";
  ask(acme, model, "acme", own + "She said");
  ask(acme, model, "acme again", own + "He said");
  ask(globex, model, "globex", own + "She said");
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
