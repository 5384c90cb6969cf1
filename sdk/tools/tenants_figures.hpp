// SPDX-License-Identifier: Apache-2.0
//
// What `merritt bench --tenants` measures: of each tenant, over the whole and over time; as JSON and as a table.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace merritt::tools {

// Linear interpolation between order statistics; 0 of nothing.
double quantile(std::vector<double> values, double part);
// (sum x)^2 / (n sum x^2): 1 when all are equal, 1/n when one has everything; 1 of nothing.
double jain(const std::vector<double>& values);

// A piece of the timeline of one tenant.
struct Bucket {
  std::vector<double> first_token_ms;  // of those that came in it
  uint64_t tokens_in = 0;
  uint64_t tokens_out = 0;
  uint64_t refused = 0;
  uint64_t compute_ns = 0;  // of the steps' time, by the tenant's part of their rows
  uint64_t kv_bytes = 0;    // held at its end
  uint32_t running = 0;
  uint32_t waiting = 0;
};

struct TenantFigures {
  std::string name;
  uint32_t weight = 1;
  std::vector<double> first_token_ms;     // from the moment the request was due
  std::vector<double> first_token_steps;  // from the step that ran when it was sent to the one that drew the token
  std::vector<double> between_ms;         // from token to token
  std::vector<double> late_ms;            // how long after it was due a request was sent: the load's own fault
  uint64_t sent = 0;                      // and accepted
  uint64_t done = 0;
  uint64_t cancelled = 0;   // as the load wanted
  uint64_t unanswered = 0;  // without a first token at the end; their wait is among first_token_ms
  uint64_t unfinished = 0;  // at the end
  uint64_t tokens_in = 0;   // of prompts whose first token came
  uint64_t tokens_out = 0;
  uint64_t sessions = 0;                        // opened besides those of requests
  std::map<std::string, uint64_t> refused;      // by code
  std::map<std::string, uint64_t> failed;       // accepted, then ended by an error
  std::map<std::string, std::string> messages;  // by code, the first of each
  uint64_t compute_ns = 0;
  uint64_t kv_byte_seconds = 0;
  std::vector<Bucket> timeline;

  uint64_t refusals() const;
};

// Of the tenants that have a session and send nothing: what each of them takes.
struct IdleFigures {
  uint32_t tenants = 0;
  double heap_bytes_each = 0;
  double kv_bytes_each = 0;
};

struct LoadFigures {
  double seconds = 0;  // measured
  double bucket_seconds = 1;
  uint64_t steps = 0;
  uint64_t kv_pool_bytes = 0;
  std::vector<TenantFigures> tenants;
  IdleFigures idle;

  // Of compute time over weight; all tenants must want more than they get for it to mean fairness.
  double jain_of_service() const;
};

nlohmann::ordered_json json_of(const LoadFigures& figures);
std::string table_of(const LoadFigures& figures);

}  // namespace merritt::tools
