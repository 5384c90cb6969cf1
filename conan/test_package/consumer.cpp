// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <merritt/merritt.hpp>

int main() {
  auto engine = merritt::Engine::create();
  if (!engine) return 1;
  std::printf("merritt %s, %u threads\n", merritt_version_string(), engine->stats()->threads);
  return 0;
}
