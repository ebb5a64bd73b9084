"""A signed report as a document: canonical JSON, its hash and a detached signature. Pure. See ``docs/report-json.md``.

The canonical form is that of RFC 8785 for the values that occur: objects with their names sorted, no white space,
UTF-8, the shortest escapes. There are no numbers but integers: a decimal is a string with fixed places ("0.12"), so
that no two programs write one value in two ways. What is signed is these bytes and nothing else.

No identity stands in it beyond the receipt and the reading pseudonym; name and birth date are joined where a report is
shown or given back.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

from teleread.errors import InputRejected
from teleread.storage import signers

FORMAT = "teleread-report"
FORMAT_VERSION = 1
BUNDLE = "teleread-report-bundle"
NOTICE = "Signed with a local key: not a qualified electronic signature. 使用本地密钥签名，不是合格的电子签名。"
DEPTH_LIMIT, BYTES_LIMIT = 16, 1 << 20

Kind = Literal["preliminary", "final", "addendum", "corrected", "withdrawn"]
Fault = Literal[
    "document_unreadable",
    "document_not_canonical",
    "document_hash",
    "key_mismatch",
    "signature_wrong",
    "chain_broken",
]

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def canonical(value: Any) -> bytes:
    """The one form of a value.

    Args:
        value: of objects with ASCII names, arrays, texts, integers, booleans and None.

    Raises:
        ValueError: anything else, a float above all; an integer beyond 2**53; a text that is no Unicode.
    """
    _check(value, 0)
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8")


def _check(value: Any, depth: int) -> None:
    if depth > DEPTH_LIMIT:
        raise ValueError("a document is not as deep as that")
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise ValueError("a name in a document is lower-case ASCII")
            _check(inner, depth + 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _check(inner, depth + 1)
    elif isinstance(value, int):
        if abs(value) > 2**53:
            raise ValueError("an integer in a document is at most 2**53")
    elif value is not None and not isinstance(value, str):
        raise ValueError(f"a document holds no {type(value).__name__}")


def parse(data: bytes) -> dict[str, Any]:
    """A document's content, from its canonical form alone.

    Raises:
        InputRejected: ``document_unreadable``; ``document_not_canonical``: the same content in another form.
    """
    if len(data) > BYTES_LIMIT:
        raise InputRejected("document_unreadable", "A report is not as large as that.")
    try:
        value = json.loads(data.decode("utf-8"), parse_float=_refuse, parse_constant=_refuse)
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            raise InputRejected("document_unreadable", "This is not a report's document.")
        # a name that is there twice is lost here, and so is not canonical
        if canonical(value) != data:
            raise InputRejected("document_not_canonical", "The document is not in its canonical form.")
    except (ValueError, RecursionError) as error:
        raise InputRejected("document_unreadable", "The document cannot be read.") from error
    return value


def _refuse(_text: str) -> Any:
    raise ValueError("no number but an integer")


def fixed(value: float, places: int) -> str:
    """A decimal as a document holds it: fixed places, never an exponent, never minus nothing."""
    text = str(Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN))
    return text.removeprefix("-") if not text.strip("-0.") else text


def moment(at: datetime) -> str:
    """A time as a document holds it: UTC to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number of the report.

    Args:
        value: with fixed places, as text.
        source: ``program``, or ``reader`` who moved the marks or measured it.
        formula: by which it was computed, where there is more than one ("Fridericia"); else empty.
    """

    name: str
    value: str
    unit: str
    source: Literal["program", "reader"]
    formula: str = ""

    def plain(self) -> dict[str, str]:
        """As it stands in a document."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "source": self.source,
            "formula": self.formula,
        }


@dataclass(frozen=True, slots=True)
class Bundle:
    """One version of a report with all that is needed to check it without us."""

    document: bytes
    sha256: str
    signature: bytes
    algorithm: str
    key_id: str
    public_key: bytes

    def plain(self) -> dict[str, str | int]:
        """As a file holds it; the document stays a text, byte for byte as it was signed."""
        return {
            "algorithm": self.algorithm,
            "document": self.document.decode("utf-8"),
            "format": BUNDLE,
            "format_version": FORMAT_VERSION,
            "key_id": self.key_id,
            "notice": NOTICE,
            "public_key": base64.b64encode(self.public_key).decode(),
            "sha256": self.sha256,
            "signature": base64.b64encode(self.signature).decode(),
        }


def as_file(bundles: Sequence[Bundle]) -> bytes:
    """The file of an export: the versions of one report, oldest first."""
    body = {"format": f"{BUNDLE}s", "format_version": FORMAT_VERSION, "versions": [one.plain() for one in bundles]}
    return (json.dumps(body, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode("utf-8")


def read_file(data: bytes) -> list[Bundle]:
    """The versions in an exported file, or the one of a single bundle.

    Raises:
        InputRejected: ``bundle_unreadable``.
    """
    try:
        if len(data) > 64 * BYTES_LIMIT:
            raise ValueError
        body = json.loads(data.decode("utf-8"))
        found = body["versions"] if body["format"] == f"{BUNDLE}s" else [body]
        if not found:
            raise ValueError
        return [_bundle(one) for one in found]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputRejected("bundle_unreadable", "The file is not a report that was exported here.") from error


def _bundle(one: Mapping[str, Any]) -> Bundle:
    if one["format"] != BUNDLE:
        raise ValueError
    document: str = one["document"]
    return Bundle(
        document=document.encode("utf-8"),
        sha256=str(one["sha256"]),
        signature=base64.b64decode(one["signature"], validate=True),
        algorithm=str(one["algorithm"]),
        key_id=str(one["key_id"]),
        public_key=base64.b64decode(one["public_key"], validate=True),
    )


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of one version found; ``faults`` is empty where all is sound."""

    version: int | None
    kind: str | None
    report_id: str | None
    receipt: str | None
    signer: str | None
    signed_at: str | None
    sha256: str
    key_id: str
    faults: tuple[Fault, ...]


def check(bundle: Bundle, before: Sequence[Bundle] = ()) -> Checked:
    """Check one version: canonical form, hash, key, signature, and that what it replaces is among those before it.

    It shows that the document was signed with this key. Whose key that is, the alliance says, not the file.
    """
    faults: list[Fault] = []
    content: dict[str, Any] = {}
    try:
        content = parse(bundle.document)
    except InputRejected as error:
        faults.append("document_not_canonical" if error.code == "document_not_canonical" else "document_unreadable")
    if hashlib.sha256(bundle.document).hexdigest() != bundle.sha256:
        faults.append("document_hash")
    if signers.key_id(bundle.algorithm, bundle.public_key) != bundle.key_id:
        faults.append("key_mismatch")
    scheme = signers.SIGNERS.get(bundle.algorithm)
    if scheme is None or not scheme.verify(bundle.public_key, bundle.document, bundle.signature):
        faults.append("signature_wrong")
    try:
        report, signer = content.get("report", {}), content.get("signer", {})
        replaced = report.get("replaces")
        if replaced is not None and replaced["sha256"] not in {one.sha256 for one in before}:
            faults.append("chain_broken")
        said = (
            report.get("version"),
            report.get("kind"),
            report.get("id"),
            content.get("case", {}).get("receipt"),
            signer.get("account"),
            content.get("times", {}).get("signed"),
        )
    except (AttributeError, KeyError, TypeError):
        faults.append("document_unreadable")
        said = (None,) * 6
    return Checked(*said, bundle.sha256, bundle.key_id, tuple(dict.fromkeys(faults)))


def check_all(bundles: Sequence[Bundle]) -> list[Checked]:
    """Check the versions of one report, oldest first: each by itself, and that they are of one case and in order."""
    found: list[Checked] = []
    receipts: set[str | None] = set()
    for place, bundle in enumerate(bundles):
        one = check(bundle, bundles[:place])
        receipts.add(one.receipt)
        late = place > 0 and (one.version or 0) <= (found[-1].version or 0)
        if (len(receipts) > 1 or late) and "chain_broken" not in one.faults:
            one = replace(one, faults=(*one.faults, "chain_broken"))
        found.append(one)
    return found
