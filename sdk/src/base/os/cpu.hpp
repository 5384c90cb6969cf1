// SPDX-License-Identifier: Apache-2.0
// What the CPU can do and the operating system lets this process use. Threads: any.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace merritt::os {

// Names as manifests use them: avx2 fma f16c bmi2 avx512f avx512bw avx512dq avx512vl avx512_vnni avx512_vbmi
// avx512_bf16 amx_tile amx_int8 amx_bf16. A name is here only when CPUID has it and XCR0 says the kernel saves its
// registers; for amx_* the process may still have to ask the kernel for permission, which is the plugin's affair.
std::vector<std::string> cpu_features();
bool has_cpu_feature(std::string_view name);
// True for every name above, also for those this machine lacks.
bool is_cpu_feature_name(std::string_view name);

// min(CPUs this process may run on, cgroup CPU quota rounded up), at least 1.
uint32_t default_thread_count();
// The quota's part of it: what /proc/self/cgroup says (its text) looked up under the cgroup mount. 0 = no quota.
uint32_t cgroup_cpu_limit(const std::string& membership, const std::string& mount);

// Names the calling thread in debuggers and top; cut to 15 bytes.
void name_this_thread(const char* name);

}  // namespace merritt::os
