// SPDX-License-Identifier: Apache-2.0
// Steps over a compiled model without the engine's scheduler: what tests of the numerics share.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <span>
#include <vector>

#include "tests/support/engine_host.hpp"

namespace merritt::test {

struct Token {
  int32_t id;
  kv::TokenClass token_class;
};
using Tokens = std::vector<Token>;
using Logits = std::vector<std::vector<float>>;  // of each position

// One sequence's part of a step.
struct Part {
  kv::SequenceId sequence;
  std::span<const Token> tokens;  // of one class
  uint32_t accept;                // how many become past
  uint32_t rows;                  // logits of the last rows
  bool sealed = false;            // its full pages are named as sealed
};

// Runs one step; returns the wanted rows of logits in order.
inline std::vector<std::vector<float>> run_step(ModelHost& model, const std::vector<Part>& parts) {
  const mrt_staging& staging = model.compiled->staging();
  uint32_t token = 0, row = 0;
  for (uint32_t s = 0; s < parts.size(); ++s) {
    const Part& part = parts[s];
    const Status prepared = model.cache->prepare_append(part.sequence, static_cast<uint32_t>(part.tokens.size()));
    EXPECT_TRUE(prepared.ok()) << prepared.message();
    const uint32_t past = model.cache->length(part.sequence);
    staging.seq_first[s] = token;
    staging.seq_tokens[s] = static_cast<uint32_t>(part.tokens.size());
    staging.seq_past[s] = past;
    staging.seq_class[s] = static_cast<uint32_t>(part.tokens[0].token_class);
    staging.seq_key[s] = 0;
    if (staging.seq_adapter != nullptr) staging.seq_adapter[s] = nullptr;
    staging.seq_status[s] = MRT_OK;
    for (uint32_t i = 0; i < part.tokens.size(); ++i, ++token) {
      staging.token[token] = static_cast<uint32_t>(part.tokens[i].id);
      staging.position[token] = past + i;
    }
    for (uint32_t i = part.rows; i != 0; --i) staging.rows[row++] = token - i;
    for (uint32_t g = 0; g < model.cache->n_groups(); ++g) {
      const kv::PageTable table = model.cache->pages(part.sequence, g);
      uint32_t* const entries = staging.pages[g] + size_t{s} * model.compiled->max_pages(g);
      std::copy(table.pages.begin(), table.pages.end(), entries);
      const uint32_t full = past / model.compiled->kv_policy().page_tokens - table.base;
      for (uint32_t e = 0; part.sealed && e < full; ++e) entries[e] |= MRT_PAGE_SEALED;
      staging.page_base[g][s] = table.base;
    }
  }
  uint32_t blast = 0, culprit = 0;
  const Status ran =
      model.compiled->run_step(token, static_cast<uint32_t>(parts.size()), row, nullptr, &blast, &culprit);
  EXPECT_TRUE(ran.ok()) << ran.message();
  std::vector<std::vector<float>> rows;
  if (!ran.ok()) return rows;
  const size_t width = staging.output[0].width;
  for (uint32_t r = 0; r < row; ++r) {
    rows.emplace_back(staging.output[0].data + r * width, staging.output[0].data + (r + 1) * width);
  }
  std::vector<uint32_t> accepted;
  for (const Part& part : parts) accepted.push_back(part.accept);
  EXPECT_TRUE(model.compiled->commit(accepted).ok());
  for (const Part& part : parts) {
    EXPECT_TRUE(model.cache->commit(part.sequence, part.accept, part.tokens[0].token_class).ok());
  }
  return rows;
}

inline std::shared_ptr<KvAccount> account() { return std::make_shared<KvAccount>(static_cast<TenantId>(1), 0); }

}  // namespace merritt::test
