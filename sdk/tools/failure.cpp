// SPDX-License-Identifier: Apache-2.0
//
// Turns an error of the library into one line that names the fix.
#include "cli.hpp"

namespace merritt::tools {
namespace {

const char* hint_of(Code code) {
  switch (code) {
    case Code::kPermissionDenied:
      return "the plugin is not trusted here: `merritt plugin verify` says why, --trust FILE names another trust list";
    case Code::kUnsupported:
      return "`merritt inspect MODEL` and `merritt backends` tell what the model needs and what is loaded";
    case Code::kCorrupt: return "get the file again, or compare its SHA-256 with the publisher's";
    case Code::kOutOfMemory: return "try a smaller --context, --kv-type q8_0, or a smaller model";
    case Code::kOverloaded: return "try again";
    default: return nullptr;
  }
}

}  // namespace

Failure failure_of(const Error& error, const std::string& doing) {
  std::string text = doing + ": " + error.message() + " [" + name(error.code()) + "]";
  if (error.retry_after_ms() != 0) text += "; retry after " + std::to_string(error.retry_after_ms()) + " ms";
  if (const char* hint = hint_of(error.code())) text += std::string("\n  fix: ") + hint;
  return Failure(text);
}

void expect(Result<void> result, const std::string& doing) {
  if (!result) throw failure_of(result.error(), doing);
}

void require(const std::string& problem) {
  if (!problem.empty()) throw Failure(problem);
}

}  // namespace merritt::tools
