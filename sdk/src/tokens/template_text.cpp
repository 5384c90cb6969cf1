// SPDX-License-Identifier: Apache-2.0
#include "tokens/template_text.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "tokens/utf8.hpp"

namespace merritt::tokens {
namespace {

enum class Case { kUpper, kLower, kTitle };

void append_cased(const TextChar& c, std::string_view bytes, Case which, std::string& out) {
  constexpr char32_t kSharpS = 0xDF;
  if (c.code == kNoCode) {
    out += bytes;
  } else if (c.code == kSharpS && which != Case::kLower) {
    out += which == Case::kUpper ? "SS" : "Ss";
  } else {
    const auto code = static_cast<utf8proc_int32_t>(c.code);
    append_char(static_cast<char32_t>(which == Case::kUpper   ? utf8proc_toupper(code)
                                      : which == Case::kLower ? utf8proc_tolower(code)
                                                              : utf8proc_totitle(code)),
                out);
  }
}

std::string cased(std::string_view text, Case which) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const TextChar c = first_char(text);
    append_cased(c, text.substr(0, c.bytes), which, out);
    text.remove_prefix(c.bytes);
  }
  return out;
}

bool has_case(char32_t code) {
  if (code == kNoCode) return false;
  const auto category = utf8proc_category(static_cast<utf8proc_int32_t>(code));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL || category == UTF8PROC_CATEGORY_LT;
}

}  // namespace

TextChar first_char(std::string_view text) {
  const Utf8Step step = utf8_step(text);
  if (step.state != Utf8State::kWhole) return {kNoCode, 1};
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (step.bytes == 1) return {byte(0), 1};
  char32_t code = byte(0) & (0xFFu >> (step.bytes + 1));
  for (size_t i = 1; i < step.bytes; ++i) code = code << 6 | (byte(i) & 0x3Fu);
  return {code, step.bytes};
}

TextChar last_char(std::string_view text) {
  // The only candidates are the last four bytes; the character that ends with the text is the one that fills its tail.
  for (size_t bytes = std::min<size_t>(4, text.size()); bytes > 1; --bytes) {
    const TextChar c = first_char(text.substr(text.size() - bytes));
    if (c.bytes == bytes) return c;
  }
  const TextChar c = first_char(text.substr(text.size() - 1));
  return {c.code, 1};
}

void append_char(char32_t code, std::string& out) {
  if (code < 0x80) {
    out += static_cast<char>(code);
    return;
  }
  const int tail = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
  static constexpr uint8_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
  out += static_cast<char>(kLead[tail] | (code >> (6 * tail)));
  for (int i = tail - 1; i >= 0; --i) out += static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3F));
}

size_t count_chars(std::string_view text) {
  size_t n = 0;
  for (; !text.empty(); ++n) text.remove_prefix(first_char(text).bytes);
  return n;
}

size_t char_offset(std::string_view text, size_t n) {
  size_t at = 0;
  for (; n != 0 && at < text.size(); --n) at += first_char(text.substr(at)).bytes;
  return at;
}

TextLine line_at(std::string_view text, size_t at) {
  while (at < text.size()) {
    const TextChar c = first_char(text.substr(at));
    const bool breaks = (c.code >= 0x0A && c.code <= 0x0D) || (c.code >= 0x1C && c.code <= 0x1E) || c.code == 0x85 ||
                        c.code == 0x2028 || c.code == 0x2029;
    if (breaks) return {at, at + (text.substr(at, 2) == "\r\n" ? 2 : c.bytes)};
    at += c.bytes;
  }
  return {at, at};
}

bool is_space(char32_t code) {
  return (code >= 0x09 && code <= 0x0D) || (code >= 0x1C && code <= 0x20) || code == 0x85 || code == 0xA0 ||
         code == 0x1680 || (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F ||
         code == 0x205F || code == 0x3000;
}

bool is_printable(char32_t code) {
  if (code == ' ') return true;
  if (code == kNoCode) return false;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code))) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS: return false;
    default: return true;
  }
}

std::string_view strip(std::string_view text, const std::string_view* set, bool left, bool right) {
  std::vector<char32_t> codes;
  if (set != nullptr) {
    for (std::string_view rest = *set; !rest.empty(); rest.remove_prefix(first_char(rest).bytes)) {
      codes.push_back(first_char(rest).code);
    }
    std::sort(codes.begin(), codes.end());
  }
  const auto goes = [&](char32_t code) {
    return set == nullptr ? is_space(code) : std::binary_search(codes.begin(), codes.end(), code);
  };
  while (left && !text.empty()) {
    const TextChar c = first_char(text);
    if (!goes(c.code)) break;
    text.remove_prefix(c.bytes);
  }
  while (right && !text.empty()) {
    const TextChar c = last_char(text);
    if (!goes(c.code)) break;
    text.remove_suffix(c.bytes);
  }
  return text;
}

std::string to_upper(std::string_view text) { return cased(text, Case::kUpper); }
std::string to_lower(std::string_view text) { return cased(text, Case::kLower); }

std::string capitalize(std::string_view text) {
  if (text.empty()) return {};
  const TextChar c = first_char(text);
  std::string out;
  append_cased(c, text.substr(0, c.bytes), Case::kTitle, out);
  return out + to_lower(text.substr(c.bytes));
}

std::string title(std::string_view text) {
  std::string out;
  bool in_word = false;
  while (!text.empty()) {
    const TextChar c = first_char(text);
    append_cased(c, text.substr(0, c.bytes), in_word ? Case::kLower : Case::kTitle, out);
    in_word = has_case(c.code);
    text.remove_prefix(c.bytes);
  }
  return out;
}

size_t find_text(std::string_view text, std::string_view needle, size_t from) {
  // Short needles: the library's search, whose worst case is text times needle. Long ones: Knuth, Morris and Pratt.
  constexpr size_t kShort = 16;
  if (needle.size() <= kShort) return text.find(needle, from);
  if (from > text.size() || text.size() - from < needle.size()) return std::string_view::npos;
  std::vector<size_t> border(needle.size(), 0);
  for (size_t i = 1, k = 0; i < needle.size(); ++i) {
    while (k != 0 && needle[i] != needle[k]) k = border[k - 1];
    k += needle[i] == needle[k];
    border[i] = k;
  }
  for (size_t i = from, k = 0; i < text.size(); ++i) {
    while (k != 0 && text[i] != needle[k]) k = border[k - 1];
    k += text[i] == needle[k];
    if (k == needle.size()) return i + 1 - k;
  }
  return std::string_view::npos;
}

}  // namespace merritt::tokens
