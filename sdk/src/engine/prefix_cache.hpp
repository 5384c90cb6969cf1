// SPDX-License-Identifier: Apache-2.0
// The beginnings of prompts that a model has run, kept for prompts that begin alike.
//
// Each tenant has its own: no request finds what another tenant's requests left, so how long it takes says nothing
// about them. What everybody may find is what the host publishes, and that is the same for everybody.
//
// An entry is a sequence of the KV cache that nobody runs, with whole pages of tokens of the class prompt, shared with
// whoever made them and whoever continues from them. A tenant's entries are on its account, within its ceiling and its
// prefix_bytes, and give way as its idle sessions do: the one used least lately first, and nobody else's for them below
// its floor. What is published is promised for good.
//
// Entries are ordered by their tokens, so the longest common beginning is that of a neighbour (Manber & Myers, "Suffix
// arrays", 1993, find it so among suffixes). Tokens are compared, not hashes of them: there are no false hits.
//
// Threads: the step thread only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "base/kv_account.hpp"
#include "base/status.hpp"
#include "kv/cache.hpp"

namespace merritt::engine {

class PrefixCache {
 public:
  // cache must outlive it.
  explicit PrefixCache(kv::Cache& cache) : cache_(cache) {}
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  struct Hit {
    kv::SequenceId sequence{};
    uint32_t tokens = 0;  // of the prompt that share() of this sequence gives; 0 = none
    // As many of the prompt as some entry has, whole pages. More than `tokens`, where the entry has lost pages of them
    // since: worth an entry of its own that ends here.
    uint32_t branch = 0;
  };
  // Short of the prompt's last token: somebody must run one to have logits.
  Hit find(const KvAccount& account, std::span<const int32_t> prompt);

  // Keeps the whole pages of `tokens`, which `sequence` begins with, in class prompt; the entry's sequence. Nothing
  // happens, and kNone, where the account's prefix_bytes, the pool or a window has no room for it.
  kv::SequenceId keep(const std::shared_ptr<KvAccount>& account, std::span<const int32_t> tokens,
                      kv::SequenceId sequence, uint64_t seq_key);
  // The same for everybody, for as long as the account's tenant lives, promised within its floor. The number of tokens;
  // kFailedPrecondition: there is no whole page of them, a window has dropped some, or limits::kPrefixesPublishedMax
  // are published; kQuotaExceeded: the floor has no room for it; else what kv::Cache::share answers.
  Result<uint32_t> publish(const std::shared_ptr<KvAccount>& account, std::span<const int32_t> tokens,
                           kv::SequenceId sequence, uint64_t seq_key);

  // After the account's prefix_bytes was lowered.
  void trim(const KvAccount& account);
  // Everything of the tenant's, published too.
  void forget(TenantId tenant);
  // The tenant's entries that have a page in common with the prompt.
  void distrust(TenantId tenant, std::span<const int32_t> prompt) noexcept;
  void clear();

  uint32_t n_entries(TenantId tenant) const;

 private:
  struct Less {
    using is_transparent = void;
    template <class A, class B>
    bool operator()(const A& a, const B& b) const {
      return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
    }
  };
  struct Entry {
    kv::SequenceId sequence{};
    uint64_t used = 0;
    uint64_t floor_bytes = 0;  // of a published one: taken of the floor of
    std::shared_ptr<KvAccount> account;
  };
  using Shelf = std::map<std::vector<int32_t>, Entry, Less>;

  void look_on(Shelf& shelf, std::span<const int32_t> prompt, Hit* best, Entry** used);
  Shelf::iterator insert(Shelf& shelf, std::span<const int32_t> tokens, kv::SequenceId from,
                         const std::shared_ptr<KvAccount>& account, uint64_t seq_key, Status* why);
  void erase(Shelf& shelf, Shelf::iterator entry);
  void trim(Shelf& shelf, uint64_t bytes_max);

  kv::Cache& cache_;
  std::map<TenantId, Shelf> own_;
  std::map<TenantId, Shelf> published_;  // by the tenant that published
  uint64_t clock_ = 0;
};

}  // namespace merritt::engine
