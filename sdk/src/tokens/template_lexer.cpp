// SPDX-License-Identifier: Apache-2.0
#include "tokens/template_lexer.hpp"

#include <algorithm>

#include "tokens/template_text.hpp"

namespace merritt::tokens {
namespace {

constexpr size_t kSourceBytesMax = size_t{1} << 20;
constexpr size_t kNameBytesMax = 128;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c); }
int hex_digit(char c) {
  return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// As Jinja: every line ends in \n, and one line end at the very end of a source does not belong to it.
std::string with_unix_lines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    out += source[i] == '\r' ? '\n' : source[i];
  }
  if (!out.empty() && out.back() == '\n') out.pop_back();
  return out;
}

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {}

  Result<std::vector<Lexeme>> run() {
    while (at_ < source_.size()) {
      const size_t open = next_open();
      take_text(open);
      if (open == std::string_view::npos) break;
      MERRITT_CHECK(take_tag());
    }
    push(LexKind::kEnd, line_);
    return std::move(lexemes_);
  }

 private:
  void push(LexKind kind, uint32_t line, std::string_view text = {}) {
    lexemes_.push_back({kind, line, std::string(text)});
  }

  size_t next_open() const {
    for (size_t i = at_; i + 1 < source_.size(); ++i) {
      if (source_[i] == '{' && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) return i;
    }
    return std::string_view::npos;
  }

  void take_text(size_t open) {
    const size_t end = open == std::string_view::npos ? source_.size() : open;
    std::string_view text = source_.substr(at_, end - at_);
    uint32_t line = line_;
    line_ += count_lines(text);
    if (strip_next_) {
      const std::string_view rest = strip(text, nullptr, true, false);
      line += count_lines(text.substr(0, text.size() - rest.size()));
      text = rest;
    } else if (trim_newline_ && text.starts_with('\n')) {
      text.remove_prefix(1);
      ++line;
    }
    if (open != std::string_view::npos) {
      const char sign = open + 2 < source_.size() ? source_[open + 2] : ' ';
      if (sign == '-') {
        text = strip(text, nullptr, false, true);
      } else if (source_[open + 1] != '{' && sign != '+') {
        strip_line_start(text, end);
      }
    }
    if (!text.empty()) push(LexKind::kText, line, text);
    at_ = end;
    strip_next_ = trim_newline_ = false;
  }

  static uint32_t count_lines(std::string_view text) {
    return static_cast<uint32_t>(std::count(text.begin(), text.end(), '\n'));
  }

  // lstrip_blocks: blanks between the start of a line and a block tag go.
  void strip_line_start(std::string_view& text, size_t end) const {
    const size_t last_break = text.rfind('\n');
    const size_t begin = last_break == std::string_view::npos ? 0 : last_break + 1;
    const bool line_start = begin != 0 || end == text.size() || source_[end - text.size() - 1] == '\n';
    if (line_start && strip(text.substr(begin), nullptr, true, false).empty()) text = text.substr(0, begin);
  }

  Status take_tag() {
    const char kind = source_[at_ + 1];
    const uint32_t line = line_;
    at_ += 2;
    if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) ++at_;
    if (kind == '#') return skip_comment(line);
    push(kind == '{' ? LexKind::kPrintBegin : LexKind::kTagBegin, line);
    const size_t first = lexemes_.size();
    const std::string_view close = kind == '{' ? "}}" : "%}";
    closers_.clear();  // of open brackets, so that a dict's }} is not taken for the end of {{ }}
    for (;;) {
      skip_blanks();
      if (at_ >= source_.size()) return corrupt(line, "a tag is not closed");
      const bool sign = source_[at_] == '-' || (source_[at_] == '+' && kind == '%');
      if (closers_.empty() && source_.substr(at_ + (sign ? 1 : 0), 2) == close) {
        strip_next_ = sign && source_[at_] == '-';
        trim_newline_ = kind == '%' && !sign;
        at_ += sign ? 3 : 2;
        push(kind == '{' ? LexKind::kPrintEnd : LexKind::kTagEnd, line_);
        return {};
      }
      MERRITT_CHECK(take_token());
      const Lexeme& token = lexemes_.back();
      if (kind == '%' && lexemes_.size() == first + 1 && token.kind == LexKind::kName && token.text == "raw") {
        return unsupported("the tag 'raw'");
      }
    }
  }

  void skip_blanks() {
    while (at_ < source_.size()) {
      const TextChar c = first_char(source_.substr(at_));
      if (!is_space(c.code)) return;
      line_ += c.code == '\n' ? 1 : 0;
      at_ += c.bytes;
    }
  }

  Status skip_comment(uint32_t line) {
    const size_t end = source_.find("#}", at_);
    if (end == std::string_view::npos) return corrupt(line, "a comment is not closed");
    const char sign = end > at_ ? source_[end - 1] : ' ';
    strip_next_ = sign == '-';
    trim_newline_ = sign != '-' && sign != '+';
    line_ += count_lines(source_.substr(at_, end - at_));
    at_ = end + 2;
    return {};
  }

  Status take_token() {
    const char c = source_[at_];
    if (c == '\'' || c == '"') return take_string(c);
    if (is_digit(c)) return take_number();
    const size_t first = at_;
    if (is_name(c)) {
      while (at_ < source_.size() && is_name(source_[at_])) ++at_;
      if (at_ - first > kNameBytesMax) {
        return corrupt(line_, "a name has more than " + std::to_string(kNameBytesMax) + " characters");
      }
      push(LexKind::kName, line_, source_.substr(first, at_ - first));
      return {};
    }
    if (static_cast<uint8_t>(c) >= 0x80) return unsupported("a name with letters beyond ASCII");
    static constexpr std::string_view kTwo[] = {"==", "!=", "<=", ">=", "//", "**"};
    for (const std::string_view two : kTwo) {
      if (source_.substr(at_, 2) == two) {
        at_ += 2;
        push(LexKind::kPunct, line_, two);
        return {};
      }
    }
    if (std::string_view("+-*/%~<>=()[]{},.:|").find(c) == std::string_view::npos) {
      return corrupt(line_, std::string("the character '") + c + "' is not part of any expression");
    }
    if (c == '(' || c == '[' || c == '{') closers_ += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (closers_.empty() || closers_.back() != c) return corrupt(line_, std::string("'") + c + "' closes nothing");
      closers_.pop_back();
    }
    ++at_;
    push(LexKind::kPunct, line_, std::string_view(&c, 1));
    return {};
  }

  Status take_number() {
    const size_t first = at_;
    const auto digits = [&] {
      while (at_ < source_.size() && is_digit(source_[at_])) ++at_;
    };
    const auto digit_at = [&](size_t i) { return i < source_.size() && is_digit(source_[i]); };
    bool real = false;
    digits();
    // After a dot a number is an index: a.0.1 has no fraction in it.
    const bool index = first != 0 && source_[first - 1] == '.';
    if (!index && at_ < source_.size() && source_[at_] == '.' && digit_at(at_ + 1)) {
      real = true;
      ++at_;
      digits();
    }
    if (!index && at_ < source_.size() && (source_[at_] == 'e' || source_[at_] == 'E')) {
      const size_t sign = at_ + 1 < source_.size() && (source_[at_ + 1] == '+' || source_[at_ + 1] == '-') ? 1 : 0;
      if (digit_at(at_ + 1 + sign)) {
        real = true;
        at_ += 1 + sign;
        digits();
      }
    }
    if (at_ < source_.size() && is_name(source_[at_])) return unsupported("a number with letters or '_' in it");
    push(real ? LexKind::kFloat : LexKind::kInt, line_, source_.substr(first, at_ - first));
    return {};
  }

  Status take_string(char quote) {
    std::string text;
    const uint32_t line = line_;
    for (++at_; at_ < source_.size() && source_[at_] != quote; ++at_) {
      const char c = source_[at_];
      if (c == '\n') ++line_;
      if (c != '\\') {
        text += c;
        continue;
      }
      if (++at_ >= source_.size()) break;
      MERRITT_CHECK(take_escape(text));
    }
    if (at_ >= source_.size()) return corrupt(line, "a string is not closed");
    ++at_;
    push(LexKind::kString, line, text);
    return {};
  }

  // At the character after a backslash; leaves at_ on the escape's last character.
  Status take_escape(std::string& text) {
    const char c = source_[at_];
    static constexpr std::string_view kLetters = "abfnrtv\\'\"", kMeaning = "\a\b\f\n\r\t\v\\'\"";
    if (const size_t known = kLetters.find(c); known != std::string_view::npos) {
      text += kMeaning[known];
      return {};
    }
    if (c == '\n') {
      ++line_;
      return {};
    }
    if (c >= '0' && c <= '7') {
      char32_t code = 0;
      size_t n = 0;
      for (; n < 3 && at_ + n < source_.size() && source_[at_ + n] >= '0' && source_[at_ + n] <= '7'; ++n) {
        code = code * 8 + static_cast<char32_t>(source_[at_ + n] - '0');
      }
      append_char(code, text);
      at_ += n - 1;
      return {};
    }
    if (c == 'N') return unsupported("the escape \\N in a string");
    const size_t width = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (width == 0) {  // Python keeps what it does not know
      text += '\\';
      text += c;
      line_ += c == '\n' ? 1 : 0;
      return {};
    }
    uint64_t code = 0;
    for (size_t i = 1; i <= width; ++i) {
      const int digit = at_ + i < source_.size() ? hex_digit(source_[at_ + i]) : -1;
      if (digit < 0)
        return corrupt(line_, std::string("the escape \\") + c + " needs " + std::to_string(width) + " digits");
      code = code * 16 + static_cast<uint64_t>(digit);
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
      return unsupported(std::string("the escape \\") + c + " of what is no character");
    }
    append_char(static_cast<char32_t>(code), text);
    at_ += width;
    return {};
  }

  Status unsupported(const std::string& what) const {
    return Status(Code::kUnsupported,
                  "chat template, line " + std::to_string(line_) + ": " + what + " is not supported");
  }
  static Status corrupt(uint32_t line, const std::string& what) {
    return Status(Code::kCorrupt, "chat template, line " + std::to_string(line) + ": " + what);
  }

  std::string_view source_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  bool strip_next_ = false, trim_newline_ = false;
  std::string closers_;
  std::vector<Lexeme> lexemes_;
};

}  // namespace

Result<std::vector<Lexeme>> lex_template(std::string_view source) {
  if (source.size() > kSourceBytesMax) {
    return Status(Code::kCorrupt, "the chat template has " + std::to_string(source.size()) + " bytes; the limit is " +
                                      std::to_string(kSourceBytesMax));
  }
  const std::string text = with_unix_lines(source);
  return Lexer(text).run();
}

}  // namespace merritt::tokens
