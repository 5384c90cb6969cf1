// SPDX-License-Identifier: Apache-2.0
//
// The command line the C++ examples share: MODEL.gguf PLUGIN_DIR PUBLISHER PUBLIC_KEY_HEX.
#pragma once

#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <merritt/merritt.hpp>
#include <string>
#include <string_view>

inline merritt::EngineOptions options_of(int argc, char** argv) {
  if (argc < 5) {
    std::fprintf(stderr, "usage: %s MODEL.gguf PLUGIN_DIR PUBLISHER PUBLIC_KEY_HEX\n", argv[0]);
    std::exit(2);
  }
  merritt::Publisher publisher;
  publisher.name = argv[3];
  const std::string_view hex = argv[4];
  for (size_t i = 0; i < publisher.public_key.size() && 2 * i + 2 <= hex.size(); ++i) {
    std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, publisher.public_key[i], 16);
  }
  merritt::EngineOptions options;
  options.plugin_dirs = {argv[2]};
  options.publishers = {publisher};
  return options;
}
