// SPDX-License-Identifier: Apache-2.0
#include "json_fields.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "cli.hpp"
#include "terminal.hpp"

namespace merritt::tools {
namespace {

using nlohmann::json;

constexpr size_t kQuotedMax = 40;  // of a name or a value from the file
constexpr int kNestedMax = 16;

std::string in_quotes(const std::string& text) {
  const std::string cut = text.size() > kQuotedMax ? text.substr(0, kQuotedMax) + "..." : text;
  return json(cut).dump(-1, ' ', true, json::error_handler_t::replace);
}

// Letters to change, insert or leave out.
size_t distance(const std::string& a, const std::string& b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t corner = row[0]++;
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = corner + (a[i] == b[j] ? 0 : 1);
      corner = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

std::string nearest(const std::string& name, const std::vector<std::string>& words) {
  std::string best;
  size_t least = 3;
  for (const std::string& word : words) {
    const size_t far = name.size() > kQuotedMax ? least : distance(name, word);
    if (far < least) {
      least = far;
      best = word;
    }
  }
  return best;
}

std::string listed(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string shown(double number) { return format("%.12g", number); }

}  // namespace

json parse_strictly(const std::string& text, const std::string& file) {
  std::vector<std::set<std::string>> open;
  std::string twice;
  bool deep = false;
  const auto look = [&](int depth, json::parse_event_t event, json& parsed) {
    deep = deep || depth > kNestedMax;
    if (event == json::parse_event_t::object_start) open.emplace_back();
    if (event == json::parse_event_t::object_end) open.pop_back();
    if (event == json::parse_event_t::key && !open.back().insert(parsed.get<std::string>()).second && twice.empty()) {
      twice = parsed.get<std::string>();
    }
    return !deep;
  };
  try {
    json all = json::parse(text, look);
    if (deep) throw with_fix(file + ": nested too deeply", "write the fields as the guide lists them", kExitUsage);
    if (!twice.empty()) {
      throw with_fix(file + ": " + in_quotes(twice) + " stands twice in one object", "keep one of them", kExitUsage);
    }
    return all;
  } catch (const json::exception& error) {
    throw with_fix(file + ": not JSON: " + error.what(), "mend the file at that place", kExitUsage);
  }
}

JsonFields::JsonFields(const json& object, std::string where) : object_(&object), where_(std::move(where)) {
  if (!object.is_object()) throw with_fix(where_ + ": not an object", "write {\"name\": value, ...} there", kExitUsage);
}

void JsonFields::fail(const std::string& name, const std::string& problem, const std::string& fix) const {
  throw with_fix(path(name) + ": " + problem, fix, kExitUsage);
}

const json& JsonFields::value(const std::string& name) {
  static const json kNull;
  if (std::find(known_.begin(), known_.end(), name) == known_.end()) known_.push_back(name);
  const auto found = object_->find(name);
  return found == object_->end() ? kNull : *found;
}

bool JsonFields::has(const std::string& name) {
  value(name);
  return object_->contains(name);
}

double JsonFields::number(const std::string& name, double otherwise, double least, double most) {
  if (!has(name)) return otherwise;
  const json& found = value(name);
  const double number = found.is_number() ? found.get<double>() : NAN;
  if (!(number >= least && number <= most)) {
    fail(name, in_quotes(found.dump(-1, ' ', true, json::error_handler_t::replace)) + " is no number in its range",
         "give one from " + shown(least) + " to " + shown(most));
  }
  return number;
}

uint64_t JsonFields::whole(const std::string& name, uint64_t otherwise, uint64_t least, uint64_t most) {
  if (!has(name)) return otherwise;
  const json& found = value(name);
  const bool fits = found.is_number_unsigned() && found.get<uint64_t>() >= least && found.get<uint64_t>() <= most;
  if (!fits) {
    fail(name,
         in_quotes(found.dump(-1, ' ', true, json::error_handler_t::replace)) + " is no whole number in its range",
         "give one from " + std::to_string(least) + " to " + std::to_string(most));
  }
  return found.get<uint64_t>();
}

std::string JsonFields::text(const std::string& name, const std::string& otherwise) {
  if (!has(name)) return otherwise;
  if (!value(name).is_string()) fail(name, "not a text", "write it in quotes");
  return value(name).get<std::string>();
}

size_t JsonFields::word(const std::string& name, const std::vector<std::string>& words, size_t otherwise) {
  if (!has(name)) return otherwise;
  const std::string given = text(name, "");
  const auto found = std::find(words.begin(), words.end(), given);
  if (found == words.end()) fail(name, in_quotes(given) + " is not known", "one of " + listed(words));
  return static_cast<size_t>(found - words.begin());
}

void JsonFields::finish() const {
  for (const auto& [name, unused] : object_->items()) {
    if (std::find(known_.begin(), known_.end(), name) != known_.end()) continue;
    const std::string meant = nearest(name, known_);
    throw with_fix(where_ + ": no field " + in_quotes(name),
                   meant.empty() ? "the fields are " + listed(known_) : "did you mean \"" + meant + "\"?", kExitUsage);
  }
}

}  // namespace merritt::tools
