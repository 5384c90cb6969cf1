// SPDX-License-Identifier: Apache-2.0
//
// Streams one generation. value_or_throw() turns failures into exceptions; 02_two_tenants.cpp does without them.
//
// usage: 01_stream MODEL.gguf PLUGIN_DIR PUBLISHER PUBLIC_KEY_HEX
#include <iostream>

#include "common.hpp"

int main(int argc, char** argv) try {
  const merritt::EngineOptions options = options_of(argc, argv);
  // readme: stream
  merritt::Engine engine = merritt::Engine::create(options).value_or_throw();
  engine.load_backends().value_or_throw();
  merritt::Model model = engine.load(argv[1]).value_or_throw();
  merritt::Tenant acme = engine.tenant("acme").value_or_throw();
  merritt::Session session = acme.session(model).value_or_throw();

  merritt::Request request = session.submit({.text = "Once upon a time", .max_tokens = 64}).value_or_throw();
  for (const merritt::Event& event : request) std::cout << event.text << std::flush;
  // end
  std::cout << "\n";
  if (!request.status()) throw merritt::Exception(request.status().error());
  const merritt::RequestStats stats = request.stats().value_or_throw();
  std::cout << stats.generated_tokens << " tokens, the first after " << stats.first_token_ns / 1000 << " us\n";
  return 0;
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
