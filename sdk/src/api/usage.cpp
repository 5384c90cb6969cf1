// SPDX-License-Identifier: Apache-2.0
// merritt/usage.h
#include <algorithm>
#include <cstring>

#include "api/lookup.hpp"
#include "base/limits.hpp"

using namespace merritt;       // NOLINT: this file only
using namespace merritt::api;  // NOLINT

extern "C" {

int32_t merritt_engine_usage_export(merritt_engine handle, uint32_t format, char* text, size_t capacity, size_t* length,
                                    merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    if (format > MERRITT_USAGE_PROMETHEUS) {
      return invalid("format is " + std::to_string(format) + "; see MERRITT_USAGE_*");
    }
    const std::string usage = pin.engine().usage_text(static_cast<engine::UsageFormat>(format));
    return write_buffer(usage.data(), usage.size(), text, capacity, length, "text");
  });
}

int32_t merritt_engine_journal_open(merritt_engine handle, const char* path, size_t path_length,
                                    merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    std::string_view name;
    MERRITT_CHECK(read_string(path, path_length, limits::kPathBytesMax, "path", name));
    if (name.empty()) return invalid("path is empty");
    return pin.engine().open_journal(std::string(name));
  });
}

int32_t merritt_engine_journal_flush(merritt_engine handle, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    MERRITT_TRY(const auto journal, pin.engine().journal());
    return journal->flush();
  });
}

int32_t merritt_engine_usage_since(merritt_engine handle, uint64_t after, char* text, size_t capacity, size_t* length,
                                   uint64_t* last, merritt_error** error) {
  return guard(handle, error, [&]() -> Status {
    MERRITT_TRY(const EnginePin pin, find_engine(handle));
    if (text == nullptr || length == nullptr || last == nullptr) return invalid("text, length or last is NULL");
    MERRITT_TRY(const auto journal, pin.engine().journal());
    uint64_t told = after;
    MERRITT_TRY(const std::string lines,
                journal->read_since(after, std::min(capacity, limits::kJournalAnswerBytesMax), &told));
    std::copy(lines.begin(), lines.end(), text);
    *length = lines.size();
    *last = told;
    return {};
  });
}

}  // extern "C"
