// SPDX-License-Identifier: Apache-2.0
// Every maximum of the core in one place: what is not bounded here is bounded by the memory budget. They protect the
// host from a caller's mistake; quotas of tenants are below them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace merritt::limits {

// Process and engine.
inline constexpr uint32_t kEnginesMax = 64;
inline constexpr uint32_t kObjectsMax = 1u << 18;  // handles of one engine
inline constexpr uint32_t kModelsMax = 64;
inline constexpr uint32_t kTenantModelsMax = 16;       // loaded for one tenant,
inline constexpr uint32_t kTenantsModelsMax = 48;      // for all of them: the host's own always find a place
inline constexpr uint32_t kTenantsLoadingMax = 4;      // at once
inline constexpr uint32_t kQueuesMax = 1024;           // of completions
inline constexpr uint32_t kCompletionsMax = 1u << 16;  // read in one call
inline constexpr uint32_t kTenantsMax = 1u << 14;
inline constexpr uint32_t kTenantWeightMax = 1u << 16;
inline constexpr uint32_t kUsageLabelsMax = 1024;          // tenants with a name of their own in an export of usage
inline constexpr uint32_t kJournalEntriesMax = 1024;       // tenants in one record of a journal
inline constexpr size_t kJournalAnswerBytesMax = 1 << 20;  // of records told at once
inline constexpr uint32_t kThreadsMax = 1024;
inline constexpr uint32_t kPluginDirsMax = 64;
inline constexpr uint32_t kPublishersMax = 256;
inline constexpr size_t kPathBytesMax = 4095;  // without the terminator
inline constexpr size_t kNameBytesMax = 63;    // ids of plugins, names of publishers, tenants, roles
inline constexpr size_t kLogRecordBytesMax = 4096;

// Queues.
inline constexpr uint32_t kRequestQueueMax = 4096;      // waiting requests of one model
inline constexpr uint32_t kCommandQueueMax = 1u << 16;  // posted to the step thread and not yet run
inline constexpr uint32_t kEventQueueMax = 1u << 16;    // events of one request nobody has read: then it fails

// One request.
inline constexpr size_t kPromptBytesMax = size_t{64} << 20;
inline constexpr size_t kPromptTokensMax = size_t{1} << 24;
inline constexpr size_t kTextRunBytesMax = size_t{4} << 20;  // of a text, without a place where it may be cut
inline constexpr size_t kMessagesMax = 4096;
inline constexpr uint32_t kStopStringsMax = 64;
inline constexpr size_t kStopBytesMax = 1024;
inline constexpr uint32_t kStopTokensMax = 1024;
inline constexpr uint32_t kLogitBiasMax = 1u << 16;
inline constexpr uint32_t kSamplesMax = 64;  // n of one request
inline constexpr uint32_t kMaxTokensDefault = 1024;
inline constexpr uint32_t kDraftTokensMax = 64;  // of one choice in one step
inline constexpr int32_t kPriorityMax = 100;     // of a request, and the least is its negative

// One step and one pool.
inline constexpr uint32_t kStepTokensMax = 1u << 16;
inline constexpr uint32_t kSequencesMax = 4096;
inline constexpr uint32_t kPrefixesKeptMax = 256;      // of a tenant, in one model
inline constexpr uint32_t kPrefixesPublishedMax = 64;  // of a model
inline constexpr uint32_t kContextMax = 1u << 24;
inline constexpr uint32_t kPageTokensMax = 4096;
inline constexpr uint32_t kPagesMax = 1u << 30;

// Plugins and their manifests.
inline constexpr uint64_t kPluginBytesMax = uint64_t{2} << 30;
inline constexpr size_t kManifestBytesMax = size_t{64} << 10;
inline constexpr uint32_t kManifestFeaturesMax = 64;
inline constexpr uint32_t kManifestTextBytesMax = 63;
inline constexpr uint32_t kPluginsMax = 64;  // builds ever mapped in this process; each has its fenced functions
inline constexpr uint32_t kDevicesMax = 64;  // asked of one plugin
inline constexpr uint32_t kElfSectionsMax = 4096;
inline constexpr uint32_t kElfSymbolsMax = 1u << 20;

// A handle has 6 bits for the engine and 18 for the object; a page table entry keeps its top bit for a flag.
static_assert(kEnginesMax <= 1u << 6);
static_assert(kObjectsMax <= 1u << 18);
static_assert(kPagesMax <= 1u << 31);
static_assert(kTenantModelsMax <= kTenantsModelsMax && kTenantsModelsMax < kModelsMax);
static_assert(kStopBytesMax <= kPromptBytesMax);
static_assert(kPromptTokensMax <= kContextMax);
static_assert(kSequencesMax <= kStepTokensMax);
static_assert(kMaxTokensDefault <= kContextMax);

}  // namespace merritt::limits
