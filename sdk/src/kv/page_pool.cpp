// SPDX-License-Identifier: Apache-2.0
#include "kv/page_pool.hpp"

#include <string>

namespace merritt::kv {

PagePool::PagePool(uint32_t group, const GroupShape& shape, PageVerbs& verbs)
    : shape_(shape), group_(group), verbs_(&verbs), pages_(shape.n_pages) {
  free_.reserve(shape.n_pages);
  dirty_.reserve(shape.n_pages);
  for (uint32_t page = shape.n_pages; page != 0; --page) free_.push_back(page - 1);
}

TenantId PagePool::owner(uint32_t page) const {
  const KvAccount* account = pages_[page].account;
  return account == nullptr ? TenantId::kNone : account->tenant;
}

Status PagePool::allocate(KvAccount& account, uint32_t n, std::vector<uint32_t>* out) {
  if (n > free_.size()) {
    return Status(Code::kOverloaded, "KV group " + std::to_string(group_) + " has " + std::to_string(free_.size()) +
                                         " free pages of " + std::to_string(shape_.n_pages) + "; " + std::to_string(n) +
                                         " are needed");
  }
  dirty_.clear();
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t page = free_[free_.size() - 1 - i];
    const TenantId bytes_of = pages_[page].bytes_of;
    if (bytes_of != TenantId::kNone && bytes_of != account.tenant) dirty_.push_back(page);
  }
  if (!dirty_.empty()) MERRITT_CHECK(verbs_->zero(group_, dirty_));
  for (uint32_t i = 0; i < n; ++i) {
    const uint32_t page = free_.back();
    free_.pop_back();
    pages_[page] = {.account = &account, .bytes_of = account.tenant, .references = 1};
    out->push_back(page);
  }
  account.hold(static_cast<int64_t>(n * shape_.page_bytes));
  return {};
}

// What it counts for in n_at_rest_.
uint32_t PagePool::at_rest(const Page& page) const {
  if (shape_.window != 0) return page.resting;
  return page.references != 0 && page.resting == page.references ? 1 : 0;
}

void PagePool::share(uint32_t page) {
  Page& p = pages_[page];
  n_at_rest_ -= at_rest(p);
  ++p.references;
  n_at_rest_ += at_rest(p);
}

void PagePool::rest(uint32_t page) {
  Page& p = pages_[page];
  n_at_rest_ -= at_rest(p);
  ++p.resting;
  n_at_rest_ += at_rest(p);
}

void PagePool::unrest(uint32_t page) {
  Page& p = pages_[page];
  n_at_rest_ -= at_rest(p);
  --p.resting;
  n_at_rest_ += at_rest(p);
}

bool PagePool::drop(uint32_t page) {
  Page& p = pages_[page];
  n_at_rest_ -= at_rest(p);
  --p.references;
  n_at_rest_ += at_rest(p);
  if (p.references != 0) return false;
  p.account->hold(-static_cast<int64_t>(shape_.page_bytes));
  p.account = nullptr;
  free_.push_back(page);
  return true;
}

Status PagePool::wipe_page(uint32_t page) {
  MERRITT_CHECK(verbs_->zero(group_, std::span(&page, 1)));
  pages_[page].bytes_of = TenantId::kNone;
  return {};
}

Status PagePool::wipe(TenantId tenant) {
  dirty_.clear();
  for (const uint32_t page : free_) {
    if (pages_[page].bytes_of == tenant) dirty_.push_back(page);
  }
  if (dirty_.empty()) return {};
  MERRITT_CHECK(verbs_->zero(group_, dirty_));
  for (const uint32_t page : dirty_) pages_[page].bytes_of = TenantId::kNone;
  return {};
}

}  // namespace merritt::kv
