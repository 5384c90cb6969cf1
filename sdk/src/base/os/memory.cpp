// SPDX-License-Identifier: Apache-2.0
#include "base/os/memory.hpp"

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "base/checked.hpp"
#include "base/os/file.hpp"

namespace merritt::os {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

// "Name:   123 kB" in the text of /proc/self/status.
uint64_t kib_field(const std::string& text, const char* name) {
  const size_t at = text.find(name);
  if (at == std::string::npos) return 0;
  return std::strtoull(text.c_str() + at + strlen(name), nullptr, 10) * 1024;
}

}  // namespace

size_t page_size() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

Pages map_pages(size_t bytes, size_t align, uint32_t flags) {
  const size_t page = page_size();
  const bool huge = (flags & kPagesHuge) != 0 && bytes >= kHugePage;
  align = std::max({align, page, huge ? kHugePage : page});
  const auto rounded = checked_align<size_t>(std::max<size_t>(bytes, 1), page);
  const auto reserved = rounded ? checked_add<size_t>(*rounded, align - page) : std::nullopt;
  if (!reserved) return {};
  void* raw = mmap(nullptr, *reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (raw == MAP_FAILED) return {};
  auto* base = static_cast<char*>(raw);
  const size_t head = (align - reinterpret_cast<uintptr_t>(base) % align) % align;
  const size_t tail = *reserved - head - *rounded;
  if (head != 0) munmap(base, head);
  if (tail != 0) munmap(base + head + *rounded, tail);
  Pages pages{base + head, *rounded, false};
  // Advice: a kernel that does not know it leaves the memory as usable as before.
  if (huge) madvise(pages.data, pages.bytes, MADV_HUGEPAGE);
  if ((flags & kPagesNoDump) != 0) madvise(pages.data, pages.bytes, MADV_DONTDUMP);
  if ((flags & kPagesWipeOnFork) != 0) madvise(pages.data, pages.bytes, MADV_WIPEONFORK);
  if ((flags & kPagesLock) != 0) pages.locked = mlock2(pages.data, pages.bytes, MLOCK_ONFAULT) == 0;
  return pages;
}

void unmap_pages(void* data, size_t bytes) {
  if (data != nullptr) munmap(data, bytes);
}

void wipe(void* data, size_t bytes) {
  if (bytes != 0) explicit_bzero(data, bytes);
}

void wipe_pages(void* data, size_t bytes) {
  const size_t page = page_size();
  unsigned char resident[1024];
  auto* at = static_cast<char*>(data);
  for (size_t left = bytes; left != 0;) {
    const size_t part = std::min(left, sizeof(resident) * page);
    const bool known = mincore(at, part, resident) == 0;
    for (size_t from = 0; from < part;) {
      size_t to = from;
      while (to < part && (!known || (resident[to / page] & 1) != 0)) to += page;
      wipe(at + from, std::min(to, part) - from);
      from = std::min(to, part) + (to < part ? page : 0);
    }
    at += part;
    left -= part;
  }
}

MemoryState memory_state() {
  MemoryState state;
  if (const Result<File> file = File::open_read("/proc/self/status"); file.ok()) {
    std::string text(8192, '\0');
    text.resize(file->read_some(std::as_writable_bytes(std::span(text.data(), text.size()))));
    state.rss_bytes = kib_field(text, "VmRSS:");
    state.rss_peak_bytes = kib_field(text, "VmHWM:");
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
    state.memlock_bytes = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
  }
  return state;
}

}  // namespace merritt::os
