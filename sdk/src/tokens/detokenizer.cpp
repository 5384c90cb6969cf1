// SPDX-License-Identifier: Apache-2.0
#include "tokens/detokenizer.hpp"

#include "tokens/utf8.hpp"

namespace merritt::tokens {

void Detokenizer::push(int32_t id, std::string& out) {
  if (tokenizer_.is_special(id)) {
    if (!special_) return;
    strip_blank_ = false;
    flush(out);  // what came before cannot go on in a special token
    held_ += tokenizer_.bytes(id, scratch_);
    emit(out);  // the file may call anything a special token, half a character too
    return;
  }
  std::string_view bytes = tokenizer_.bytes(id, scratch_);
  if (strip_blank_ && !bytes.empty()) {
    if (bytes.front() == ' ') bytes.remove_prefix(1);
    strip_blank_ = false;
  }
  held_ += bytes;
  emit(out);
}

// Gives out whole characters; keeps a tail that can still become one.
void Detokenizer::emit(std::string& out) {
  size_t at = 0;
  while (at < held_.size()) {
    const Utf8Step step = utf8_step(std::string_view(held_).substr(at));
    if (step.state == Utf8State::kIncomplete) break;
    if (step.state == Utf8State::kWhole) {
      out.append(held_, at, step.bytes);
    } else {
      out += kReplacement;
    }
    at += step.bytes;
  }
  held_.erase(0, at);
}

void Detokenizer::flush(std::string& out) {
  emit(out);
  if (!held_.empty()) out += kReplacement;
  held_.clear();
}

}  // namespace merritt::tokens
