// SPDX-License-Identifier: Apache-2.0
//
// What this machine offers, for doctor, bench and demo: from /proc and /sys, and where the library looks itself (CPU
// features, threads) with the library's own code.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace merritt::tools {

struct Machine {
  std::string cpu;                    // model name
  std::vector<std::string> features;  // of those a backend can use, in the order avx2 .. amx_bf16
  uint32_t threads = 0;               // what an engine starts: min(affinity, the cgroups' CPU limit)
  uint32_t cpus_online = 0;
  uint64_t memory_total = 0;
  uint64_t memory_available = 0;
  uint64_t memlock = 0;                // UINT64_MAX = no limit
  std::string transparent_huge_pages;  // "always", "madvise", "never", "" = unknown
  uint64_t huge_pages_free = 0;        // of the default size
};

Machine inspect_machine();
bool has_feature(const Machine& machine, const std::string& feature);
// Peak resident memory of this process.
uint64_t peak_rss_bytes();
// "avx2 avx512f ...": the features of the widest instruction set that the kernels of a model (their names in any order)
// are made for.
std::string features_used(const Machine& machine, const std::string& kernels);

}  // namespace merritt::tools
