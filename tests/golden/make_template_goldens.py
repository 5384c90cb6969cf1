#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Goldens of the chat template renderer from jinja2, in the environment that transformers sets up: the immutable sandbox
with trim_blocks, lstrip_blocks, loop controls, its own tojson, raise_exception and strftime_now.

The templates below are ours, a few lines for each construct. Templates of model families are read from FOLDER and not
copied: for those the goldens hold the length, the 64-bit FNV-1a hash, and both ends of what is rendered.

usage: make_template_goldens.py FOLDER OUT.json      (needs jinja2==3.1.6)
"""
from __future__ import annotations

import datetime
import json
import pathlib
import sys

import jinja2.ext
import jinja2.sandbox

UNIX_SECONDS = 1_700_000_000  # 2023-11-14 22:13:20 UTC
CONVERSATIONS = {
    "turns": [("user", "Hi there"), ("assistant", "  Hello! "), ("user", "Bye <b>\u00e9\u6f22\U0001f600")],
    "system": [("system", " Be brief. "), ("user", "One?\n"), ("assistant", "1"), ("user", "Two?")],
    "single": [("user", "Why?")],
    "wrong order": [("user", "a"), ("user", "b")],
    "unknown role": [("user", "a"), ("tool", "{\"x\": 1}"), ("assistant", "c")],
}
MODEL_FILES = ["google-gemma-2-2b-it.jinja", "Qwen-Qwen2.5-7B-Instruct.jinja", "meta-llama-Llama-3.1-8B-Instruct.jinja",
               "CohereForAI-c4ai-command-r7b-12-2024-tool_use.jinja"]

LOOP = "{% for m in messages %}"
TEMPLATES = {
    # blanks around tags
    "trim a newline after a block": "{% if true %}\nx\n{% endif %}\ny\n",
    "blanks before a block": "a\n  \t{% if true %}b{% endif %}\n   {# c #}\n  {{ 1 }}\n",
    "blanks before a block in a line": "a  {% if true %} b {% endif %} c",
    "dashes": "a \n {%- if true -%} \n b \n {%- endif -%} \n c {{- 1 -}}  d {{- 2 }} e {#- c -#} f",
    "plus keeps blanks": "x\n  {%+ if true +%}\n  y\n  {%+ endif %}\nz",
    "plus in comments": "a\n  {#+ c +#}\nb",
    "unicode blanks around dashes": "a\u00a0\u3000{%- if true -%}\u2003b\u2028{%- endif %}",
    "unicode blanks before a block": "a\n\u00a0\u3000{% if true %}b{% endif %}",
    "windows lines": "a\r\n{% if true %}\r\nb\r{% endif %}\r\nc\r\n",
    "one newline at the end goes": "a\n\n",
    "line start after a trimmed block": "{% if true %}\n  {% if true %}a{% endif %}\n{% endif %}",
    "newlines in strings": "{{ 'a\r\nb\rc\nd'|tojson }}",
    "empty": "",
    "braces in text": "{ { } } {a} %} }} #}",
    "braces in a tag": "{{ {'a': {'b': 1}}['a']['b'] }}{{ '}}' }}{{ \"{%\" }}",
    "comment over lines": "a{# b\n{{ c }}\n#}d\n{# e #}\nf",
    # literals
    "numbers": "{{ 1 }} {{ 1.5 }} {{ 1e3 }} {{ 1.25e-7 }} {{ 0.1 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789.125 }} {{ 1e22 }}"
               " {{ 0.0001 }} {{ 0.00001 }} {{ 9223372036854775807 }} {{ 2.0 }} {{ 1e300 * 1e10 }}",
    "strings": "{{ 'a\\n\\t\\r\\\\\\'\\\"b' }} {{ \"it's\" }} {{ 'x' 'y' \"z\" }} {{ '\\x41\\u00e9\\U0001f600\\101\\q\\a' }}",
    "repr": "{{ ['a', \"it's\", 'q\"', 'both\\'\"', 'n\\n\\t\\\\', '\u00e9\u00a0\u200b\u2028\U0001f600', '\\x07\\x7f'] }}",
    "constants": "{{ true }} {{ True }} {{ false }} {{ False }} {{ none }} {{ None }} {{ [true, none] }}",
    "lists and tuples": "{{ [] }} {{ [1, 'a', [2.5]] }} {{ (1, 2) }} {{ (1,) }} {{ () }} {{ (1) }} {{ [1, 2,] }}",
    "dicts": "{{ {} }} {{ {'a': 1, 'b': [none]} }} {{ {'k': 'v', } }}",
    "the last of equal keys wins": "{{ {'a': 1, 'b': 2, 'a': 3} }}{{ {'a': 1, 'a': 3}|length }}",
    "adjacent strings and filters": "{{ 'a' 'b'|upper }}",
    # names and members
    "undefined": "[{{ nothing }}]{{ nothing is defined }}{{ [nothing] }}{{ nothing == nothing2 }}{{ nothing == none }}",
    "undefined in conditions": "{% if nothing %}a{% else %}b{% endif %}{{ not nothing }}{{ nothing or 'c' }}",
    "undefined has no members": "{{ nothing.a }}",
    "undefined cannot be added": "{{ 'a' + nothing }}",
    "undefined member": "[{{ messages[0].nothing }}]{{ messages[0]['nothing'] is defined }}{{ messages[9] is defined }}",
    "members": "{{ messages[0].role }}{{ messages[0]['content'] }}{{ messages[-1].role }}{{ messages.0.role }}",
    "keys named as variables": "{% set k = 'role' %}{{ messages[0][k] }}",
    "none has no members": "[{{ none.a }}][{{ none['a'] }}][{{ 1.a is defined }}]",
    "function names are defined": "{{ strftime_now is defined }}{{ raise_exception is defined }}{{ namespace is callable }}",
    "tools and documents are none": "{{ tools is none }}{{ documents is none }}{{ tools is defined }}{{ not tools }}",
    "tokens": "{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}",
    # strings as sequences of characters
    "index a string": "{% set s = 'h\u00e9\u6f22\U0001f600' %}{{ s[0] }}{{ s[1] }}{{ s[-1] }}{{ s[2] }}[{{ s[9] }}][{{ s[-9] }}]",
    "slice a string": "{% set s = 'h\u00e9\u6f22\U0001f600z' %}{{ s[1:3] }}|{{ s[:2] }}|{{ s[-2:] }}|{{ s[:-1] }}|{{ s[3:1] }}|"
                      "{{ s[:] }}|{{ s[1:99] }}|{{ s[-99:2] }}",
    "length of a string": "{{ 'h\u00e9\u6f22\U0001f600'|length }}{{ ''|length }}",
    "go over a string": "{% for c in 'h\u00e9\u6f22' %}[{{ c }}]{% endfor %}{{ 'h\u00e9'|list }}",
    "slice a list": "{% set a = [0,1,2,3,4] %}{{ a[1:3] }}{{ a[::2] }}{{ a[::-1] }}{{ a[3:0:-2] }}{{ a[-2:] }}{{ a[:-2] }}"
                    "{{ a[5:] }}{{ a[99:1:-1] }}{{ (1,2,3)[1:] }}",
    "slice messages": "{% for m in messages[1:] %}{{ m.role }},{% endfor %}",
    "emoji from messages": "{{ messages[-1].content[-1] }}{{ messages[-1].content[:5] }}",
    # operators
    "arithmetic": "{{ 7 + 2 }} {{ 7 - 9 }} {{ 7 * 2 }} {{ 7 / 2 }} {{ 7 // 2 }} {{ 7 % 3 }} {{ -7 // 2 }} {{ -7 % 3 }}"
                  " {{ 7 % -3 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }} {{ 1 + 2.5 }} {{ true + 1 }} {{ 6 / 3 }}",
    "signs": "{{ -1 }} {{ - -1 }} {{ +1 }} {{ -1.5 }} {{ 2 - -1 }} {{ -2|string }}",
    "division by zero": "{{ 1 / 0 }}",
    "remainder by zero": "{{ 1 % 0 }}",
    "numbers and strings": "{{ 1 + 'a' }}",
    "repetition": "{{ 'ab' * 3 }}{{ 2 * 'c' }}[{{ 'x' * -1 }}]",
    "lists added": "{{ [1] + [2, 'a'] }}{{ (1,) + (2,) }}",
    "list and tuple do not add": "{{ [1] + (2,) }}",
    "concat binds tighter than sum": "{{ 'a' ~ 1 ~ none ~ true ~ [1] }} {{ 1 ~ 2 + '3' }} {{ '1' + 2 ~ 3 }}",
    "concat of products": "{{ 2 * 3 ~ 4 * 5 }}",
    "precedence": "{{ 1 + 2 * 3 - 4 / 2 }} {{ not 1 == 2 }} {{ 1 < 2 and 3 < 2 or true }} {{ true or false and false }}",
    "chained comparisons": "{{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 1 == 1 == 1 }} {{ 3 > 2 >= 2 != 1 }} {{ 1 in [1] == true }}",
    "comparisons": "{{ 1 == 1.0 }} {{ true == 1 }} {{ '1' == 1 }} {{ 'a' < 'b' }} {{ '\u00e9' > 'z' }} {{ [1, 2] == [1, 2] }}"
                   " {{ [1] == (1,) }} {{ {'a': 1, 'b': 2} == {'b': 2, 'a': 1} }} {{ none == false }} {{ 1.5 >= 1 }}"
                   " {{ 9007199254740993 == 9007199254740992 }}",
    "order of different kinds": "{{ 1 < 'a' }}",
    "in": "{{ 'a' in 'cat' }} {{ '' in 'x' }} {{ 1 in [1, 2] }} {{ 'k' in {'k': 1} }} {{ 'z' not in 'cat' }} {{ not 'z' in 'cat' }}"
          " {{ 1 in nothing }} {{ 1 in {'a': 1} }} {{ 2 in (1, 2) }} {{ none in [none] }}",
    "in of a number": "{{ 1 in 2 }}",
    "and or give values": "{{ '' or 'b' }}{{ 'a' and 'b' }}{{ 0 and x.y }}{{ none or [] or 0 }}",
    "conditional expressions": "{{ 'a' if true else 'b' }}{{ 'a' if false else 'b' }}[{{ 'a' if false }}]"
                               "{{ 1 if false else 2 if false else 3 }}{{ (1 if true else 2) + 1 }}",
    "filters bind tighter than operators": "{{ 'a' + 'b'|upper }}{{ 1 + '2'|int }}{{ -3|string + 'z' }}{{ 'x'|upper ~ 'y' }}",
    "a sign binds tighter than a filter": "{{ -'3'|int }}",
    "tests bind tighter than operators": "{{ 1 + 1 is number }}{{ not 1 is string }}{{ 'a' ~ 1 is string }}",
    "not in a test": "{{ 1 is not string }}{{ none is not none }}{{ not none is none }}",
    # statements
    "if elif else": LOOP + "{% if m.role == 'user' %}U{% elif m.role == 'assistant' %}A{% else %}O{% endif %}{% endfor %}",
    "for else": "{% for x in [] %}a{% else %}b{% endfor %}{% for x in [1] %}a{% else %}b{% endfor %}{% for x in nothing %}{% else %}c{% endfor %}",
    "for with a condition": "{% for x in [1,2,3,4] if x % 2 == 0 %}{{ loop.index }}/{{ loop.length }}:{{ x }}{{ loop.last }} {% endfor %}",
    "for with a condition and else": "{% for x in [1] if x > 1 %}a{% else %}b{{ x }}{% endfor %}",
    "for over pairs": "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }};{% endfor %}{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }}{% endfor %}"
                      "{% for (k, v) in {'a': 1}|items %}{{ k ~ v }}{% endfor %}{% for a, b in ['xy'] %}{{ b ~ a }}{% endfor %}",
    "for over a dict": "{% for k in {'a': 1, 'b': 2} %}{{ k }}{% endfor %}",
    "pairs of the wrong size": "{% for a, b in [[1, 2, 3]] %}{% endfor %}",
    "for over a number": "{% for x in 1 %}{% endfor %}",
    "loop variables": "{% for x in 'abc' %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}"
                      "{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }}[{{ loop.previtem }}{{ loop.nextitem }}]"
                      "{{ loop.previtem is defined }}{{ loop.nothing is defined }};{% endfor %}",
    "loops in loops": "{% for x in [1,2] %}{% set outer = loop %}{% for y in 'ab' %}{{ outer.index }}{{ loop.index }}{{ x }}{{ y }} {% endfor %}{{ loop.index }}{% endfor %}",
    "break and continue": "{% for x in range(9) %}{% if x == 1 %}{% continue %}{% endif %}{% if x == 4 %}{% break %}{% endif %}{{ x }}{% endfor %}."
                          "{% for x in [1,2] %}{% for y in [1,2,3] %}{% if y == 2 %}{% break %}{% endif %}{{ x ~ y }} {% endfor %}{% endfor %}",
    "break inside else of a loop": "{% for x in [1,2] %}{{ x }}{% for y in [] %}{% else %}{% break %}{% endfor %}{{ x }}{% endfor %}",
    "no conditional expression in if": "{% if 1 if 2 %}{% endif %}",
    "set in a loop stays there": "{% set x = 1 %}{% for i in [1,2] %}{{ x }}{% set x = x + i %}{{ x }};{% endfor %}{{ x }}",
    "set in an if goes out": "{% if true %}{% set x = 1 %}{% endif %}{{ x }}",
    "loop variable is gone": "{% for i in [1] %}{% endfor %}[{{ i }}]{% set i = 7 %}{% for i in [1] %}{% endfor %}{{ i }}",
    "set block": "{% set x %}a{{ 1 }}\n{% for i in 'bc' %}{{ i }}{% endfor %}{% endset %}[{{ x|upper }}]{{ x is string }}",
    "namespace": "{% set ns = namespace(n=0, s='') %}{% for i in [1,2,3] %}{% set ns.n = ns.n + i %}{% set ns.s = ns.s ~ i %}{% endfor %}{{ ns.n }}{{ ns.s }}"
                 "{{ ns.nothing is defined }}{{ ns['n'] }}",
    "namespace with lists": "{% set ns = namespace(l=[]) %}{% for i in [1,2] %}{% set ns.l = ns.l + [[i]] %}{% endfor %}{{ ns.l }}",
    "set block on a namespace": "{% set ns = namespace() %}{% set ns.a %}x{{ 1 }}{% endset %}{{ ns.a }}",
    "set on no namespace": "{% set x = {} %}{% set x.a = 1 %}",
    "macro": "{% macro m(a, b=2, c='x') %}\n[{{ a }}{{ b }}{{ c }}]\n{% endmacro %}\n{{ m(1) }}{{ m(1, c=3) }}{{ m(b=1, a=0) }}{{ m() }}{{ m(1)|length }}",
    "macros see what is set at the top": "{% set t = 'T' %}{% macro m(x) %}{{ t }}{{ x }}{{ i }}{% endmacro %}{% for i in [1,2] %}{{ m(i) }}{% endfor %}{% set t = 'U' %}{{ m(0) }}",
    "macros call macros": "{% macro a(n) %}{{ n }}{% if n > 0 %}{{ a(n - 1) }}{% endif %}{% endmacro %}{{ a(3) }}"
                          "{% macro b() %}<{{ c() }}>{% endmacro %}{% macro c() %}c{% endmacro %}{{ b() }}",
    "macro with a surplus argument": "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}",
    "macro with an unknown argument": "{% macro m(a) %}{% endmacro %}{{ m(b=2) }}",
    "macro set stays inside": "{% set x = 1 %}{% macro m() %}{% set x = 2 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}",
    "raise": "{{ raise_exception('no') }}",
    "dict function": "{{ dict(a=1, b='x') }}{{ dict(a=1).a }}",
    "range": "{{ range(3)|list }}{{ range(1, 4)|list }}{{ range(4, 0, -2)|list }}{{ range(3)[1] }}{{ range(3)|length }}{{ 2 in range(3) }}"
             "{% for i in range(2) %}{{ i }}{% endfor %}",
    "range beyond the sandbox": "{{ range(100001)|length }}",
    "time": "{{ strftime_now('%d %b %Y') }} {{ strftime_now('%Y-%m-%d %H:%M:%S %A %B %a %y %%') }}",
    "unknown filter arguments": "{{ 'a'|trim('x', 'y') }}",
    # filters
    "trim": "[{{ ' a '|trim }}][{{ '\u3000\u00a0 a\u2003\n'|trim }}][{{ 'xxaxx'|trim('x') }}][{{ 12|trim }}][{{ '\u00e9a\u00e9'|trim('\u00e9') }}]",
    "case": "{{ 'aB\u00e9\u00df\u0434\u03b1'|upper }}{{ 'AB\u00c9\u0414\u0391'|lower }}{{ 'hELLO wORLD'|capitalize }}{{ '\u00e9A'|capitalize }}",
    "tojson": "{{ {'a': [1, 2.5, none, true, 'x\\n\"<>&\\'\u00e9\U0001f600'], 'b': {}} |tojson }}{{ []|tojson }}{{ '\\x01\\x7f'|tojson }}{{ (1, 2)|tojson }}",
    "tojson indented": "{{ {'a': [1, {'b': 2}], 'c': [], 'd': {}}|tojson(indent=2) }}{{ [1]|tojson(indent=0) }}",
    "tojson options": "{{ {'b': 1, 'a': '\u00e9\U0001f600'}|tojson(sort_keys=true) }}{{ 'a\u00e9\U0001f600\\x7f'|tojson(ensure_ascii=true) }}"
                      "{{ {'a': [1, 2]}|tojson(separators=(',', ':')) }}{{ 'a\u00e9'|tojson(true) }}",
    "tojson of floats": "{{ [1e300 * 1e10, -1e300 * 1e10, 1e16, 0.1]|tojson }}",
    "tojson of undefined": "{{ nothing|tojson }}",
    "tojson of messages": "{{ messages|tojson }}{{ messages[0]|tojson(indent=4) }}",
    "join": "{{ [1, 'a', none]|join('-') }}{{ []|join }}{{ 'abc'|join(',') }}{{ messages|join('/', attribute='role') }}{{ [1,2]|join }}{{ [1,2]|join(3) }}",
    "first and last": "{{ [1,2]|first }}{{ [1,2]|last }}[{{ []|first }}]{{ 'abc'|last }}{{ messages|map(attribute='role')|first }}",
    "default": "{{ nothing|default('a') }}{{ ''|default('b') }}{{ ''|default('c', true) }}{{ ''|d('e', boolean=true) }}[{{ nothing|default }}]{{ none|default('x') }}",
    "int": "{{ '42'|int }} {{ ' -7 '|int }} {{ '4.9'|int }} {{ 'x'|int }} {{ 'x'|int(5) }} {{ 3.99|int }} {{ -3.99|int }} {{ true|int }} {{ none|int }}"
           " {{ ''|int }} {{ '+5'|int }} {{ '1e2'|int }} {{ [1]|int(default=8) }} {{ 'inf'|int }}",
    "string": "{{ 1|string + 'a' }}{{ none|string }}{{ [1]|string|length }}",
    "list": "{{ 'ab'|list }}{{ {'a': 1}|list }}{{ (1,2)|list }}{{ nothing|list }}{{ {'a': 1}.keys()|list }}{{ {'a': 1}.values()|list }}{{ {'a': 1}.items()|list }}",
    "items": "{{ {'a': 1}|items|list }}{% for k, v in nothing|items %}{% endfor %}",
    "items of a list": "{{ [1]|items|list }}",
    "replace": "{{ 'banana'|replace('a', 'o') }}{{ 'banana'|replace('an', '') }}{{ 'banana'|replace('a', 'o', 2) }}{{ 123|replace(2, 'x') }}{{ 'a'|replace(old='a', new='b') }}",
    "reverse": "{{ [1,2,3]|reverse|list }}{{ 'h\u00e9\u6f22'|reverse }}",
    "unique": "{{ ['a', 'A', 'b', 'a']|unique|list }}{{ ['a', 'A', 'a']|unique(true)|list }}{{ [1, 1.0, 2, true]|unique|list }}",
    "length": "{{ [1,2]|length }}{{ {'a': 1}|count }}{{ nothing|length }}{{ messages|length }}",
    "length of a number": "{{ 1|length }}",
    "safe": "{{ '<b>'|safe }}{% set x = '<i>'|safe %}{{ x }}{{ ('a'|safe)|length }}{{ 'x'|safe|tojson }}",
    "indent": "{{ 'a\\nb\\n\\nc'|indent }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb\\n'|indent(width=1, blank=true) }}|{{ 'a\\nb'|indent('> ') }}|{{ 'a\\r\\nb\u2028c'|indent(1) }}",
    "select": "{{ [1,2,3,4]|select('even')|list }}{{ [1,2,3]|reject('equalto', 2)|list }}{{ [0,1,'',none]|select|list }}{{ [1,2,3]|select('>', 1)|list }}"
              "{{ [1,2]|select('in', [2,3])|list }}",
    "selectattr": "{{ messages|selectattr('role', 'equalto', 'user')|list|length }}{{ messages|rejectattr('role', '==', 'user')|map(attribute='content')|list }}"
                  "{{ messages|selectattr('nothing', 'defined')|list }}{{ messages|selectattr('content')|list|length }}",
    "select of nothing": "{{ none|select('even')|list }}{{ nothing|map(attribute='x')|list }}",
    "map": "{{ messages|map(attribute='role')|join(',') }}{{ ['a ', 'b']|map('trim')|map('upper')|list }}{{ messages|map(attribute='x', default='y')|list }}"
           "{{ [{'a': {'b': 1}}, {'a': {}}]|map(attribute='a.b')|list }}{{ [[1,2]]|map(attribute=1)|list if false }}",
    "generators are gone after one use": "{% set g = [1,2,3]|select('>', 1) %}{{ g|list }}{{ g|list }}{{ 'x' if g }}",
    "generators have no length": "{{ [1]|select('odd')|length }}",
    # tests
    "tests of kind": "{% for v in [1, 1.5, true, 'a', none, [1], (1,), {'a': 1}] %}{{ v is string }}{{ v is number }}{{ v is integer }}{{ v is float }}"
                     "{{ v is boolean }}{{ v is true }}{{ v is false }}{{ v is none }}{{ v is mapping }}{{ v is iterable }}{{ v is sequence }} {% endfor %}"
                     "{{ nothing is iterable }}{{ nothing is sequence }}{{ nothing is mapping }}",
    "tests of numbers": "{{ 3 is odd }}{{ 4 is even }}{{ 9 is divisibleby 3 }}{{ 9 is divisibleby(2) }}{{ -3 is odd }}{{ true is odd }}",
    "tests that compare": "{{ 1 is eq 1 }}{{ 'a' is equalto 'a' }}{{ 1 is ne 2 }}{{ 1 is lt 2 }}{{ 2 is gt(1) }}{{ 1 is le 1 }}{{ 1 is ge 2 }}{{ 'a' is in ['a'] }}{{ 'a' is not in 'bcd' }}"
                          "{{ 1 is lessthan 2 }}{{ 1 is greaterthan 2 }}",
    "defined": "{{ messages is defined }}{{ nothing is undefined }}{{ messages[0].x is undefined }}",
    # methods
    "strip": "[{{ ' a '.strip() }}][{{ ' a '.lstrip() }}][{{ ' a '.rstrip() }}][{{ 'xyax'.strip('xy') }}][{{ '\u3000a\u00a0'.strip() }}][{{ '\\n\\na\\n'.rstrip('\\n') }}]",
    "split": "{{ 'a b  c'.split() }}{{ 'a,b,,c'.split(',') }}{{ 'a,b,c'.split(',', 1) }}{{ ' a b c '.split(none, 1) }}{{ ''.split() }}{{ ''.split(',') }}"
             "{{ 'a\u3000b'.split() }}{{ 'x</think>y'.split('</think>')[-1] }}{{ 'a b c'.split(maxsplit=1) }}{{ 'aXXb'.split('XX', maxsplit=0) }}",
    "split at nothing": "{{ 'a'.split('') }}",
    "startswith and endswith": "{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith('bc') }}{{ 'abc'.startswith('x') }}{{ 'abc'.startswith(('x', 'a')) }}{{ 'a'.endswith('') }}",
    "case methods": "{{ 'aB\u00e9'.upper() }}{{ 'AB\u00c9'.lower() }}{{ 'hello wORLD it\\'s \u00e9a'.title() }}{{ 'hELLO'.capitalize() }}",
    "replace and find": "{{ 'banana'.replace('a', 'o') }}{{ 'banana'.replace('a', 'o', 1) }}{{ 'h\u00e9llo'.find('l') }}{{ 'a'.find('z') }}{{ 'banana'.count('an') }}{{ 'ab'.count('') }}",
    "dict methods": "{% set d = {'a': 1} %}{{ d.get('a') }}{{ d.get('b') }}{{ d.get('b', 2) }}{{ d.keys()|list }}{{ d.values()|list }}{{ d.items()|length }}{{ d['a'] }}"
                    "{{ messages[0].get('content') }}{{ messages[0].get('tool_calls', []) }}",
    "method on the wrong kind": "{{ 1.5.strip() }}",
    "string method on a list": "{{ [1].strip() }}",
    "keys before methods": "{{ {'items': 1}['items'] }}{{ {'x': 1}.x }}",
    "generation": LOOP + "{% generation %}{% set x = m.role %}{{ x }}{% endgeneration %}{% endfor %}[{{ x }}]",
    # whole templates, as models have them
    "chatml": "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
              "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "alternating": "{{ bos_token }}\n{%- for message in messages %}\n    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\n"
                   "        {{- raise_exception('roles must alternate') }}\n    {%- endif %}\n    {%- if message['role'] == 'user' %}\n"
                   "        {{- '[INST] ' + message['content'] + ' [/INST]' }}\n    {%- else %}\n        {{- message['content']|trim + eos_token }}\n"
                   "    {%- endif %}\n{%- endfor %}\n",
    "thinking": "{%- set ns = namespace(last=messages|length - 1, multi=true) %}\n{%- for message in messages[::-1] %}\n"
                "    {%- set index = (messages|length - 1) - loop.index0 %}\n"
                "    {%- if ns.multi and message.role == 'user' and message.content is string and not(message.content.startswith('<tool>')) %}\n"
                "        {%- set ns.multi = false %}\n        {%- set ns.last = index %}\n    {%- endif %}\n{%- endfor %}\n"
                "{%- for message in messages %}\n{{- loop.index0 > ns.last }}{{ message.content.split('</think>')[-1].lstrip('\\n') }}\n{%- endfor %}",
}


def environment() -> jinja2.sandbox.ImmutableSandboxedEnvironment:
    class Generation(jinja2.ext.Extension):
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_inside"), [], [], body).set_lineno(line)

        def _inside(self, caller):
            return caller()

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                                        extensions=[Generation, jinja2.ext.loopcontrols])
    made.filters["tojson"] = tojson
    made.globals["raise_exception"] = raise_exception
    made.globals["strftime_now"] = lambda f: datetime.datetime.fromtimestamp(UNIX_SECONDS, datetime.timezone.utc).strftime(f)
    return made


def render(env, text: str, conversation: str, prompt: bool) -> str | None:
    """None: jinja2 refuses."""
    messages = [{"role": role, "content": content} for role, content in CONVERSATIONS[conversation]]
    try:
        return env.from_string(text).render(messages=messages, tools=None, documents=None, add_generation_prompt=prompt,
                                            bos_token="<bos>", eos_token="<eos>")
    except Exception:  # whatever Python raises: the renderer must refuse too
        return None


def fnv(data: bytes) -> str:
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"


def summary(text: str | None) -> dict | None:
    if text is None:
        return None
    data = text.encode()
    return {"bytes": len(data), "fnv1a": fnv(data), "begins": text[:24], "ends": text[-48:]}


def main() -> None:
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    env = environment()
    ours = [{"name": name, "conversation": conversation, "template": text, "expected": render(env, text, conversation, True)}
            for name, text in TEMPLATES.items()
            for conversation in (CONVERSATIONS if name in ("chatml", "alternating", "thinking") else ["turns"])]
    models = [{"file": file, "conversation": conversation, "prompt": prompt,
               "expected": summary(render(env, (pathlib.Path(sys.argv[1]) / file).read_text(), conversation, prompt))}
              for file in MODEL_FILES for conversation in CONVERSATIONS for prompt in (True, False)]
    goldens = {"jinja2": "3.1.6", "unix_seconds": UNIX_SECONDS, "conversations": CONVERSATIONS, "templates": ours, "models": models}
    pathlib.Path(sys.argv[2]).write_text(json.dumps(goldens, indent=1) + "\n")


if __name__ == "__main__":
    main()
