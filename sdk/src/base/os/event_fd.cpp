// SPDX-License-Identifier: Apache-2.0
#include "base/os/event_fd.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace merritt::os {

Result<EventFd> EventFd::create() {
  EventFd made;
  made.file_ = File(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (made.is_open()) return made;
  return Status(Code::kOverloaded, "no descriptor to wait on is to be had: " + error_text(errno), Blast::kProcess);
}

void EventFd::raise() {
  if (!is_open() || raised_) return;
  constexpr uint64_t kOne = 1;
  raised_ = ::write(fd(), &kOne, sizeof(kOne)) == sizeof(kOne);
}

void EventFd::lower() {
  if (!raised_) return;
  uint64_t count = 0;
  // What cannot be read is not there: a descriptor that somebody else has read is down already.
  [[maybe_unused]] const ssize_t got = ::read(fd(), &count, sizeof(count));
  raised_ = false;
}

}  // namespace merritt::os
