// SPDX-License-Identifier: Apache-2.0
#include "base/os/fork_marker.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include "base/os/memory.hpp"

namespace merritt {

ForkMarker::ForkMarker() : process_(getpid()) {
  void* page = mmap(nullptr, os::page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return;
  if (madvise(page, os::page_size(), MADV_WIPEONFORK) != 0) {
    munmap(page, os::page_size());
    return;
  }
  page_ = static_cast<volatile uint8_t*>(page);
  *page_ = 1;
}

ForkMarker::~ForkMarker() {
  if (page_ != nullptr) munmap(const_cast<uint8_t*>(page_), os::page_size());
}

bool ForkMarker::in_child() const { return page_ != nullptr ? *page_ == 0 : getpid() != process_; }

}  // namespace merritt
