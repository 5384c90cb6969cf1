// SPDX-License-Identifier: Apache-2.0
// What tests of the journal share: tenants with a journal, and a reader of the file that knows only its format.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "tenant/journal.hpp"
#include "tenant/registry.hpp"

namespace merritt::tenant::test {

inline constexpr uint32_t kPrompt = index_of(Counter::kPromptTokens);

inline std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// All prompt tokens of a journal by tenant, read without the class under test; also checks the numbering.
inline std::map<std::string, uint64_t> totals_of(const std::string& path, uint64_t* records = nullptr) {
  const std::string bytes = bytes_of(path);
  const auto all = std::as_bytes(std::span(bytes));
  std::map<std::string, uint64_t> totals;
  uint64_t number = 0;
  for (size_t at = journal::kHeaderBytes; at < all.size();) {
    const auto size = journal::record_bytes(all.subspan(at));
    if (!size || *size > all.size() - at) break;
    const auto record = journal::decode_record(all.subspan(at, *size));
    if (!record.ok()) break;
    EXPECT_EQ(record->number, ++number);
    for (const NamedCounts& entry : record->entries) totals[entry.name] += entry.counts[kPrompt];
    at += *size;
  }
  if (records != nullptr) *records = number;
  return totals;
}

// Tenants and the journal of what they use.
struct Site {
  Registry registry;
  std::unique_ptr<Journal> journal;

  Status open(const std::string& path, observe::Log* log = nullptr) {
    registry.archive().keep(true);
    auto opened =
        Journal::open(path, {[this] { return registry.counts(); }, [this] { return registry.archive().take(); }}, log);
    if (!opened.ok()) return std::move(opened).status();
    journal = std::move(opened).value();
    return {};
  }
  std::shared_ptr<Tenant> tenant(const std::string& name) { return registry.create(name, {}, 0, 1).value(); }
};

}  // namespace merritt::tenant::test
