// SPDX-License-Identifier: Apache-2.0
#include "backend/plugin.hpp"

#include <cstring>

#include "base/text.hpp"

namespace merritt::backend {
namespace {

Code code_of(int32_t code) {
  switch (code) {
    case MRT_INVALID_ARGUMENT:
    case MRT_NOT_FOUND:
    case MRT_FAILED_PRECONDITION:
    case MRT_DEADLINE:
    case MRT_CANCELLED:
    case MRT_UNSUPPORTED:
    case MRT_CORRUPT:
    case MRT_OUT_OF_MEMORY: return static_cast<Code>(code);
    default:
      // MRT_INTERNAL too: to a caller, internal means that this library broke an invariant.
      return Code::kBackend;
  }
}

bool is_known_code(int32_t code) {
  return code_of(code) != Code::kBackend || code == MRT_BACKEND || code == MRT_INTERNAL;
}

Blast blast_of(uint32_t blast) {
  switch (blast) {
    case MRT_BLAST_CALL:
    case MRT_BLAST_STEP: return Blast::kRequest;
    case MRT_BLAST_SEQUENCE: return Blast::kSession;
    case MRT_BLAST_PROCESS: return Blast::kProcess;
    default: return Blast::kDevice;
  }
}

}  // namespace

std::string clamp_text(const char* text, size_t capacity) {
  return clean_text({text, strnlen(text, capacity)}, capacity);
}

Status from_mrt_error(int32_t code, const mrt_error& error, std::string_view plugin) {
  if (code == MRT_OK) return {};
  std::string message(plugin.empty() ? "the backend" : plugin);
  message += ": ";
  const std::string text = clamp_text(error.message, sizeof(error.message));
  message += text.empty() ? "failed without saying why" : text;
  if (!is_known_code(code)) message += " (its code " + std::to_string(code) + " is none)";
  if (error.native != 0) message += " (native code " + std::to_string(error.native) + ")";
  return Status(code_of(code), std::move(message), blast_of(error.blast));
}

int32_t report_throw(mrt_error* error) noexcept {
  static constexpr char kText[] = "the plugin threw an exception across its boundary";
  *error = {};
  error->code = MRT_BACKEND;
  error->blast = MRT_BLAST_PROGRAM;
  error->index = UINT32_MAX;
  std::memcpy(error->message, kText, sizeof(kText));
  return MRT_BACKEND;
}

const void* Plugin::extension(std::string_view name, uint32_t bytes) const {
  const void* const table = fenced(table_.extension, name.data(), static_cast<uint32_t>(name.size()));
  if (table == nullptr) return nullptr;
  const auto address = reinterpret_cast<uintptr_t>(table);
  constexpr uint32_t kHead = 2 * sizeof(uint32_t);  // struct_size, reserved
  uint32_t size = 0;
  if (address % alignof(void*) != 0 || !memory_.has(address, kHead)) return nullptr;
  std::memcpy(&size, table, sizeof(size));
  if (size < bytes || !memory_.has(address, size)) return nullptr;
  for (uint32_t at = kHead; at + sizeof(uintptr_t) <= bytes; at += sizeof(uintptr_t)) {
    uintptr_t function = 0;
    std::memcpy(&function, static_cast<const char*>(table) + at, sizeof(function));
    if (function != 0 && !memory_.has_code(function)) return nullptr;
  }
  return table;
}

}  // namespace merritt::backend
