"""A bounded XML parser: bytes in, a light tree out, whatever the bytes are.

Names of elements and attributes come without prefix and in lower case, for vendors differ in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any
from xml.parsers import expat

from teleread.errors import InputRejected
from teleread.ingest.formats.texts import decode, decode_utf16

MAX_BYTES = 32 << 20
"""Of a file in UTF-16; any other may have half of it."""
MAX_DEPTH = 256
MAX_ELEMENTS = 200_000
MAX_ATTRIBUTES = 1_000_000
MAX_ATTRIBUTES_EACH = 512
MAX_NAME = 256
MAX_NAMES = 8192

_DECLARATION = re.compile(rb"\s*<\?xml[^>]{0,256}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_NO_ATTRIBUTES = MappingProxyType[str, str]({})
_CUT = frozenset(
    (
        expat.errors.codes[expat.errors.XML_ERROR_NO_ELEMENTS],
        expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_TOKEN],
        expat.errors.codes[expat.errors.XML_ERROR_PARTIAL_CHAR],
        expat.errors.codes[expat.errors.XML_ERROR_UNCLOSED_CDATA_SECTION],
    )
)


class Element:
    """One element: its own text without that of its children, and them in order."""

    __slots__ = ("attributes", "children", "name", "text")

    def __init__(self, name: str, attributes: MappingProxyType[str, str] | dict[str, str]) -> None:
        self.name = name
        self.attributes = attributes
        self.children: list[Element] | tuple[()] = ()
        self.text = ""

    def get(self, attribute: str) -> str:
        """The attribute's value without white space around it, empty when absent."""
        return self.attributes.get(attribute, "").strip()

    def all(self, path: str) -> list[Element]:
        """Every element at the end of the path of child names, for example ``"component/series"``."""
        found = [self]
        for name in path.split("/"):
            found = [child for element in found for child in element.children if child.name == name]
        return found

    def first(self, path: str) -> Element | None:
        """The first element at the end of the path, also when an earlier part of it stands there several times."""
        name, _, rest = path.partition("/")
        for child in self.children:
            if child.name == name:
                found = child.first(rest) if rest else child
                if found is not None:
                    return found
        return None

    def at(self, path: str) -> str:
        """The text of the first element at the end of the path without white space around it, empty when absent."""
        found = self.first(path)
        return found.text.strip() if found else ""

    def iter(self, name: str = "") -> Iterator[Element]:
        """This element and all below it in document order, those of one name only if a name is given."""
        waiting = [self]
        while waiting:
            element = waiting.pop()
            if not name or element.name == name:
                yield element
            waiting.extend(reversed(element.children))

    def anywhere(self, name: str) -> Element | None:
        """The first element of that name at any depth."""
        return next(self.iter(name), None)


def parse(data: bytes, format_name: str) -> Element:
    """The root element.

    A DOCTYPE without declarations of its own is allowed (MUSE writes one), entities beside the five of XML are not.

    Raises:
        InputRejected: with ``format_name`` before it: ``_too_large``, ``_too_deep``, ``_too_many_elements``,
            ``_entity`` (a DTD with declarations, an entity of its own), ``_truncated``, ``_broken``.
    """
    return _Builder(format_name).build(_as_utf8(data, format_name))


def _as_utf8(data: bytes, format_name: str) -> bytes:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        body, wide, little = data[2:], True, data[0] == 0xFF
    else:
        body = data[3:] if data.startswith(b"\xef\xbb\xbf") else data
        start = body[:64].lstrip(b" \t\r\n")[:2]
        wide, little = start in (b"<\x00", b"\x00<"), start == b"<\x00"
    # a byte order mark before text that is not of two bytes: some gateways put it before UTF-8
    if wide and b"\x00" not in body[:64]:
        wide = False
    if len(data) > (MAX_BYTES if wide else MAX_BYTES // 2):
        raise InputRejected(f"{format_name}_too_large", "The XML file exceeds the size limit.")
    if wide:
        text = decode_utf16(body, little)
    else:
        declared = _DECLARATION.match(body[:512])
        if body.isascii():
            return body.rstrip(b"\x00 \t\r\n")
        text = decode(body, declared[1].decode("ascii") if declared else "")
    return text.encode("utf-8", "replace").rstrip(b"\x00 \t\r\n")


class _Builder:
    def __init__(self, format_name: str) -> None:
        self._format = format_name
        self._names: dict[str, str] = {}
        self._stack: list[tuple[Element, list[str]]] = []
        self._root: Element | None = None
        self._elements = self._attributes = 0

    def build(self, data: bytes) -> Element:
        # the encoding given here wins over what the file declares
        parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.buffer_size = 1 << 16
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        handlers: dict[str, Any] = {
            "StartElementHandler": self._start,
            "EndElementHandler": self._end,
            "CharacterDataHandler": self._text,
            "StartDoctypeDeclHandler": self._doctype,
            "EntityDeclHandler": self._entity,
            "ExternalEntityRefHandler": self._entity,
            "SkippedEntityHandler": self._entity,
        }
        for name, handler in handlers.items():
            setattr(parser, name, handler)
        try:
            parser.Parse(data, True)
        except expat.ExpatError as e:
            if e.code in _CUT:
                raise self._rejected("truncated", "The XML file ends too early.") from e
            raise self._rejected("broken", "The XML file is not well-formed.") from e
        if self._root is None:
            raise self._rejected("truncated", "The XML file is empty.")
        return self._root

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        self._attributes += len(attributes)
        if len(self._stack) >= MAX_DEPTH:
            raise self._rejected("too_deep", "The XML file is nested too deeply.")
        if self._elements > MAX_ELEMENTS or self._attributes > MAX_ATTRIBUTES or len(attributes) > MAX_ATTRIBUTES_EACH:
            raise self._rejected("too_many_elements", "The XML file has too many elements or attributes.")
        known = self._names.get(name) or self._name(name)
        element = Element(known, self._named(attributes) if attributes else _NO_ATTRIBUTES)
        if self._stack:
            parent = self._stack[-1][0]
            if parent.children:
                parent.children.append(element)
            else:
                parent.children = [element]
        else:
            self._root = element
        self._stack.append((element, []))

    def _end(self, _: str) -> None:
        element, parts = self._stack.pop()
        element.text = parts[0] if len(parts) == 1 else "".join(parts)

    def _text(self, text: str) -> None:
        if self._stack and (not text.isspace() or self._stack[-1][1]):
            self._stack[-1][1].append(text)

    def _named(self, attributes: dict[str, str]) -> dict[str, str]:
        named: dict[str, str] = {}
        for name, value in attributes.items():
            plain = self._names.get(name) or self._name(name)
            # xsi:type does not hide a type of the element's own
            if ":" not in name or plain not in named:
                named[plain] = value
        return named

    def _name(self, name: str) -> str:
        plain = name.rpartition(":")[2].lower()
        if len(name) > MAX_NAME or len(self._names) >= MAX_NAMES:
            raise self._rejected("too_many_elements", "The XML file has too many or too long names.")
        self._names[name] = plain
        return plain

    def _doctype(self, _name: str, _system: str | None, _public: str | None, has_declarations: int) -> None:
        if has_declarations:
            raise self._rejected("entity", "The XML file declares entities or a structure of its own.")

    def _entity(self, *_: object) -> int:
        raise self._rejected("entity", "The XML file uses entities of its own.")

    def _rejected(self, what: str, message: str) -> InputRejected:
        return InputRejected(f"{self._format}_{what}", message)
