// SPDX-License-Identifier: Apache-2.0
// Values as text: str() and repr() of Python, and json.dumps(). Recursion is bounded by Value::kDepthMax; shared parts
// may unfold to any size, so every piece is paid for before it is appended.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "tokens/template_routines.hpp"
#include "tokens/template_text.hpp"
#include "tokens/template_value.hpp"

namespace merritt::tokens {
namespace {

using Kind = Value::Kind;

constexpr char kHex[] = "0123456789abcdef";

Status put(std::string_view text, Meter& meter, std::string& out) {
  MERRITT_CHECK(meter.pay_text(text.size(), out.size()));
  out += text;
  return {};
}

void append_hex(char32_t code, int digits, std::string& out) {
  for (int i = digits - 1; i >= 0; --i) out += kHex[(code >> (4 * i)) & 15];
}

// repr() of a float: the shortest digits that read back; an exponent below 1e-4 and from 1e16.
std::string float_text(double x, bool json) {
  if (std::isnan(x)) return json ? "NaN" : "nan";
  if (std::isinf(x)) return std::string(x < 0 ? "-" : "") + (json ? "Infinity" : "inf");
  char buffer[32];
  const char* end = std::to_chars(buffer, buffer + sizeof(buffer), x, std::chars_format::scientific).ptr;
  const std::string_view text(buffer, static_cast<size_t>(end - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  std::from_chars(text.data() + e + (text[e + 1] == '+' ? 2 : 1), end, exponent);
  std::string out = text[0] == '-' ? "-" : "";
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  if (exponent < -4 || exponent >= 16) {
    out += digits[0];
    if (digits.size() > 1) out += "." + digits.substr(1);
    const int size = std::abs(exponent);
    return out + (exponent < 0 ? "e-" : "e+") + (size < 10 ? "0" : "") + std::to_string(size);
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<size_t>(exponent) + 1;
  if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

void append_escape(char c, char32_t code, std::string& out) {
  switch (c) {
    case '\n': out += "\\n"; return;
    case '\t': out += "\\t"; return;
    case '\r': out += "\\r"; return;
    default: break;
  }
  if (code == kNoCode || code < 0x100) {
    out += "\\x";
    append_hex(code == kNoCode ? static_cast<uint8_t>(c) : code, 2, out);
  } else {
    out += code < 0x10000 ? "\\u" : "\\U";
    append_hex(code, code < 0x10000 ? 4 : 8, out);
  }
}

std::string quoted_text(std::string_view text) {
  const char quote = text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  while (!text.empty()) {
    const TextChar c = first_char(text);
    if (text[0] == '\\' || text[0] == quote) {
      out += '\\';
      out += text[0];
    } else if (is_printable(c.code)) {
      out += text.substr(0, c.bytes);
    } else {
      append_escape(text[0], c.code, out);
    }
    text.remove_prefix(c.bytes);
  }
  return out + quote;
}

void append_json_unit(char32_t unit, std::string& out) {
  out += "\\u";
  append_hex(unit, 4, out);
}

std::string json_text(std::string_view text, bool ascii) {
  std::string out = "\"";
  while (!text.empty()) {
    const TextChar c = first_char(text);
    switch (text[0]) {
      case '"': out += "\\\""; break;
      case '\\': out += "\\\\"; break;
      case '\n': out += "\\n"; break;
      case '\r': out += "\\r"; break;
      case '\t': out += "\\t"; break;
      case '\b': out += "\\b"; break;
      case '\f': out += "\\f"; break;
      default:
        if (c.code < 0x20 || (ascii && c.code >= 0x7F && c.code < 0x10000)) {
          append_json_unit(c.code, out);
        } else if (ascii && c.code >= 0x10000 && c.code != kNoCode) {
          append_json_unit(0xD800 + ((c.code - 0x10000) >> 10), out);
          append_json_unit(0xDC00 + ((c.code - 0x10000) & 0x3FF), out);
        } else {
          out += text.substr(0, c.bytes);
        }
    }
    text.remove_prefix(c.bytes);
  }
  return out + '"';
}

Status no_text(const Value& value, std::string_view form) {
  return Status(Code::kUnsupported, "a " + std::string(value.kind_name()) + " as " + std::string(form) +
                                        " is not supported" +
                                        (value.has_items() ? "; make it a list with the filter 'list'" : ""));
}

Status append_items(const Value& value, Meter& meter, std::string& out) {
  const bool tuple = value.is(Kind::kTuple);
  MERRITT_CHECK(put(tuple ? "(" : "[", meter, out));
  for (size_t i = 0; i < value.items().size(); ++i) {
    if (i != 0) MERRITT_CHECK(put(", ", meter, out));
    MERRITT_CHECK(append_text(value.items()[i], true, meter, out));
  }
  if (tuple && value.items().size() == 1) MERRITT_CHECK(put(",", meter, out));
  return put(tuple ? ")" : "]", meter, out);
}

Status append_entries(const Value& value, Meter& meter, std::string& out) {
  MERRITT_CHECK(put("{", meter, out));
  for (size_t i = 0; i < value.entries().size(); ++i) {
    const auto& [key, entry] = value.entries()[i];
    if (i != 0) MERRITT_CHECK(put(", ", meter, out));
    MERRITT_CHECK(meter.pay_text(key.size(), out.size()));
    MERRITT_CHECK(put(quoted_text(key), meter, out));
    MERRITT_CHECK(put(": ", meter, out));
    MERRITT_CHECK(append_text(entry, true, meter, out));
  }
  return put("}", meter, out);
}

Status new_line(int indent, int level, Meter& meter, std::string& out) {
  if (indent < 0) return {};
  return put("\n" + std::string(static_cast<size_t>(indent) * static_cast<size_t>(level), ' '), meter, out);
}

}  // namespace

Status append_text(const Value& value, bool quoted, Meter& meter, std::string& out) {
  MERRITT_CHECK(meter.pay());
  switch (value.kind()) {
    case Kind::kUndefined: return quoted ? put("Undefined", meter, out) : Status();
    case Kind::kNone: return put("None", meter, out);
    case Kind::kBool: return put(value.as_int() != 0 ? "True" : "False", meter, out);
    case Kind::kInt: return put(std::to_string(value.as_int()), meter, out);
    case Kind::kFloat: return put(float_text(value.as_double(), false), meter, out);
    case Kind::kString:
      if (!quoted) return put(value.as_text(), meter, out);
      MERRITT_CHECK(check_not_safe("showing a list", value));
      MERRITT_CHECK(meter.pay_text(value.as_text().size(), out.size()));
      return put(quoted_text(value.as_text()), meter, out);
    case Kind::kList:
    case Kind::kTuple: return append_items(value, meter, out);
    case Kind::kDict: return append_entries(value, meter, out);
    default: return no_text(value, "text");
  }
}

Result<std::string> to_text(const Value& value, Meter& meter) {
  std::string out;
  MERRITT_CHECK(append_text(value, false, meter, out));
  return out;
}

Status append_json(const Value& value, const JsonStyle& style, int level, Meter& meter, std::string& out) {
  MERRITT_CHECK(meter.pay());
  switch (value.kind()) {
    case Kind::kNone: return put("null", meter, out);
    case Kind::kBool: return put(value.as_int() != 0 ? "true" : "false", meter, out);
    case Kind::kInt: return put(std::to_string(value.as_int()), meter, out);
    case Kind::kFloat: return put(float_text(value.as_double(), true), meter, out);
    case Kind::kString:
      MERRITT_CHECK(meter.pay_text(value.as_text().size(), out.size()));
      return put(json_text(value.as_text(), style.ascii), meter, out);
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict: break;
    default: return no_text(value, "JSON");
  }
  const bool is_list = value.has_items();
  const size_t size = is_list ? value.items().size() : value.entries().size();
  std::vector<size_t> order;
  if (!is_list && style.sort_keys) {
    for (size_t i = 0; i < size; ++i) order.push_back(i);
    for (const auto& entry : value.entries()) MERRITT_CHECK(meter.pay_bytes(64 + entry.first.size()));
    std::sort(order.begin(), order.end(),
              [&](size_t a, size_t b) { return value.entries()[a].first < value.entries()[b].first; });
  }
  MERRITT_CHECK(put(is_list ? "[" : "{", meter, out));
  for (size_t i = 0; i < size; ++i) {
    if (i != 0) MERRITT_CHECK(put(style.item_separator, meter, out));
    MERRITT_CHECK(new_line(style.indent, level + 1, meter, out));
    if (is_list) {
      MERRITT_CHECK(append_json(value.items()[i], style, level + 1, meter, out));
      continue;
    }
    const auto& [key, entry] = value.entries()[order.empty() ? i : order[i]];
    MERRITT_CHECK(meter.pay_text(key.size(), out.size()));
    MERRITT_CHECK(put(json_text(key, style.ascii), meter, out));
    MERRITT_CHECK(put(style.key_separator, meter, out));
    MERRITT_CHECK(append_json(entry, style, level + 1, meter, out));
  }
  if (size != 0) MERRITT_CHECK(new_line(style.indent, level, meter, out));
  return put(is_list ? "]" : "}", meter, out);
}

}  // namespace merritt::tokens
