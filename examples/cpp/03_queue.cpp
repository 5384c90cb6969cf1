// SPDX-License-Identifier: Apache-2.0
//
// Eight generations read by one thread through one queue, which waits in poll(2) as a server's event loop would.
//
// usage: 03_queue MODEL.gguf PLUGIN_DIR PUBLISHER PUBLIC_KEY_HEX
#include <poll.h>

#include <iostream>
#include <string>
#include <vector>

#include "common.hpp"

namespace {

constexpr size_t kConnections = 8;

struct Connection {
  merritt::Session session;
  merritt::Request request;
  std::string text;
};

// Takes everything there is to be read; returns how many generations have ended with it.
size_t read_all(merritt::Queue& queue, std::vector<Connection>& connections) {
  size_t ended = 0;
  for (const merritt::Completion& completion : queue.next(0).value_or_throw()) {
    if (completion.code != merritt::Code::kOk) {
      throw std::runtime_error(std::string(completion.message));
    }
    connections[completion.user].text += completion.event.text;
    ended += completion.event.kind == merritt::EventKind::kEnd ? 1 : 0;
  }
  return ended;
}

int run(int argc, char** argv) {
  merritt::Engine engine = merritt::Engine::create(options_of(argc, argv)).value_or_throw();
  engine.load_backends().value_or_throw();
  merritt::Model model = engine.load(argv[1]).value_or_throw();
  merritt::Tenant tenant = engine.tenant("acme").value_or_throw();
  merritt::Queue queue = engine.queue().value_or_throw();

  std::vector<Connection> connections(kConnections);
  for (size_t i = 0; i < kConnections; ++i) {
    Connection& c = connections[i];
    c.session = tenant.session(model).value_or_throw();
    c.request = c.session.submit({.text = "Once upon a time", .max_tokens = 24, .seed = i + 1, .temperature = 0.8f})
                    .value_or_throw();
    queue.add(c.request, i).value_or_throw();
  }
  pollfd readable{static_cast<int>(queue.fd().value_or_throw()), POLLIN, 0};
  for (size_t ended = 0; ended != kConnections;) {
    poll(&readable, 1, -1);
    ended += read_all(queue, connections);
  }
  for (const Connection& c : connections) {
    std::cout << c.text << "\n--\n";
  }
  engine.drain(10'000).value_or_throw();  // nothing is left: at once
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
