// SPDX-License-Identifier: Apache-2.0
//
// What this machine offers: read from /proc and /sys, for doctor, bench and demo.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace merritt::tools {

struct Machine {
  std::string cpu;                    // model name
  std::vector<std::string> features;  // of those a backend can use, in the order avx2 .. amx_bf16
  uint32_t cpus_allowed = 0;          // affinity
  double cpus_quota = 0;              // cgroup cpu.max; 0 = none
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
// "avx2 avx512f ..." of what `isa_max` (any, avx2, avx512, vnni, amx) leaves usable.
std::string features_used(const Machine& machine, const std::string& isa_max);

}  // namespace merritt::tools
