"""Catalogue files: YAML or JSON of the message `Catalog`, with the line of every fault.

A scalar is text; what it means is decided by the message's field and never by how it looks. So quotes change nothing,
NO is Norway, and 2013-01-01 stays what was written. What an anchor names may be used again, but not within itself.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

import yaml
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from tallybook.v1 import catalog_pb2 as wire
from tallybook_engine.catalog.faults import CatalogFault, CatalogInvalidError, Faults
from tallybook_engine.catalog.model import Catalog
from tallybook_engine.catalog.versions import apply_change
from tallybook_server.codec.catalog import read_change

DEPTH_MAX = 64
"""Levels of a file; a contract tree of the most levels has about half as many."""
NODES_MAX = 20_000_000
"""Scalars, lists and mappings of a file, those of an anchor counted every time it is used."""

M = TypeVar("M", bound=Message)

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FLAGS = {"true": True, "false": False}
_WELL_KNOWN = {
    "google.protobuf.Timestamp": 'an instant like "2026-01-31T12:00:00Z"',
    "google.protobuf.Duration": 'a length of time in seconds like "900s"',
}
_WHOLE_NUMBER_BITS = {
    FieldDescriptor.TYPE_INT32: 31,
    FieldDescriptor.TYPE_INT64: 63,
    FieldDescriptor.TYPE_SFIXED64: 63,
}
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,19}")
_SURROGATES = re.compile(r"(?<!\\)((?:\\\\)*)(\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})")


@dataclass(frozen=True)
class MessageFile(Generic[M]):
    """A file as far as it could be read."""

    name: str
    """As faults print it: "catalog.yaml"."""
    message: M
    """What the file says; what has a fault is left out."""
    faults: tuple[CatalogFault, ...]
    """What could not be read."""
    lines: Mapping[str, int] = field(repr=False)
    """Path -> line, counted from 1, of everything in the file."""

    def located(self, fault: CatalogFault) -> str:
        """A fault as it is printed: `catalog.yaml:17: plans[1].graduated.tiers[0].up_to: ...`."""
        return f"{self.name}:{self.line(fault.path)}: {fault}"

    def line(self, path: str) -> int:
        """Line of a path, or of what it lies in: a field that is missing has no line of its own."""
        while path not in self.lines and path:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, 1)


def read_message_file(name: str, content: bytes, message_type: type[M]) -> MessageFile[M]:
    """Reads a file as a message of a type: as JSON where its name ends so, as YAML otherwise. Never raises."""
    reader = _Reader(message_type())
    try:
        text = content.decode("utf-8-sig")
        root = _parse_json(text) if name.endswith(".json") else _parse(text)
        if root is not None:
            reader.read(root)
    except UnicodeDecodeError as error:
        reader.stop(_Stop(content.count(b"\n", 0, error.start) + 1, f"is not UTF-8: {error.reason}"))
    except _Stop as stop:
        reader.stop(stop)
    return MessageFile(name, reader.message, reader.faults.ordered(), reader.lines)


def check_catalog_file(
    file: MessageFile[wire.Catalog],
    base: Catalog | None = None,
    remove: wire.CatalogIds | None = None,
    prune: bool = False,
) -> tuple[str, ...]:
    """Everything that is wrong with a catalogue file that is to be put on a catalogue, as it is printed, by line.

    A server names what is wrong as far as an answer's metadata goes; this names all, also beside what cannot be read.
    """
    faults = Faults()
    for fault in file.faults:
        faults.add(fault.path, fault.message)
    change = read_change(file.message, remove or wire.CatalogIds(), prune, faults)
    try:
        apply_change(base or Catalog(), change, faults)
    except CatalogInvalidError as invalid:
        return tuple(file.located(fault) for fault in sorted(invalid.faults, key=lambda fault: file.line(fault.path)))
    return ()


class _Stop(Exception):
    """A fault after which the rest of the file cannot be read."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


@dataclass(frozen=True, slots=True)
class _Node:
    """A scalar's text, the items of a list, or the keys and values of a mapping, one after the other."""

    line: int
    text: str | None
    """None: no scalar, or JSON's null, which leaves a field out."""
    items: list[_Node] = field(default_factory=list)
    kind: Literal["text", "null", "a list", "a mapping"] = "text"


def _parse_json(text: str) -> _Node | None:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        raise _Stop(error.lineno, f"is not JSON: {error.msg}") from error
    except RecursionError:
        raise _Stop(1, f"is more than {DEPTH_MAX} levels deep") from None
    # What YAML reads otherwise than JSON: tabs between values, and characters escaped as surrogates.
    text = _SURROGATES.sub(lambda match: match[1] + str(json.loads(f'"{match[2]}"')), text.replace("\t", " "))
    return _parse(text, null="null")


def _parse(text: str, null: str | None = None) -> _Node | None:
    """The root of a YAML text, None where it is empty; a plain scalar `null` is read as None."""
    try:
        return _build(yaml.parse(text, Loader=_Loader), null)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise _Stop(line, f"is not YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise _Stop(1, f"is not YAML: {error}".splitlines()[0]) from error


def _build(events: Iterator[Any], null: str | None) -> _Node | None:
    """Nodes of a stream of events, with a stack of its own: no depth of a file can exhaust the interpreter's."""
    document = _Node(1, None, kind="a list")
    stack: list[tuple[_Node, str | None]] = [(document, None)]
    anchors: dict[str | None, _Node] = {}
    for event in events:
        line = event.start_mark.line + 1
        match event:
            case yaml.DocumentStartEvent() if document.items:
                raise _Stop(line, "a second document begins: a file has one")
            case yaml.ScalarEvent():
                is_null = event.value == null and not event.style  # quoted, it has one
                anchors[event.anchor] = _Node(line, None, kind="null") if is_null else _Node(line, event.value)
                stack[-1][0].items.append(anchors[event.anchor])
            case yaml.AliasEvent():
                if event.anchor not in anchors:
                    raise _Stop(line, f"*{event.anchor} names nothing before it, or what it lies in (a cycle)")
                stack[-1][0].items.append(anchors[event.anchor])
            case yaml.CollectionStartEvent():
                if len(stack) > DEPTH_MAX:
                    raise _Stop(line, f"is more than {DEPTH_MAX} levels deep")
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                stack.append((_Node(line, None, kind="a mapping" if is_mapping else "a list"), event.anchor))
            case yaml.CollectionEndEvent():
                node, anchor = stack.pop()
                anchors[anchor] = node
                stack[-1][0].items.append(node)
    return document.items[0] if document.items else None


class _Reader:
    """Reads nodes into a message, by its descriptor."""

    def __init__(self, message: Any) -> None:
        self.message = message
        self.faults = Faults()
        self.lines: dict[str, int] = {}
        self._node_count = 0

    def stop(self, stop: _Stop) -> None:
        """Notes the fault that ended the reading."""
        self.faults.add("", stop.message)
        self.lines[""] = stop.line

    def read(self, root: _Node) -> None:
        """Reads the whole file."""
        self._message(root, "", self.message)

    def _message(self, node: _Node, path: str, message: Message) -> None:
        fields = {each.name: each for each in message.DESCRIPTOR.fields}
        chosen: dict[str, str] = {}
        for name, here, value in self._entries(node, path):
            descriptor = fields.get(name)
            if descriptor is None:
                self.faults.add(here, f"{message.DESCRIPTOR.name} has no such field{_meant(name, fields)}")
                continue
            oneof = descriptor.containing_oneof
            if oneof is not None and chosen.setdefault(oneof.name, name) != name:
                self.faults.add(here, f"stands beside {chosen[oneof.name]}, which excludes it")
            elif value.kind != "null":
                self._field(value, here, message, descriptor)

    def _entries(self, node: _Node, path: str) -> Iterator[tuple[str, str, _Node]]:
        """(name, path, value) of what must be a mapping."""
        if not self._is(node, "a mapping", path):
            return
        seen: set[str] = set()
        for key, value in zip(node.items[::2], node.items[1::2], strict=True):
            if key.text is None:
                self.faults.add(path, f"a name in it (line {key.line}) is {key.kind}, wanted is text")
                continue
            here = f"{path}.{key.text}" if path else key.text
            if key.text in seen:
                self.faults.add(here, f"is given twice, again on line {key.line}")
                continue
            seen.add(key.text)
            self.lines.setdefault(here, key.line)
            yield key.text, here, value

    def _field(self, node: _Node, path: str, message: Any, descriptor: Any) -> None:
        """One field; `descriptor` is of the protobuf runtime's own type, which depends on its build."""
        kind = descriptor.message_type
        if kind is not None and kind.GetOptions().map_entry:
            self._map(node, path, getattr(message, descriptor.name))
        elif descriptor.is_repeated:
            self._list(node, path, getattr(message, descriptor.name), descriptor)
        elif kind is not None and kind.full_name in _WELL_KNOWN:
            self._well_known(node, path, getattr(message, descriptor.name))
        elif kind is not None:
            getattr(message, descriptor.name).SetInParent()
            self._message(node, path, getattr(message, descriptor.name))
        else:
            value = self._scalar(node, path, descriptor)
            if value is not None:
                setattr(message, descriptor.name, value)

    def _map(self, node: _Node, path: str, entries: Any) -> None:
        """A map of texts."""
        for name, here, value in self._entries(node, path):
            if value.text is not None:
                entries[name] = value.text
            else:
                self.faults.add(here, f"is {value.kind}, wanted is text")

    def _well_known(self, node: _Node, path: str, message: Any) -> None:
        """An instant or a length of time, as JSON writes it."""
        if node.text is None:
            self.faults.add(path, f"is {node.kind}, wanted is text")
            return
        try:
            message.FromJsonString(node.text)
        except ValueError:
            self.faults.add(path, f'"{node.text}" is not {_WELL_KNOWN[message.DESCRIPTOR.full_name]}')

    def _list(self, node: _Node, path: str, entries: Any, descriptor: Any) -> None:
        """A list of messages or scalars."""
        if not self._is(node, "a list", path):
            return
        for index, item in enumerate(node.items):
            here = f"{path}[{index}]"
            self.lines.setdefault(here, item.line)
            kind = descriptor.message_type
            if kind is not None and kind.full_name in _WELL_KNOWN:
                self._well_known(item, here, entries.add())
            elif kind is not None:
                # An item that is no mapping is kept as an empty one, so that indices after it stay true.
                self._message(item, here, entries.add())
            else:
                value = self._scalar(item, here, descriptor)
                if value is not None:
                    entries.append(value)

    def _scalar(self, node: _Node, path: str, descriptor: Any) -> str | int | bool | None:
        text = node.text
        if text is None:
            self.faults.add(path, f"is {node.kind}, wanted is text")
            return None
        if descriptor.type == FieldDescriptor.TYPE_BOOL:
            if text not in _FLAGS:
                self.faults.add(path, f'"{text}" is neither true nor false')
            return _FLAGS.get(text)
        if descriptor.type in _WHOLE_NUMBER_BITS:
            return self._whole_number(text, path, _WHOLE_NUMBER_BITS[descriptor.type])
        if descriptor.type == FieldDescriptor.TYPE_ENUM:
            words = {value.name: value.number for value in descriptor.enum_type.values if value.number}
            if text not in words:
                self.faults.add(path, f'"{text}" is none of {", ".join(words)}')
            return words.get(text)
        if descriptor.type == FieldDescriptor.TYPE_BYTES:
            self.faults.add(path, "is bytes, which a file cannot hold")
            return None
        assert descriptor.type == FieldDescriptor.TYPE_STRING, "the contract's files have no other scalars"
        return text

    def _whole_number(self, text: str, path: str, bits: int) -> int | None:
        if not _WHOLE_NUMBER.fullmatch(text) or not -(2**bits) <= int(text) < 2**bits:
            self.faults.add(path, f'"{text}" is no whole number of at most {bits} bits')
            return None
        return int(text)

    def _is(self, node: _Node, wanted: str, path: str) -> bool:
        """Whether a node is a list or a mapping as wanted; nothing after the colon is an empty one."""
        self._node_count += 1 + len(node.items)
        if self._node_count > NODES_MAX:
            raise _Stop(node.line, f"has more than {NODES_MAX} nodes")
        if node.kind != wanted and node.text != "":
            self.faults.add(path, f"is {node.kind}, wanted is {wanted}")
        return node.kind == wanted


def _meant(name: str, names: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"; {close[0]} is meant?" if close else f"; it has {', '.join(names)}"
