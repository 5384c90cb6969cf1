// SPDX-License-Identifier: Apache-2.0
#include "observe/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/sink.h>

#include <string>

#include "base/limits.hpp"
#include "base/text.hpp"

namespace merritt::observe {
namespace {

spdlog::level::level_enum to_spdlog(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarning: return spdlog::level::warn;
    case LogLevel::kError: break;
  }
  return spdlog::level::err;
}

uint32_t to_host(spdlog::level::level_enum level) {
  if (level <= spdlog::level::debug) return static_cast<uint32_t>(LogLevel::kDebug);
  if (level == spdlog::level::info) return static_cast<uint32_t>(LogLevel::kInfo);
  if (level == spdlog::level::warn) return static_cast<uint32_t>(LogLevel::kWarning);
  return static_cast<uint32_t>(LogLevel::kError);
}

// Hands the bare text to the host, which adds time and place as it likes. No lock: the host's function may be called
// concurrently, and a callback is never made under a lock of ours.
class CallbackSink final : public spdlog::sinks::sink {
 public:
  explicit CallbackSink(LogCallback callback) : callback_(callback) {}
  void log(const spdlog::details::log_msg& record) override {
    callback_.fn(callback_.user, to_host(record.level), record.payload.data(), record.payload.size());
  }
  void flush() override {}
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

 private:
  LogCallback callback_;
};

}  // namespace

Log::Log(LogLevel level, LogCallback callback) {
  if (callback.fn == nullptr) return;
  logger_ = std::make_unique<spdlog::logger>("merritt", std::make_shared<CallbackSink>(callback));
  logger_->set_level(to_spdlog(level));
  // spdlog's own handler would print.
  logger_->set_error_handler([](const std::string&) {});
}

Log::~Log() = default;

bool Log::enabled(LogLevel level) const { return logger_ != nullptr && logger_->should_log(to_spdlog(level)); }

void Log::write(LogLevel level, std::string_view text) noexcept {
  if (!enabled(level)) return;
  try {
    const std::string clean = clean_text(text, limits::kLogRecordBytesMax);
    logger_->log(to_spdlog(level), spdlog::string_view_t(clean.data(), clean.size()));
  } catch (...) {
    return;  // no memory for a record: it is dropped
  }
}

}  // namespace merritt::observe
