// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>

#include "base/os/cpu.hpp"

namespace merritt::tools {
namespace {

// The name of the processor as the kernel tells it.
std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const size_t colon = line.find(": ");
    if (colon != std::string::npos && line.starts_with("model name")) return line.substr(colon + 2);
  }
  return "x86-64";
}

// "Name:   123 kB" of a /proc file; 0 when it is not there. `unit` multiplies.
uint64_t read_field(const char* path, const std::string& name, uint64_t unit) {
  std::ifstream file(path);
  std::string word;
  uint64_t value = 0;
  while (file >> word) {
    if (word == name && file >> value) return value * unit;
  }
  return 0;
}

// 1 avx2, 2 avx512, 3 its VNNI and BF16, 4 amx, as the levels of --isa-max.
int level_of_feature(const std::string& feature) {
  if (feature.starts_with("amx")) return 4;
  if (feature == "avx512_vnni" || feature == "avx512_vbmi" || feature == "avx512_bf16") return 3;
  return feature.starts_with("avx512") ? 2 : 1;
}

// The widest level that a kernel of the list is named after: "own:rope_avx512", "onednn:brgemm_bf16", ...
int level_of_kernels(const std::string& kernels) {
  constexpr std::pair<const char*, int> kNames[] = {
      {"amx", 4}, {"_vnni", 3}, {"brgemm_bf16", 3}, {"_avx512", 2}, {"_avx2", 1}};
  for (const auto& [name, level] : kNames) {
    if (kernels.find(name) != std::string::npos) return level;
  }
  return 0;
}

std::string chosen_huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string line;
  std::getline(file, line);
  const size_t open = line.find('[');
  const size_t close = line.find(']');
  return open == std::string::npos || close == std::string::npos ? "" : line.substr(open + 1, close - open - 1);
}

}  // namespace

Machine inspect_machine() {
  Machine machine;
  machine.cpu = cpu_name();
  machine.features = os::cpu_features();
  machine.threads = os::default_thread_count();
  machine.cpus_online = static_cast<uint32_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  machine.memory_total = read_field("/proc/meminfo", "MemTotal:", 1024);
  machine.memory_available = read_field("/proc/meminfo", "MemAvailable:", 1024);
  machine.huge_pages_free = read_field("/proc/meminfo", "HugePages_Free:", 1);
  machine.transparent_huge_pages = chosen_huge_pages();
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
    machine.memlock = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
  }
  return machine;
}

bool has_feature(const Machine& machine, const std::string& feature) {
  return std::find(machine.features.begin(), machine.features.end(), feature) != machine.features.end();
}

uint64_t peak_rss_bytes() { return read_field("/proc/self/status", "VmHWM:", 1024); }

std::string features_used(const Machine& machine, const std::string& kernels) {
  const int level = level_of_kernels(kernels);
  std::string text;
  for (const std::string& feature : machine.features) {
    if (level_of_feature(feature) <= level) text += (text.empty() ? "" : " ") + feature;
  }
  return text.empty() ? "baseline x86-64" : text;
}

}  // namespace merritt::tools
