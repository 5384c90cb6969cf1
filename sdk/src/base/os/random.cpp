// SPDX-License-Identifier: Apache-2.0
#include "base/os/random.hpp"

#include <sys/random.h>

#include <cerrno>

#include "base/os/file.hpp"

namespace merritt::os {

Status random_bytes(std::span<std::byte> out) {
  while (!out.empty()) {
    const ssize_t got = getrandom(out.data(), out.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return Status(Code::kInternal, "the system gives no random bytes: " + error_text(errno));
    out = out.subspan(static_cast<size_t>(got));
  }
  return {};
}

}  // namespace merritt::os
