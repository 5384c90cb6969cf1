// SPDX-License-Identifier: Apache-2.0
#include "trust.hpp"

#include <fstream>
#include <nlohmann/json.hpp>

#include "cli.hpp"

namespace merritt::tools {
namespace {

constexpr const char* kExpected =
    "write {\"publishers\": [{\"name\": NAME, \"key\": KEY}]} with the key `merritt plugin keygen` prints, or name "
    "another list with --trust FILE";

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool parse_key(const std::string& hex, std::array<uint8_t, 32>& key) {
  if (hex.size() != 2 * key.size()) return false;
  for (size_t i = 0; i < key.size(); ++i) {
    const int high = nibble(hex[2 * i]);
    const int low = nibble(hex[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    key[i] = static_cast<uint8_t>(high * 16 + low);
  }
  return true;
}

}  // namespace

std::vector<Publisher> read_trust(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    throw with_fix(path + ": no trust list there", "build the plugins, which writes it, or name one with --trust FILE");
  }
  const nlohmann::json root = nlohmann::json::parse(file, nullptr, false);
  if (!root.is_object() || !root.contains("publishers") || !root["publishers"].is_array()) {
    throw with_fix(path + ": not a trust list", kExpected);
  }
  std::vector<Publisher> all;
  for (const nlohmann::json& entry : root["publishers"]) {
    Publisher publisher;
    if (!entry.is_object() || !entry.contains("name") || !entry["name"].is_string() || !entry.contains("key") ||
        !entry["key"].is_string() || !parse_key(entry["key"].get<std::string>(), publisher.public_key)) {
      throw with_fix(path + ": publisher " + std::to_string(all.size()) +
                         ": \"name\" must be a string and \"key\" 64 hex digits (an Ed25519 public key)",
                     kExpected);
    }
    publisher.name = entry["name"].get<std::string>();
    if (entry.contains("plugin_id") && entry["plugin_id"].is_string()) {
      publisher.plugin_id = entry["plugin_id"].get<std::string>();
    }
    if (entry.contains("not_after") && entry["not_after"].is_number_integer()) {
      publisher.not_after = entry["not_after"].get<int64_t>();
    }
    all.push_back(std::move(publisher));
  }
  return all;
}

}  // namespace merritt::tools
