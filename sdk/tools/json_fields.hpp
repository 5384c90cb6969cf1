// SPDX-License-Identifier: Apache-2.0
//
// Reads the fields of a JSON object from a file that a person wrote: each at most once, of the right type, in its
// range, and none that is not known. Errors name the file and the field.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace merritt::tools {

// The parsed text; refuses a name that stands twice in one object. Throws Failure with kExitUsage, as all below.
nlohmann::json parse_strictly(const std::string& text, const std::string& file);

class JsonFields {
 public:
  // `where` is what errors call this object: "file: tenants[0]".
  JsonFields(const nlohmann::json& object, std::string where);

  bool has(const std::string& name);
  double number(const std::string& name, double otherwise, double least, double most);
  uint64_t whole(const std::string& name, uint64_t otherwise, uint64_t least, uint64_t most);
  std::string text(const std::string& name, const std::string& otherwise);
  // One of the words; its place in the list.
  size_t word(const std::string& name, const std::vector<std::string>& words, size_t otherwise);
  const nlohmann::json& value(const std::string& name);  // null when there is none
  void finish() const;                                   // fails on a field that nobody asked for

  std::string path(const std::string& name) const { return where_ + "." + name; }
  [[noreturn]] void fail(const std::string& name, const std::string& problem, const std::string& fix) const;

 private:
  const nlohmann::json* object_;
  std::string where_;
  std::vector<std::string> known_;
};

}  // namespace merritt::tools
