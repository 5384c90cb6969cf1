// SPDX-License-Identifier: Apache-2.0
// A descriptor whose only use is to be waited on: readable while it is raised. Threads: one object, one thread.
#pragma once

#include "base/os/file.hpp"
#include "base/status.hpp"

namespace merritt::os {

class EventFd {
 public:
  EventFd() = default;

  // Lowered. overloaded when the process has no descriptor left.
  static Result<EventFd> create();
  bool is_open() const { return file_.is_open(); }
  int fd() const { return file_.fd(); }
  // Neither blocks, neither fails.
  void raise();
  void lower();

 private:
  File file_;
  bool raised_ = false;
};

}  // namespace merritt::os
