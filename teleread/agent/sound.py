"""Whether what the lead hospital gave is a whole report: its form, its hashes, its signatures. Pure.

The signature shows that a version was signed with the key that stands beside it and has not been changed since. Whose
key that is, the lead hospital says over its own certificate, not the file: ``docs/report-json.md``.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from teleread.agent import ed25519

JSON_BYTES, PDF_BYTES = 8 << 20, 24 << 20
"""More than any report has; what says that it is larger is not fetched."""
VERSIONS = 1000
KINDS = ("preliminary", "final", "addendum", "corrected", "withdrawn")

Signature = Literal["good", "not_checked", "none"]
"""``good``: every version's. ``not_checked``: of an algorithm that this agent does not know; it stands in the file.
``none``: a version from before there were signatures.
"""


class NotSound(Exception):
    """It may not be kept: ``report_damaged``, ``report_signature_wrong``, ``report_too_large``,
    ``report_not_understood``.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class News:
    """What the lead hospital says of a report before it is fetched.

    Args:
        state: a word that changes with what the files say.
        version: the newest that was given back; ``kind`` and ``critical`` are its own.
        sha256: of the document that holds; empty for one from before there were documents.
        held: whose recording it is is being corrected.
    """

    state: str
    version: int
    kind: str
    critical: bool
    sha256: str
    held: bool


def news_of(verdict: Mapping[str, Any]) -> News | None:
    """What a verdict says of the report; None where there is none.

    Raises:
        NotSound: ``report_not_understood``.
    """
    report = verdict.get("report")
    if report is None:
        return None
    try:
        newest, state, sha256 = report["newest"], report["state"], report["sha256"]
        version, kind = newest["version"], newest["kind"]
        is_plain = isinstance(state, str) and state.isascii() and state.isalnum() and len(state) <= 64
        is_hash = sha256 is None or (isinstance(sha256, str) and len(sha256) == 64 and sha256.isalnum())
        is_number = isinstance(version, int) and not isinstance(version, bool) and 0 < version <= VERSIONS
        if not (is_plain and is_hash and is_number and kind in KINDS):
            raise ValueError
        critical = report["critical"] is True or newest["critical"] is True
        return News(state, version, kind, critical, sha256 or "", verdict.get("identity_under_correction") is True)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotSound("report_not_understood") from error


def check_json(data: bytes, news: News) -> Signature:
    """Check a report's JSON against itself and against what the lead hospital said of it.

    Raises:
        NotSound.
    """
    try:
        body = json.loads(data.decode("utf-8"))
        versions, unsigned = body["versions"], body["unsigned"]
        if body["format"] != "teleread-report-bundles" or not 0 < len(versions) + len(unsigned) <= VERSIONS:
            raise ValueError
        numbers, hashes = [int(one["version"]) for one in unsigned], set()
        signatures, receipts = set(), set()
        for one in versions:
            document, signature = _check_version(one)
            numbers.append(int(document["report"]["version"]))
            receipts.add(document["case"]["receipt"])
            hashes.add(one["sha256"])
            signatures.add(signature)
        if len(receipts) > 1 or numbers != sorted(set(numbers)):
            raise NotSound("report_damaged")
        is_newest = numbers[-1] == news.version and (not news.sha256 or news.sha256 in hashes)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotSound("report_not_understood") from error
    if not is_newest:
        # signed between the two questions, or not what was said: in both cases it is asked anew
        raise NotSound("report_damaged")
    if unsigned:
        return "none"
    return "not_checked" if "not_checked" in signatures else "good"


def _check_version(one: Mapping[str, Any]) -> tuple[Any, Signature]:
    """Check one version: its document, and what its signature is worth."""
    document = one["document"].encode("utf-8")
    if hashlib.sha256(document).hexdigest() != one["sha256"]:
        raise NotSound("report_damaged")
    algorithm = str(one["algorithm"])
    public, signature = (base64.b64decode(one[name], validate=True) for name in ("public_key", "signature"))
    if hashlib.sha256(f"signing key\0{algorithm}\0".encode() + public).hexdigest()[:32] != one["key_id"]:
        raise NotSound("report_signature_wrong")
    if algorithm != "ed25519":
        return json.loads(document), "not_checked"
    if not ed25519.verify(public, document, signature):
        raise NotSound("report_signature_wrong")
    return json.loads(document), "good"


def check_pdf(data: bytes) -> None:
    """Whether it begins and ends as a PDF does.

    Raises:
        NotSound: ``report_damaged``.
    """
    if not data.startswith(b"%PDF-") or b"%%EOF" not in data[-1024:]:
        raise NotSound("report_damaged")
