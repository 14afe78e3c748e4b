"""YAML that a stranger may have written: plain values only, of bounded size and depth, no key twice.

PyYAML's safe loader builds no objects, but it keeps the last of two equal keys, follows aliases of aliases without
end ("billion laughs") and converts tagged scalars such as `!!int ""` unchecked.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.constructor import ConstructorError

MOST_VALUES = 100_000  # aliases followed; a run of a thousand domains has 10,000
MOST_LEVELS = 50
MOST_BITS = 64  # of a whole number: Python has no limit, and fails later with what has thousands of digits
_SURPRISING = re.compile("[-+]?(0[0-7_]|[0-9_]+:)")  # 010 is 8, 1:30 is 90
MOST_CHARACTERS = 100  # of any number: those to base 60 take time that grows with the square of their length


def parse(text: str) -> Any:
    """The value of a YAML document; `ValueError` with one line that says what is wrong and where."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ValueError(_problem(error)) from None
    except Exception as error:  # tagged scalars: IndexError, KeyError, AttributeError, OverflowError, ...
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"is not YAML that can be read ({reason})") from None


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0
        self._values: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        start, is_alias = event.start_mark, isinstance(event, yaml.AliasEvent)
        if isinstance(parent, yaml.MappingNode) and index is None and not is_alias and event.anchor is not None:
            # without a word it would lose its first one
            raise ConstructorError(None, None, f"a key begins with '&{event.anchor}'; put it in quotes", start)
        if self._level == MOST_LEVELS:
            raise ConstructorError(None, None, "is nested too deeply", start)
        self._level += 1
        node = super().compose_node(parent, index)  # type: ignore[arg-type]
        self._level -= 1
        if node is not None and node not in self._values:
            if is_alias:
                raise ConstructorError(None, None, "is an alias of something that it is a part of", start)
            self._values[node] = self._count(node)
        return node

    def _count(self, node: yaml.Node) -> int:
        """Values in a node, those behind aliases as often as they are named."""
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        flat = [n for part in inner for n in (part if isinstance(part, tuple) else (part,))]
        count = 1 + sum(self._values[n] for n in flat)
        if count > MOST_VALUES:
            raise ConstructorError(None, None, "has too many values (aliases of aliases?)", node.start_mark)
        return count

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise ConstructorError(
                        None, None, f"the key {key.value!r} is there twice; rename or remove one", key.start_mark
                    )
                seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        value = super().construct_scalar(node)
        if node.tag.endswith((":int", ":float")) and len(value) > MOST_CHARACTERS:
            raise ConstructorError(None, None, "has a number that is too long", node.start_mark)
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise ConstructorError(None, None, "has a character that no file can have", node.start_mark)
        return value

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        value = super().construct_yaml_int(node)  # refuses what is too long to be shown
        if _SURPRISING.match(node.value):
            problem = f"has {node.value}, which YAML reads as a number to base 8 or 60; put it in quotes, or rewrite it"
            raise ConstructorError(None, None, problem, node.start_mark)
        if value.bit_length() > MOST_BITS:
            raise ConstructorError(None, None, f"has a number of more than {MOST_BITS} bits", node.start_mark)
        return value


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)


def _problem(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())
