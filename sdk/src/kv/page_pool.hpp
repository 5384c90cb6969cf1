// SPDX-License-Identifier: Apache-2.0
// The pages of one KV group: which are free, how many page tables name each, and whose bytes it holds.
//
// Threads: the step thread only. No clock, no allocation after construction.
// Invariants: a page is free or has one owner; a page that held one tenant's bytes is zeroed before another gets it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/kv_account.hpp"
#include "base/status.hpp"

namespace merritt::kv {

inline constexpr uint32_t kMaxGroups = 4;

// Layers that share one page table. A token at index i sees the keys j <= i and, with a window, i - j < window.
struct GroupShape {
  uint32_t window = 0;  // 0 = sees everything
  uint32_t page_tokens = 0;
  uint32_t n_pages = 0;
  uint64_t page_bytes = 0;
};

// What the core asks of whoever holds the bytes.
class PageVerbs {
 public:
  virtual ~PageVerbs() = default;
  // The first n_tokens of page `from` to page `to`.
  virtual Status copy(uint32_t group, uint32_t from, uint32_t to, uint32_t n_tokens) = 0;
  virtual Status zero(uint32_t group, std::span<const uint32_t> pages) = 0;
};

class PagePool {
 public:
  PagePool(uint32_t group, const GroupShape& shape, PageVerbs& verbs);

  const GroupShape& shape() const { return shape_; }
  uint32_t free_pages() const { return static_cast<uint32_t>(free_.size()); }
  uint32_t references(uint32_t page) const { return pages_[page].references; }
  TenantId owner(uint32_t page) const;
  const KvAccount* account(uint32_t page) const { return pages_[page].account; }  // null = free

  // Appends n pages with one reference each to *out, or changes nothing: kOverloaded when they are not there, else the
  // failure of the zero verb. *out needs the capacity.
  Status allocate(KvAccount& account, uint32_t n, std::vector<uint32_t>* out);
  void share(uint32_t page) { ++pages_[page].references; }
  // Takes one reference away; true when the page became free. Its bytes stay until wipe() or another owner's
  // allocate().
  bool drop(uint32_t page);
  // Zeroes every free page that still holds bytes of `tenant`.
  Status wipe(TenantId tenant);
  // Zeroes a free page.
  Status wipe_page(uint32_t page);

 private:
  struct Page {
    KvAccount* account = nullptr;         // while references != 0
    TenantId bytes_of = TenantId::kNone;  // whose bytes are in it, also while free; kNone = zeroed
    uint32_t references = 0;
  };

  GroupShape shape_;
  uint32_t group_;
  PageVerbs* verbs_;
  std::vector<Page> pages_;
  std::vector<uint32_t> free_;   // the last one is taken next
  std::vector<uint32_t> dirty_;  // scratch: pages to zero in one call
};

}  // namespace merritt::kv
