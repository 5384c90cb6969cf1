// SPDX-License-Identifier: Apache-2.0
// The bytes behind page numbers, for tests: one content number per token, 0 = zeroed.
#pragma once

#include <vector>

#include "kv/cache.hpp"

namespace merritt::kv {

class PageStore final : public PageVerbs {
 public:
  explicit PageStore(const std::vector<GroupShape>& shapes) : shapes_(shapes) {
    for (const GroupShape& shape : shapes) content.emplace_back(size_t{shape.n_pages} * shape.page_tokens);
  }

  Status copy(uint32_t group, uint32_t from, uint32_t to, uint32_t n_tokens) override {
    if (fails()) return Status(Code::kBackend, "copy was told to fail");
    ++copies;
    for (uint32_t i = 0; i < n_tokens; ++i) at(group, to, i) = at(group, from, i);
    return {};
  }
  Status zero(uint32_t group, std::span<const uint32_t> pages) override {
    if (fails()) return Status(Code::kBackend, "zero was told to fail");
    for (const uint32_t page : pages) {
      for (uint32_t i = 0; i < shapes_[group].page_tokens; ++i) at(group, page, i) = 0;
    }
    zeroed += pages.size();
    return {};
  }
  uint64_t& at(uint32_t group, uint32_t page, uint32_t token) {
    return content[group][size_t{page} * shapes_[group].page_tokens + token];
  }

  std::vector<std::vector<uint64_t>> content;
  uint64_t copies = 0, zeroed = 0;
  uint32_t fail_every = 0;  // 0 = never

 private:
  bool fails() { return fail_every != 0 && ++calls_ % fail_every == 0; }

  std::vector<GroupShape> shapes_;
  uint64_t calls_ = 0;
};

}  // namespace merritt::kv
