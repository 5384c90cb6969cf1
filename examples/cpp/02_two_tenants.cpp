// SPDX-License-Identifier: Apache-2.0
//
// Two tenants on one engine and one model, at the same time. No exceptions: every Result is looked at.
//
// usage: 02_two_tenants MODEL.gguf PLUGIN_DIR PUBLISHER PUBLIC_KEY_HEX
#include <iostream>

#include "common.hpp"

namespace {

int fail(const char* doing, const merritt::Error& error) {
  std::cerr << doing << ": " << error.to_string() << "\n";
  return 1;
}

merritt::RequestOptions story(const char* opening, uint64_t seed) {
  return {.text = opening, .max_tokens = 200, .seed = seed, .temperature = 0.8f};
}

}  // namespace

int main(int argc, char** argv) {
  auto engine = merritt::Engine::create(options_of(argc, argv));
  if (!engine) return fail("engine", engine.error());
  if (auto loaded = engine->load_backends(); !loaded) return fail("plugins", loaded.error());
  auto model = engine->load(argv[1]);
  if (!model) return fail("model", model.error());

  // A tenant is a capability with limits of its own: globex may run one sequence at a time.
  auto acme = engine->tenant("acme");
  if (!acme) return fail("acme", acme.error());
  auto globex = engine->tenant("globex", {.sequences_max = 1});
  if (!globex) return fail("globex", globex.error());
  auto first = acme->session(*model);
  if (!first) return fail("session", first.error());
  auto second = globex->session(*model);
  if (!second) return fail("session", second.error());

  auto left = first->submit(story("Once upon a time", 1));
  if (!left) return fail("acme", left.error());
  auto right = second->submit(story("The little dog", 2));
  if (!right) return fail("globex", right.error());

  std::string texts[2];
  merritt::Request* requests[2] = {&*left, &*right};
  for (bool ended[2] = {false, false}; !ended[0] || !ended[1];) {
    for (int i = 0; i < 2; ++i) {
      if (ended[i]) continue;
      auto event = requests[i]->next();
      if (!event) return fail("next", event.error());
      texts[i] += event->text;
      ended[i] = event->kind == merritt::EventKind::kEnd;
    }
  }
  std::cout << "acme:   " << texts[0] << "\nglobex: " << texts[1] << "\n";

  auto stats = engine->stats();
  if (!stats) return fail("stats", stats.error());
  std::cout << stats->steps << " steps, " << stats->steps_mixed << " with rows of both tenants\n";
  return 0;
}
