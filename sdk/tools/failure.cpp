// SPDX-License-Identifier: Apache-2.0
//
// Turns an error of the library into a line that tells what went wrong and one that names the fix.
#include "cli.hpp"

namespace merritt::tools {
namespace {

const char* hint_of(Code code) {
  switch (code) {
    case Code::kOk: return nullptr;
    case Code::kInvalidArgument: return "`merritt VERB --help` lists the options and what they take";
    case Code::kNotFound: return "`merritt doctor` lists the models and plugins on this machine";
    case Code::kPermissionDenied:
      return "the plugin is not trusted here: `merritt plugin verify` says why, --trust FILE names another trust list";
    case Code::kFailedPrecondition: return "wait until what runs has ended, then try again";
    case Code::kQuotaExceeded:
    case Code::kOverloaded: return "try again when what runs has ended, or ask for less at once";
    case Code::kDeadlineExceeded: return "allow more time, or ask for fewer tokens";
    case Code::kCancelled: return "start it again to run it to its end";
    case Code::kUnsupported:
      return "`merritt inspect MODEL` and `merritt backends` tell what the model needs and what is loaded";
    case Code::kCorrupt: return "get the file again, or compare its SHA-256 with the publisher's";
    case Code::kBackend: return "`merritt doctor` checks the plugins; --backend reference needs nothing of the machine";
    case Code::kOutOfMemory: return "try a smaller --context, --kv-type q8_0, or a smaller model";
    case Code::kInternal: break;
  }
  return "a defect of Merritt: report it with what --verbose prints and with `merritt doctor --json`";
}

// The library names the field of its options that is wrong; the command has another name for it.
const char* hint_of(const Error& error) {
  const bool too_long = error.code() == Code::kInvalidArgument &&
                        std::string_view(error.message()).find("context_max") != std::string_view::npos;
  if (too_long)
    return "--context N allows longer sequences, up to what `merritt inspect MODEL` says it was trained for";
  return hint_of(error.code());
}

}  // namespace

Failure with_fix(const std::string& text, const std::string& fix, int exit_code) {
  return Failure(text + "\n  fix: " + fix, exit_code);
}

Failure failure_of(const Error& error, const std::string& doing) {
  std::string text = doing + ": " + error.message() + " [" + name(error.code()) + "]";
  if (error.retry_after_ms() != 0) text += "; retry after " + std::to_string(error.retry_after_ms()) + " ms";
  return with_fix(text, hint_of(error));
}

void expect(Result<void> result, const std::string& doing) {
  if (!result) throw failure_of(result.error(), doing);
}

void require(const std::string& problem, const std::string& fix) {
  if (!problem.empty()) throw with_fix(problem, fix);
}

}  // namespace merritt::tools
