// SPDX-License-Identifier: Apache-2.0
// Values nest no deeper than the template's own literals and the conversation, which both are bounded, so the recursion
// here is too.
#include "tokens/template_value.hpp"

#include <charconv>

namespace merritt::tokens {

bool Value::truthy() const {
  switch (kind) {
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool: return boolean;
    case Kind::kInt: return integer != 0;
    case Kind::kFloat: return real != 0;
    case Kind::kString: return !text.empty();
    case Kind::kList: return !list->empty();
    case Kind::kDict: return !dict->empty();
    case Kind::kNamespace: return true;
  }
  return false;
}

bool Value::equals(const Value& other) const {
  if (is_number() && other.is_number()) return number() == other.number();
  if (kind != other.kind) return false;
  switch (kind) {
    case Kind::kString: return text == other.text;
    case Kind::kList:
      if (list->size() != other.list->size()) return false;
      for (size_t i = 0; i < list->size(); ++i) {
        if (!(*list)[i].equals((*other.list)[i])) return false;
      }
      return true;
    case Kind::kDict:
      if (dict->size() != other.dict->size()) return false;
      for (const auto& [key, value] : *dict) {
        const Value* same = other.find(key);
        if (same == nullptr || !value.equals(*same)) return false;
      }
      return true;
    case Kind::kNamespace: return dict == other.dict;
    default: return true;
  }
}

const Value* Value::find(std::string_view key) const {
  if (dict == nullptr) return nullptr;
  for (const auto& [name, value] : *dict) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::string_view Value::kind_name() const {
  switch (kind) {
    case Kind::kUndefined: return "undefined";
    case Kind::kNone: return "none";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return "string";
    case Kind::kList: return "list";
    case Kind::kDict: return "dict";
    case Kind::kNamespace: return "namespace";
  }
  return "value";
}

namespace {

void append_float(double x, std::string& out) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof(buffer), x);
  const std::string_view text(buffer, static_cast<size_t>(end.ptr - buffer));
  out += text;
  if (text.find_first_of(".en") == std::string_view::npos) out += ".0";
}

void append_quoted(std::string_view text, std::string& out) {
  const char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  out += quote;
  for (const char c : text) {
    if (c == '\\' || c == quote) out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (c == '\r') {
      out += "\\r";
    } else {
      out += c;
    }
  }
  out += quote;
}

void append_json_string(std::string_view text, std::string& out) {
  static constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    switch (c) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          out += "\\u00";
          out += kHex[static_cast<unsigned char>(c) >> 4];
          out += kHex[c & 15];
        } else {
          out += c;
        }
    }
  }
  out += '"';
}

void new_line(int indent, int level, std::string& out) {
  if (indent < 0) return;
  out += '\n';
  out.append(static_cast<size_t>(indent) * static_cast<size_t>(level), ' ');
}

}  // namespace

void append_text(const Value& value, bool quoted, std::string& out) {
  switch (value.kind) {
    case Value::Kind::kUndefined: return;
    case Value::Kind::kNone: out += "None"; return;
    case Value::Kind::kBool: out += value.boolean ? "True" : "False"; return;
    case Value::Kind::kInt: out += std::to_string(value.integer); return;
    case Value::Kind::kFloat: append_float(value.real, out); return;
    case Value::Kind::kString: quoted ? append_quoted(value.text, out) : void(out += value.text); return;
    case Value::Kind::kList: {
      out += '[';
      for (size_t i = 0; i < value.list->size(); ++i) {
        if (i != 0) out += ", ";
        append_text((*value.list)[i], true, out);
      }
      out += ']';
      return;
    }
    case Value::Kind::kDict:
    case Value::Kind::kNamespace: {
      out += '{';
      for (size_t i = 0; i < value.dict->size(); ++i) {
        if (i != 0) out += ", ";
        append_quoted((*value.dict)[i].first, out);
        out += ": ";
        append_text((*value.dict)[i].second, true, out);
      }
      out += '}';
      return;
    }
  }
}

void append_json(const Value& value, int indent, int level, std::string& out) {
  switch (value.kind) {
    case Value::Kind::kUndefined:
    case Value::Kind::kNone: out += "null"; return;
    case Value::Kind::kBool: out += value.boolean ? "true" : "false"; return;
    case Value::Kind::kInt: out += std::to_string(value.integer); return;
    case Value::Kind::kFloat: append_float(value.real, out); return;
    case Value::Kind::kString: append_json_string(value.text, out); return;
    default: break;
  }
  const bool is_list = value.kind == Value::Kind::kList;
  const size_t size = is_list ? value.list->size() : value.dict->size();
  out += is_list ? '[' : '{';
  for (size_t i = 0; i < size; ++i) {
    if (i != 0) out += indent < 0 ? ", " : ",";
    new_line(indent, level + 1, out);
    if (!is_list) {
      append_json_string((*value.dict)[i].first, out);
      out += ": ";
    }
    append_json(is_list ? (*value.list)[i] : (*value.dict)[i].second, indent, level + 1, out);
  }
  if (size != 0) new_line(indent, level, out);
  out += is_list ? ']' : '}';
}

}  // namespace merritt::tokens
