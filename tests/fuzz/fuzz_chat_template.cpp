// SPDX-License-Identifier: Apache-2.0
// Any text as a chat template: refused at compile, or rendered within its budget of steps and bytes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "tokens/chat_template.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace merritt::tokens;
  auto compiled = ChatTemplate::compile(std::string_view(reinterpret_cast<const char*>(data), size));
  if (!compiled.ok()) return 0;
  ChatInput input;
  input.messages = {{"system", "Be brief."}, {"user", "What is {{ 1 }}?"}, {"assistant", "One."}, {"user", "And two?"}};
  input.bos_text = "<s>";
  input.eos_text = "</s>";
  const RenderBudget budget{.steps = 20'000, .bytes = 1 << 16};
  std::string out;
  if (compiled.value()->render(input, budget, out).ok() && out.size() > budget.bytes) std::abort();
  return 0;
}
