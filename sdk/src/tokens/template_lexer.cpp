// SPDX-License-Identifier: Apache-2.0
#include "tokens/template_lexer.hpp"

#include <algorithm>

namespace merritt::tokens {
namespace {

constexpr size_t kSourceBytesMax = size_t{1} << 20;

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c); }

class Lexer {
 public:
  explicit Lexer(std::string_view source) : source_(source) {
    // As Jinja: one newline at the very end of a source does not belong to it.
    if (!source_.empty() && source_.back() == '\n') source_.remove_suffix(1);
  }

  Result<std::vector<Lexeme>> run() {
    while (at_ < source_.size()) {
      const size_t open = next_open();
      take_text(open);
      if (open == std::string_view::npos) break;
      MERRITT_CHECK(take_tag());
    }
    lexemes_.push_back({LexKind::kEnd, line_, {}});
    return std::move(lexemes_);
  }

 private:
  size_t next_open() const {
    for (size_t i = at_; i + 1 < source_.size(); ++i) {
      if (source_[i] == '{' && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#')) return i;
    }
    return std::string_view::npos;
  }

  void take_text(size_t open) {
    const size_t end = open == std::string_view::npos ? source_.size() : open;
    std::string_view text = source_.substr(at_, end - at_);
    const uint32_t line = line_;
    line_ += static_cast<uint32_t>(std::count(text.begin(), text.end(), '\n'));
    if (strip_next_) {
      while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
    } else if (trim_newline_) {
      if (text.starts_with("\r\n"))
        text.remove_prefix(2);
      else if (text.starts_with('\n'))
        text.remove_prefix(1);
    }
    if (open != std::string_view::npos) {
      const char sign = open + 2 < source_.size() ? source_[open + 2] : ' ';
      if (sign == '-') {
        while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
      } else if (source_[open + 1] != '{' && sign != '+') {
        strip_line_start(text, end);
      }
    }
    if (!text.empty()) lexemes_.push_back({LexKind::kText, line, std::string(text)});
    at_ = end;
    strip_next_ = trim_newline_ = false;
  }

  // lstrip_blocks: blanks between the start of a line and a block tag go.
  void strip_line_start(std::string_view& text, size_t end) const {
    size_t i = text.size();
    while (i != 0 && (text[i - 1] == ' ' || text[i - 1] == '\t')) --i;
    const bool line_start = i != 0 ? text[i - 1] == '\n' : end == text.size() || source_[end - text.size() - 1] == '\n';
    if (line_start) text = text.substr(0, i);
  }

  Status take_tag() {
    const char kind = source_[at_ + 1];
    const uint32_t line = line_;
    at_ += 2;
    if (at_ < source_.size() && (source_[at_] == '-' || source_[at_] == '+')) ++at_;
    if (kind == '#') return skip_comment(line);
    lexemes_.push_back({kind == '{' ? LexKind::kPrintBegin : LexKind::kTagBegin, line, {}});
    const char close = kind == '{' ? '}' : '%';
    uint32_t depth = 0;  // of brackets, so that a dict's }} is not taken for the end of {{ }}
    for (;;) {
      while (at_ < source_.size() && is_blank(source_[at_])) line_ += source_[at_++] == '\n';
      if (at_ >= source_.size()) return corrupt(line, "a tag is not closed");
      const bool dash =
          (source_[at_] == '-' || source_[at_] == '+') && source_.substr(at_ + 1, 1) == std::string_view(&close, 1);
      const size_t end = at_ + (dash ? 1 : 0);
      if (depth == 0 && source_.substr(end, 2) == (close == '}' ? "}}" : "%}")) {
        strip_next_ = dash && source_[at_] == '-';
        trim_newline_ = close == '%' && !dash;
        at_ = end + 2;
        lexemes_.push_back({close == '}' ? LexKind::kPrintEnd : LexKind::kTagEnd, line_, {}});
        return {};
      }
      MERRITT_CHECK(take_token(depth));
    }
  }

  Status skip_comment(uint32_t line) {
    const size_t end = source_.find("#}", at_);
    if (end == std::string_view::npos) return corrupt(line, "a comment is not closed");
    strip_next_ = end > at_ && source_[end - 1] == '-';
    trim_newline_ = !strip_next_;
    line_ += static_cast<uint32_t>(
        std::count(source_.begin() + static_cast<ptrdiff_t>(at_), source_.begin() + static_cast<ptrdiff_t>(end), '\n'));
    at_ = end + 2;
    return {};
  }

  Status take_token(uint32_t& depth) {
    const char c = source_[at_];
    if (c == '\'' || c == '"') return take_string(c);
    const size_t first = at_;
    if (is_digit(c)) {
      while (at_ < source_.size() && is_digit(source_[at_])) ++at_;
      bool real = false;
      if (at_ + 1 < source_.size() && source_[at_] == '.' && is_digit(source_[at_ + 1])) {
        real = true;
        ++at_;
        while (at_ < source_.size() && is_digit(source_[at_])) ++at_;
      }
      if (at_ - first > 18) return corrupt(line_, "a number has more than 18 digits");
      lexemes_.push_back(
          {real ? LexKind::kFloat : LexKind::kInt, line_, std::string(source_.substr(first, at_ - first))});
      return {};
    }
    if (is_name(c)) {
      while (at_ < source_.size() && is_name(source_[at_])) ++at_;
      lexemes_.push_back({LexKind::kName, line_, std::string(source_.substr(first, at_ - first))});
      return {};
    }
    static constexpr std::string_view kTwo[] = {"==", "!=", "<=", ">=", "//", "**"};
    for (const std::string_view two : kTwo) {
      if (source_.substr(at_, 2) == two) {
        at_ += 2;
        lexemes_.push_back({LexKind::kPunct, line_, std::string(two)});
        return {};
      }
    }
    if (std::string_view("+-*/%~<>=()[]{},.:|").find(c) == std::string_view::npos) {
      return corrupt(line_, std::string("the character '") + c + "' is not part of any expression");
    }
    if (c == '(' || c == '[' || c == '{') ++depth;
    if ((c == ')' || c == ']' || c == '}') && depth != 0) --depth;
    ++at_;
    lexemes_.push_back({LexKind::kPunct, line_, std::string(1, c)});
    return {};
  }

  Status take_string(char quote) {
    std::string text;
    const uint32_t line = line_;
    for (++at_; at_ < source_.size() && source_[at_] != quote; ++at_) {
      char c = source_[at_];
      if (c == '\n') ++line_;
      if (c != '\\') {
        text += c;
        continue;
      }
      if (++at_ >= source_.size()) break;
      c = source_[at_];
      switch (c) {
        case 'n': text += '\n'; break;
        case 't': text += '\t'; break;
        case 'r': text += '\r'; break;
        case '\\':
        case '\'':
        case '"': text += c; break;
        case '\n': ++line_; break;
        case 'u':
        case 'U':
        case 'x':
        case 'N':
        case '0':
          return Status(Code::kUnsupported, "line " + std::to_string(line_) + ": the escape \\" + c + " in a string");
        default: text += '\\'; text += c;  // Python keeps what it does not know
      }
    }
    if (at_ >= source_.size()) return corrupt(line, "a string is not closed");
    ++at_;
    lexemes_.push_back({LexKind::kString, line, std::move(text)});
    return {};
  }

  static Status corrupt(uint32_t line, const std::string& what) {
    return Status(Code::kCorrupt, "chat template, line " + std::to_string(line) + ": " + what);
  }

  std::string_view source_;
  size_t at_ = 0;
  uint32_t line_ = 1;
  bool strip_next_ = false, trim_newline_ = false;
  std::vector<Lexeme> lexemes_;
};

}  // namespace

Result<std::vector<Lexeme>> lex_template(std::string_view source) {
  if (source.size() > kSourceBytesMax) {
    return Status(Code::kCorrupt, "the chat template has " + std::to_string(source.size()) + " bytes; the limit is " +
                                      std::to_string(kSourceBytesMax));
  }
  return Lexer(source).run();
}

}  // namespace merritt::tokens
