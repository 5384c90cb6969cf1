// SPDX-License-Identifier: Apache-2.0
// Tells a child of fork() from the process that made the object: a page the kernel hands to the child zeroed. Checking
// costs one load. Threads: any.
#pragma once

#include <cstdint>

namespace merritt {

class ForkMarker {
 public:
  ForkMarker();
  ~ForkMarker();
  ForkMarker(const ForkMarker&) = delete;
  ForkMarker& operator=(const ForkMarker&) = delete;

  bool in_child() const;

 private:
  volatile uint8_t* page_ = nullptr;  // null = no such page is to be had; the process id is compared instead
  int64_t process_ = 0;
};

}  // namespace merritt
