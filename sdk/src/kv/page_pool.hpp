// SPDX-License-Identifier: Apache-2.0
// The pages of one KV group: which are free, how many page tables name each, and whose bytes it holds.
//
// Threads: the step thread only. No clock, no allocation after construction.
// Invariants: a page is free or has one owner; a page that held one tenant's bytes is zeroed before another gets it; of
// those that name a page, as many are at rest as were counted.
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
  void share(uint32_t page);
  // Takes one reference away, of one that is not at rest (any more); true when the page became free. Its bytes stay
  // until wipe() or another owner's allocate().
  bool drop(uint32_t page);
  // One of those that name it has come to rest, or is at rest no more.
  void rest(uint32_t page);
  void unrest(uint32_t page);
  bool all_rest(uint32_t page) const { return pages_[page].resting == pages_[page].references; }
  // Pages that become free when all at rest let go of theirs; of a windowed group, those that are promised to them.
  uint32_t pages_at_rest() const { return n_at_rest_; }
  // Zeroes every free page that still holds bytes of `tenant`.
  Status wipe(TenantId tenant);
  // Zeroes a free page.
  Status wipe_page(uint32_t page);

 private:
  struct Page {
    KvAccount* account = nullptr;         // while references != 0
    TenantId bytes_of = TenantId::kNone;  // whose bytes are in it, also while free; kNone = zeroed
    uint32_t references = 0;
    uint32_t resting = 0;  // of these, at rest
  };

  uint32_t at_rest(const Page& page) const;

  GroupShape shape_;
  uint32_t group_;
  PageVerbs* verbs_;
  std::vector<Page> pages_;
  uint32_t n_at_rest_ = 0;
  std::vector<uint32_t> free_;   // the last one is taken next
  std::vector<uint32_t> dirty_;  // scratch: pages to zero in one call
};

}  // namespace merritt::kv
