// SPDX-License-Identifier: Apache-2.0
// The log of one engine: a private spdlog logger whose only sink is the host's callback. Without a callback records are
// dropped. Never prompt text, token ids or keys. Threads: any; records reach the callback whole, and concurrently.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>

namespace spdlog {
class logger;
}

namespace merritt::observe {

enum class LogLevel : uint32_t { kDebug = 0, kInfo = 1, kWarning = 2, kError = 3 };

// The host's function, as in merritt/engine.h.
struct LogCallback {
  void (*fn)(void* user, uint32_t level, const char* text, size_t length) = nullptr;
  void* user = nullptr;
};

class Log {
 public:
  Log(LogLevel level, LogCallback callback);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // Ask before building an expensive text.
  bool enabled(LogLevel level) const;
  // Control characters become blanks and long records are cut, so that a text from a plugin cannot forge a second one.
  void write(LogLevel level, std::string_view text) noexcept;

  void debug(std::string_view text) noexcept { write(LogLevel::kDebug, text); }
  void info(std::string_view text) noexcept { write(LogLevel::kInfo, text); }
  void warning(std::string_view text) noexcept { write(LogLevel::kWarning, text); }
  void error(std::string_view text) noexcept { write(LogLevel::kError, text); }

 private:
  std::unique_ptr<spdlog::logger> logger_;  // null = dropped
};

}  // namespace merritt::observe
