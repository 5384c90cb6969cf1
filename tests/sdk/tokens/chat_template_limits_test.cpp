// SPDX-License-Identifier: Apache-2.0
// Hostile templates end within their budget, and what the renderer lacks is refused by name and line.
#include <gtest/gtest.h>

#include "tokens/chat_template.hpp"

namespace merritt::tokens {
namespace {

Result<std::string> rendered(const std::string& source, const RenderBudget& budget = {}) {
  MERRITT_TRY(const auto compiled, ChatTemplate::compile(source));
  ChatInput input;
  input.messages = {{"user", "Hi"}, {"assistant", "Hello"}};
  std::string out;
  MERRITT_CHECK(compiled->render(input, budget, out));
  return out;
}

std::string repeat(const std::string& text, size_t times) {
  std::string out;
  for (; times != 0; --times) out += text;
  return out;
}

std::string refusal(const std::string& source) {
  const auto got = rendered(source);
  return got.ok() ? "renders: " + got.value() : std::string(got.status().message());
}

void expect_refused(const std::string& source, const std::string& part) {
  const std::string message = refusal(source);
  EXPECT_NE(message.find(part), std::string::npos) << message << "\n  of " << source.substr(0, 200);
}

// A small budget: that the work is paid for shows in the refusal, not in the time the test takes.
void expect_over_budget(const std::string& source) {
  const auto got = rendered(source, {.steps = 100'000, .bytes = 1 << 20});
  ASSERT_FALSE(got.ok()) << got.value().substr(0, 100) << "\n  of " << source.substr(0, 200);
  const std::string message(got.status().message());
  EXPECT_TRUE(message.find("rendering takes more than") != std::string::npos ||
              message.find("rendering makes more than") != std::string::npos)
      << message << "\n  of " << source.substr(0, 200);
}

TEST(ChatTemplateLimits, DeepTreesAreRefusedAtCompile) {
  const size_t n = 20'000;
  const std::string deep[] = {
      "{{ " + repeat("(", n) + "1" + repeat(")", n) + " }}",
      "{{ " + repeat("[", n) + repeat("]", n) + " }}",
      "{{ " + repeat("-", n) + "1 }}",
      "{{ " + repeat("not ", n) + "1 }}",
      "{{ a" + repeat(".b", n) + " }}",
      "{{ a" + repeat("[0]", n) + " }}",
      "{{ a" + repeat("|trim", n) + " }}",
      "{{ a" + repeat(".strip()", n) + " }}",
      "{{ a" + repeat(" if b", n) + " }}",
      "{{ a" + repeat(" if b else c", n) + " }}",
      "{{ " + repeat("{'a':", n) + "1" + repeat("}", n) + " }}",
      repeat("{% if a %}", n) + repeat("{% endif %}", n),
      repeat("{% for a in b %}", n) + repeat("{% endfor %}", n),
      repeat("{% set a %}", n) + repeat("{% endset %}", n),
  };
  for (const std::string& source : deep) {
    const auto compiled = ChatTemplate::compile(source);
    ASSERT_FALSE(compiled.ok()) << source.substr(0, 60);
    EXPECT_NE(compiled.status().message().find("nested deeper than 128"), std::string::npos)
        << compiled.status().message() << " of " << source.substr(0, 60);
  }
}

TEST(ChatTemplateLimits, LongChainsOfOperatorsAreNotDeep) {
  EXPECT_EQ(rendered("{{ 0" + repeat(" + 1", 20'000) + " }}").value(), "20000");
  EXPECT_EQ(rendered("{{ ''" + repeat(" ~ 'a'", 10'000) + " }}").value().size(), 10'000u);
  EXPECT_EQ(rendered("{{ false" + repeat(" or false", 10'000) + " }}").value(), "False");
  EXPECT_EQ(rendered("{{ 0" + repeat(" <= 0", 10'000) + " }}").value(), "True");
  EXPECT_EQ(rendered("{% if false %}" + repeat("{% elif false %}", 10'000) + "{% else %}x{% endif %}").value(), "x");
}

TEST(ChatTemplateLimits, ValuesNestOnlySoDeep) {
  expect_refused("{% set ns = namespace(x=[]) %}{% for i in range(99) %}{% set ns.x = [ns.x] %}{% endfor %}",
                 "line 1: values are nested deeper than 32");
  expect_refused("{% set ns = namespace(x={}) %}{% for i in range(99) %}{% set ns.x = {'a': ns.x} %}{% endfor %}",
                 "values are nested deeper than 32");
  expect_refused(
      "{% set ns = namespace(x=[]) %}{% for i in range(99) %}{% set ns.x = [ns.x]|map('list')|list %}{% endfor %}",
      "values are nested deeper than 32");
}

TEST(ChatTemplateLimits, NothingHoldsANamespace) {
  expect_refused("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
                 "a namespace inside a list, a dict or a namespace");
  expect_refused("{% set ns = namespace() %}{% set x = [ns] %}", "a namespace inside");
  expect_refused("{% set ns = namespace() %}{% set x = {'a': ns} %}", "a namespace inside");
  expect_refused("{% set a = namespace() %}{% set b = namespace(a=a) %}", "a namespace inside");
  expect_refused("{% for x in [1] %}{% set y = [loop] %}{% endfor %}", "a loop inside");
  expect_refused("{% macro m() %}{% endmacro %}{% set x = [m] %}", "a macro or function inside");
}

TEST(ChatTemplateLimits, MacrosRecurseOnlySoDeep) {
  expect_refused("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "rendering nests deeper than 256");
}

TEST(ChatTemplateLimits, SharedValuesUnfoldWithinTheBudget) {
  const std::string doubled =
      "{% set ns = namespace(x=[]) %}{% for i in range(30) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}";
  expect_over_budget(doubled + "{{ ns.x }}");
  expect_over_budget(doubled + "{{ ns.x|tojson }}");
  expect_over_budget(doubled + "{{ ns.x|tojson(indent=4) }}");
  expect_over_budget(doubled + "{{ ns.x|string|length }}");
  expect_over_budget(doubled + "{{ ns.x ~ '' }}");
  expect_over_budget(doubled + "{{ [ns.x]|join }}");
  const std::string other =
      "{% set o = namespace(x=[]) %}{% for i in range(30) %}{% set o.x = [o.x, o.x] %}{% endfor %}";
  expect_over_budget(doubled + other + "{{ ns.x == o.x }}");
  expect_over_budget(doubled + other + "{{ ns.x in [o.x] }}");
  expect_over_budget(doubled + other + "{{ [ns.x, o.x]|unique|list|length }}");
  expect_over_budget(doubled + other + "{{ [ns.x]|select('eq', o.x)|list|length }}");
}

TEST(ChatTemplateLimits, SingleNodesPayForTheirWork) {
  const std::string big = "{% set s = 'abcdefgh' * 100000 %}";
  expect_over_budget(big + "{{ range(9999)|join(s) }}");
  expect_over_budget(big + "{{ s|replace('a', s) }}");
  expect_over_budget(big + "{{ s.replace('a', s) }}");
  expect_over_budget(big + "{{ s.split('a')|length }}");
  expect_over_budget(big + "{{ (s * 1).split() ~ s ~ s }}");
  expect_over_budget(big + "{% for c in s %}{% endfor %}");
  expect_over_budget(big + "{{ s|list|length }}");
  expect_over_budget(big + "{{ (s|replace('a', '\\n'))|indent(1000) }}");
  expect_over_budget(big + "{% for i in range(9999) %}{{ s[-1] }}{% endfor %}");
  expect_over_budget(big + "{% for i in range(9999) %}{% if s == s %}{% endif %}{% endfor %}");
  expect_over_budget(big + "{% for i in range(9999) %}{% if 'z' in s %}{% endif %}{% endfor %}");
  expect_over_budget(big + "{% for i in range(9999) %}{% if s < s %}{% endif %}{% endfor %}");
  expect_over_budget(big + "{% for i in range(9999) %}{% if s|length %}{% endif %}{% endfor %}");
  expect_over_budget("{{ range(100000)|unique|list|length }}");
  expect_over_budget("{% set r = range(1000) %}{% for i in range(1000) %}{% if -1 in r %}{% endif %}{% endfor %}");
  expect_over_budget("{% set ns = namespace(x=[0]) %}{% for i in range(24) %}{% set ns.x = ns.x + ns.x %}{% endfor %}");
  expect_over_budget("{% set ns = namespace(x='a') %}{% for i in range(24) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}");
  expect_over_budget("{% set ns = namespace(x='a') %}{% for i in range(24) %}{% set ns.x = ns.x + ns.x %}{% endfor %}");
  expect_over_budget("{{ 'a' * 999999999 }}");
  expect_over_budget("{% for i in range(400) %}{% for j in range(400) %}{% endfor %}{% endfor %}");
}

TEST(ChatTemplateLimits, LargeSourcesAreRefused) {
  EXPECT_NE(refusal(repeat(" ", (1 << 20) + 1)).find("the limit is 1048576"), std::string::npos);
  expect_refused(repeat("{{1}}", 60'000), "larger than 100000 parts");
  expect_refused("{{ " + repeat("a", 129) + " }}", "a name has more than 128 characters");
}

TEST(ChatTemplateLimits, NumbersStayInTheirRange) {
  expect_refused("{{ 1e300|int }}", "too large for the filter 'int'");
  expect_refused("{{ (1e300 * 1e300)|int }}", "too large for the filter 'int'");
  expect_refused("{{ '1e300'|int }}", "too large for the filter 'int'");
  expect_refused("{{ 9223372036854775807 + 1 }}", "beyond 64 bits");
  expect_refused("{{ 9223372036854775807 * -2 }}", "beyond 64 bits");
  expect_refused("{{ (-9223372036854775807 - 1) // -1 }}", "beyond 64 bits");
  expect_refused("{{ -(-9223372036854775807 - 1) }}", "beyond 64 bits");
  expect_refused("{{ 9223372036854775808 }}", "beyond 64 bits");
  EXPECT_EQ(refusal("{{ (-9223372036854775807 - 1) % -1 }}"), "renders: 0");
  EXPECT_EQ(refusal("{{ [1, 2, 3][9223372036854775807:] }}{{ [1, 2, 3][::9223372036854775807] }}"), "renders: [][1]");
  EXPECT_EQ(refusal("{{ [1, 2][-9223372036854775807 - 1:] }}{{ 'ab'[:9223372036854775807] }}"), "renders: [1, 2]ab");
}

TEST(ChatTemplateLimits, WhatIsLackingIsRefusedByNameAndLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"\n{% include 'x' %}", "line 2: the tag 'include' is not supported"},
      {"{% raw %}{{ x }}{% endraw %}", "line 1: the tag 'raw' is not supported"},
      {"{% call m() %}{% endcall %}", "the tag 'call' is not supported"},
      {"{% filter upper %}{% endfilter %}", "the tag 'filter' is not supported"},
      {"a\nb\n{{ 'x'|wordwrap }}", "line 3: the filter 'wordwrap' is not supported"},
      {"{{ 'x' is lower }}", "the test 'lower' is not supported"},
      {"{{ 'x'.zfill(3) }}", "the method .zfill() is not supported"},
      {"{{ lipsum() }}", "line 1: the function lipsum() is not supported"},
      {"{{ messages.append(1) }}", "the method .append() is not supported"},
      {"{{ 2 ** 3 }}", "the operator ** is not supported"},
      {"{{ 'a'.split('x', 1, 2) }}", "more than 2 arguments of the method .split()"},
      {"{{ 'a'.find('x', 1) }}", "more than 1 arguments of the method .find()"},
      {"{{ [1]|join(',', 'x', 'y') }}", "more than 2 arguments of the filter 'join'"},
      {"{{ [1]|unique(attribute='x') }}", "the argument 'attribute' of the filter 'unique'"},
      {"{{ 'ff'|int(base=16) }}", "the argument 'base' of the filter 'int'"},
      {"{{ [1]|tojson(default=1) }}", "the argument 'default' of the filter 'tojson'"},
      {"{{ 'a'.strip(chars='x') }}", "the argument 'chars' of the method .strip()"},
      {"{{ 'a'|replace('x') }}", "the filter 'replace' needs 2 arguments"},
      {"{{ namespace({'a': 1}) }}", "namespace() with a value that has no name"},
      {"{{ [1, 2]|map('join', ',') }}", "more than 1 arguments"},
      {"{{ [1, 2]|map('replace')|list }}", "map with the filter 'replace'"},
      {"{{ [1, 2]|select('sameas', 1)|list }}", "the test 'sameas' is not supported"},
      {"{{ m(*[1]) }}", "'*' before an argument is not supported"},
      {"{{ messages[0]() }}", "calling the result of an expression is not supported"},
      {"{{ ('a')() }}", "calling the result of an expression is not supported"},
      {"{{ messages[0].items }}", "the method .items without a call is not supported"},
      {"{{ 'a'.strip }}", "the method .strip without a call is not supported"},
      {"{% for x in [1] %}{{ loop.cycle('a') }}{% endfor %}", "the method .cycle() is not supported"},
      {"{% for x in [1] %}{{ loop.changed }}{% endfor %}", "the method .changed without a call"},
      {"{% for x in [1] recursive %}{% endfor %}", "'recursive' of a loop is not supported"},
      {"{% for x in 1, 2 %}{% endfor %}", "a tuple without parentheses is not supported"},
      {"{{ 1, 2 }}", "a tuple without parentheses is not supported"},
      {"{% set a, b = [1, 2] %}", "setting several names at once is not supported"},
      {"{% set x | upper %}{% endset %}", "a filter on a set block is not supported"},
      {"{% if true %}{% macro m() %}{% endmacro %}{% endif %}", "a macro inside another block is not supported"},
      {"{% macro m() %}{{ varargs }}{% endmacro %}", "'varargs' in a macro is not supported"},
      {"{% set loop = 1 %}", "a variable named 'loop' is not supported"},
      {"{{ 'a'[::-1] }}", "a slice of a text with a step is not supported"},
      {"{{ '%s' % 'a' }}", "the formatting of a text with '%' is not supported"},
      {"{{ {1: 2} }}", "a dict key that is no text is not supported"},
      {"{{ ('a'|safe) + '<' }}", "'+' on a text marked with the filter 'safe'"},
      {"{{ ('a'|safe) ~ '<' }}", "'~' on a text marked with the filter 'safe'"},
      {"{{ ('a'|safe)|upper }}", "'upper' on a text marked with the filter 'safe'"},
      {"{{ ['a'|safe] }}", "showing a list on a text marked with the filter 'safe'"},
      {"{% if 1 if 2 %}{% endif %}", "the tag goes on with 'if'"},
      {"{{ {}[1:] }}", "a value of type dict cannot be sliced"},
      {"{{ [1]|map('string') }}", "a generator as text is not supported; make it a list"},
      {"{{ {}.items() }}", "a dict view as text is not supported"},
      {"{{ range(3)|tojson }}", "a range as JSON is not supported"},
      {"{{ '\\N{BULLET}' }}", "the escape \\N in a string is not supported"},
      {"{{ '\\ud83d' }}", "the escape \\u of what is no character"},
      {"{{ 0x1F }}", "a number with letters or '_' in it"},
      {"{{ n\xC3\xA9 }}", "a name with letters beyond ASCII is not supported"},
      {"{{ strftime_now('%j') }}", "%j"},
      {"{{ 'a'|replace('', 'b') }}", "replacing the empty text is not supported"},
  };
  for (const auto& [source, part] : cases) expect_refused(source, part);
}

TEST(ChatTemplateLimits, WhatIsNoTemplateIsCorrupt) {
  const std::pair<const char*, const char*> cases[] = {
      {"a\n{{ 1", "line 2: a tag is not closed"},
      {"{# a", "line 1: a comment is not closed"},
      {"{{ 'a }}", "a string is not closed"},
      {"{% if true %}a", "'endif' is missing"},
      {"{% endfor %}", "'endfor' without its beginning"},
      {"{% break %}", "'break' outside a loop"},
      {"{% for x in [1] %}{% set y %}{% break %}{% endset %}{% endfor %}", "'break' outside a loop"},
      {"{{ }}", "an expression is missing"},
      {"{{ 1 + }}", "an expression is missing"},
      {"{{ (1] }}", "']' closes nothing"},
      {"{{ 1 2 }}", "'}}' is missing before '2'"},
      {"{{ not }}", "an expression is missing"},
      {"{{ a.if.b if }}", "an expression is missing"},
      {"{{ 1 ? 2 }}", "the character '?'"},
      {"{% 1 %}", "a tag begins with '1'"},
      {"{{ dict(a=1, a=2) }}", "the argument 'a' is given twice"},
      {"{{ 'a'|replace('b', old='c', new='d') }}", "the argument 'old' of the filter 'replace' is given twice"},
      {"{{ f(a=1, 2) }}", "an argument without a name follows one with a name"},
      {"{{ '\\x4' }}", "the escape \\x needs 2 digits"},
      {"{% macro m(a=1, b) %}{% endmacro %}", "a parameter without a default follows"},
  };
  for (const auto& [source, part] : cases) {
    const auto compiled = ChatTemplate::compile(source);
    ASSERT_FALSE(compiled.ok()) << source;
    EXPECT_EQ(compiled.status().code(), Code::kCorrupt) << source;
    EXPECT_NE(compiled.status().message().find(part), std::string::npos) << compiled.status().message();
  }
}

}  // namespace
}  // namespace merritt::tokens
