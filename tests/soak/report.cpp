// SPDX-License-Identifier: Apache-2.0
#include "tests/soak/report.hpp"

#include <cstdio>

namespace merritt::soak {
namespace {

constexpr uint64_t kPrintedMost = 50;  // what comes after mostly follows from what came first

constexpr const char* kNames[] = {
    "tenant_create",
    "tenant_destroy",
    "limits_set",
    "usage_get",
    "usage_export",
    "journal_flush",
    "usage_since",
    "stats_get",
    "session_create",
    "session_destroy",
    "session_length",
    "session_truncate",
    "session_fork",
    "session_publish",
    "submit",
    "eval",
    "next",
    "cancel",
    "request_destroy",
    "request_stats",
    "queue_create",
    "queue_destroy",
    "queue_add",
    "queue_remove",
    "queue_fd",
    "queue_next",
    "poll",
    "drain",
    "engine",
    "model",
    "request_error",
};
static_assert(std::size(kNames) == kVerbs);
constexpr const char* kReasons[] = {"none", "eos", "stop", "length", "cancelled", "deadline", "error", "other"};

template <class Count>
void append(std::string& out, const char* name, const Count& count) {
  if (count == 0) return;
  if (out.back() != '{') out += ',';
  out += '"' + std::string(name) + "\":" + std::to_string(count);
}

}  // namespace

void Report::fail(const std::string& what) {
  if (failures_.fetch_add(1) >= kPrintedMost) return;
  const std::string line =
      "soak: seed " + std::to_string(seed_) + " round " + std::to_string(round_.load()) + ": " + what + "\n";
  (void)std::fputs(line.c_str(), stderr);
}

bool Report::check(Verb verb, int32_t code, Codes allowed, const merritt_error* error, const char* more) {
  const uint32_t index = static_cast<uint32_t>(verb);
  if (code < 0 || static_cast<uint32_t>(code) >= kCodes) {
    fail(std::string(kNames[index]) + " answered " + std::to_string(code) + ", which is no code");
    return false;
  }
  counts_[index][static_cast<uint32_t>(code)].fetch_add(1, std::memory_order_relaxed);
  if ((codes(code) & allowed) != codes(code)) {
    fail(std::string(kNames[index]) + " answered " + merritt_code_name(code) + ": " + merritt_error_message(error) +
         (*more != '\0' ? "; " : "") + more);
  }
  return code == MERRITT_OK;
}

void Report::expect_equal(uint64_t got, uint64_t wanted, const std::string& what) {
  if (got != wanted) fail(what + ": " + std::to_string(got) + " instead of " + std::to_string(wanted));
}

std::string Report::json() const {
  std::string out = "\"generated_tokens\":" + std::to_string(tokens_.load());
  std::string finished = "{", answers = "{";
  for (uint32_t r = 0; r < 8; ++r) append(finished, kReasons[r], finished_[r].load());
  for (uint32_t v = 0; v < kVerbs; ++v) {
    std::string one = "{";
    for (uint32_t c = 0; c < kCodes; ++c) {
      append(one, merritt_code_name(static_cast<int32_t>(c)), counts_[v][c].load());
    }
    if (one == "{") continue;
    answers += (answers == "{" ? "\"" : ",\"") + std::string(kNames[v]) + "\":" + one + "}";
  }
  return out + ",\"finished\":" + finished + "},\"answers\":" + answers + "}";
}

}  // namespace merritt::soak
