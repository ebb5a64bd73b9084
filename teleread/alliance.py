"""The alliance: its sites, who leads, and how each site's studies come in. Pure: text in, checked values out.

One effective-dated TOML file says it all. An entry holds from ``valid_from`` up to and without ``valid_to``;
two entries of one kind for one site (or one specialty) may not overlap, so that every day has one answer.

    [alliance]
    name_zh = "…"            name_en = "…"
    telephone = "…"          # what a clinic calls when the system cannot help
    utc_offset_minutes = 480 # of a recording that does not say its own

    [[site]]
    id = "county"            # lower case, digits, hyphen; stands in keys and URLs, so never a person's name
    name_zh = "…"            name_en = "…"            role = "member"   # or "lead"

    [[lead]]
    specialty = "ecg"        site = "lead"            valid_from = 2026-01-01

    [[connection]]
    site = "county"          kind = "dicom"           valid_from = 2026-01-01
    host = "127.0.0.1"       port = 11112             ae_title = "COUNTY"

    [[ecg]]                  # without any, the embedded profile holds and everything is on
    valid_from = 2026-01-01  profile = "standard"     measurement = true
    order = true             diagnosis_like = true
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from teleread.errors import Misconfigured

Priority = Literal["urgent", "high", "routine"]
PRIORITIES: tuple[Priority, ...] = ("urgent", "high", "routine")

_T = TypeVar("_T")

_SITE_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")
_AE_TITLE = re.compile(r"[ -\[\]-~]{1,16}")


@dataclass(frozen=True, slots=True)
class Site:
    """A hospital or clinic of the alliance."""

    id: str
    name_zh: str
    name_en: str
    role: Literal["lead", "member"]
    telephone: str = ""

    def name(self, language: str) -> str:
        return self.name_zh if language.startswith("zh") else self.name_en


@dataclass(frozen=True, slots=True)
class Lead:
    """Which site reads a specialty, and when."""

    specialty: str
    site_id: str
    valid_from: date
    valid_to: date | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """How one site's studies come in and its reports go back, and when this holds."""

    site_id: str
    kind: Literal["dicom", "folder", "web"]
    valid_from: date
    valid_to: date | None = None
    default_priority: Priority = "routine"
    report_back: Literal["dicom", "folder", "web"] = "web"
    report_path: Path | None = None
    # limits of one pull
    budget_s: float = 60.0
    max_items: int = 256
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 10.0
    # kind "dicom"
    host: str = ""
    port: int = 0
    ae_title: str = ""
    calling_ae_title: str = "TELEREAD"
    lookback_days: int | None = None  # listed again before the watermark, for what comes late; none: everything
    # kind "folder"
    path: Path | None = None
    take: Literal["all", "recognised"] = "all"
    settle_s: float = 2.0  # unchanged for so long: still
    whole_wait_s: float = 30.0  # still but cut short for so long: taken as it is, and shown as broken

    @property
    def address(self) -> str:
        """Where the site is asked, for an operator to look at; empty when it sends by itself."""
        if self.kind == "dicom":
            return f"{self.host}:{self.port} {self.ae_title}"
        return str(self.path or "")


@dataclass(frozen=True, slots=True)
class EcgRules:
    """What is done with the automatic reading of an ECG, and when this holds.

    Args:
        profile: which list of limits judges.
        measurement: whether readers see the measurements and the flags on them.
        order: whether flags that put a case before others are shown and do so; nothing ever lowers one.
        diagnosis_like: whether flags that read like a diagnosis are shown and raise a case.
    """

    valid_from: date
    valid_to: date | None = None
    profile: str = "standard"
    measurement: bool = True
    order: bool = True
    diagnosis_like: bool = True

    def takes(self, kind: str) -> bool:
        """Whether flags of a kind count; those of an unknown kind do, because hiding one is the unsafe side."""
        return {"measurement": self.measurement, "order": self.order, "diagnosis_like": self.diagnosis_like}.get(
            kind, True
        )


@dataclass(frozen=True, slots=True)
class Alliance:
    """The checked alliance file."""

    name_zh: str
    name_en: str
    telephone: str
    utc_offset_minutes: int
    sites: Mapping[str, Site]
    leads: tuple[Lead, ...]
    connections: tuple[Connection, ...]
    ecg: tuple[EcgRules, ...] = ()
    issuers: tuple[str, ...] = ()  # of patient numbers that several sites share, as headers state them

    def ecg_rules(self, on: date) -> EcgRules:
        """The rules for automatic readings on a day."""
        return next((rules for rules in self.ecg if _holds(rules, on)), EcgRules(on))

    def connection(self, site_id: str, on: date) -> Connection | None:
        """The connection of a site on a day, or none."""
        return next((c for c in self.connections if c.site_id == site_id and _holds(c, on)), None)

    def pulled_sites(self, on: date) -> tuple[str, ...]:
        """Ids of the sites whose studies are fetched on a day, in the order of the file."""
        return tuple(c.site_id for c in self.connections if c.kind != "web" and _holds(c, on))

    def lead(self, specialty: str, on: date) -> Site | None:
        """The site that reads a specialty on a day, or none."""
        found = (entry for entry in self.leads if entry.specialty == specialty and _holds(entry, on))
        return next((self.sites[entry.site_id] for entry in found), None)


def parse_alliance(text: str) -> Alliance:
    """Read and check the alliance file.

    Raises:
        Misconfigured: ``alliance_invalid``, with the entry and what is wrong with it.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured("alliance_invalid", f"The alliance file is not TOML: {error}.") from error
    unknown = set(document) - {"alliance", "site", "lead", "connection", "ecg"}
    if unknown:
        raise _invalid("file", f"unknown table {sorted(unknown)[0]!r}")
    head = document.get("alliance", {})
    if not isinstance(head, dict):
        raise _invalid("alliance", "must be a table")
    sites = [_entry(Site, raw, f"site {n}") for n, raw in enumerate(_tables(document, "site"), 1)]
    leads = [_entry(Lead, _renamed(raw), f"lead {n}") for n, raw in enumerate(_tables(document, "lead"), 1)]
    connections = [
        _entry(Connection, _renamed(raw), f"connection {n}") for n, raw in enumerate(_tables(document, "connection"), 1)
    ]
    ecg = [_entry(EcgRules, raw, f"ecg {n}") for n, raw in enumerate(_tables(document, "ecg"), 1)]
    _check_sites(sites, leads, connections)
    for connection in connections:
        _check_connection(connection)
    _check_periods(((c.site_id, c) for c in connections), "connection")
    _check_periods(((entry.specialty, entry) for entry in leads), "lead")
    _check_periods((("all", entry) for entry in ecg), "ecg")
    return Alliance(
        name_zh=_text(head, "name_zh"),
        name_en=_text(head, "name_en"),
        telephone=_text(head, "telephone"),
        utc_offset_minutes=_offset(head),
        sites={site.id: site for site in sites},
        leads=tuple(leads),
        connections=tuple(connections),
        ecg=tuple(ecg),
        issuers=_issuers(head, sites),
    )


def _holds(entry: Connection | Lead | EcgRules, on: date) -> bool:
    return entry.valid_from <= on and (entry.valid_to is None or on < entry.valid_to)


def _invalid(where: str, why: str) -> Misconfigured:
    return Misconfigured("alliance_invalid", f"Alliance file, {where}: {why}.")


def _tables(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = document.get(name, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise _invalid(name, f"must be written as [[{name}]]")
    return cast(list[dict[str, Any]], found)


def _renamed(raw: dict[str, Any]) -> dict[str, Any]:
    return {("site_id" if key == "site" else key): value for key, value in raw.items()}


def _entry(cls: type[_T], raw: dict[str, Any], where: str) -> _T:
    known = {field.name: field for field in fields(cls)}  # type: ignore[arg-type]
    for key, value in raw.items():
        if key not in known:
            raise _invalid(where, f"unknown key {key!r}")
        kinds = str(known[key].type)
        if not _fits(value, kinds):
            raise _invalid(where, f"{key} does not take {value!r}")
    missing = [name for name, field in known.items() if field.default is MISSING and name not in raw]
    if missing:
        raise _invalid(where, f"{'site' if missing[0] == 'site_id' else missing[0]} is missing")
    values = {
        key: Path(value) if "Path" in str(known[key].type) else float(value) if _is_float(known[key].type) else value
        for key, value in raw.items()
    }
    return cls(**values)


def _is_float(kind: object) -> bool:
    return str(kind) == "float"


def _fits(value: object, kind: str) -> bool:
    if kind.startswith("Literal"):
        return isinstance(value, str) and f'"{value}"' in kind.replace("'", '"')
    if kind == "Priority":
        return value in PRIORITIES
    if isinstance(value, bool) or kind == "bool":
        return isinstance(value, bool) and kind == "bool"
    wanted: dict[str, tuple[type, ...]] = {
        "str": (str,),
        "int": (int,),
        "float": (int, float),
        "date": (date,),
        "Path": (str,),
    }
    return any(isinstance(value, wanted[part]) for part in kind.split(" | ") if part in wanted)


def _text(head: Mapping[str, Any], key: str) -> str:
    value = head.get(key)
    if not isinstance(value, str) or not value:
        raise _invalid("alliance", f"{key} is missing")
    return value


def _issuers(head: Mapping[str, Any], sites: list[Site]) -> tuple[str, ...]:
    found = head.get("issuers", [])
    if not isinstance(found, list) or not all(isinstance(one, str) and one.strip() == one != "" for one in found):
        raise _invalid("alliance", "issuers must be a list of names")
    if {one.casefold() for one in found} & {*(site.id for site in sites), "teleread"}:
        raise _invalid("alliance", "issuers are others than the sites, which issue numbers anyway")
    return tuple(found)


def _offset(head: Mapping[str, Any]) -> int:
    value = head.get("utc_offset_minutes", 480)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 14 * 60:
        raise _invalid("alliance", "utc_offset_minutes must lie within 14 hours")
    return value


def _check_sites(sites: list[Site], leads: list[Lead], connections: list[Connection]) -> None:
    ids = [site.id for site in sites]
    for site in sites:
        if not _SITE_ID.fullmatch(site.id):
            raise _invalid(f"site {site.id!r}", "id must be lower-case letters, digits and hyphens, 32 at most")
        if ids.count(site.id) > 1:
            raise _invalid(f"site {site.id!r}", "stands twice")
    for named in [entry.site_id for entry in leads] + [entry.site_id for entry in connections]:
        if named not in ids:
            raise _invalid("lead or connection", f"names the unknown site {named!r}")


def _check_connection(connection: Connection) -> None:
    where = f"connection of {connection.site_id!r}"
    if connection.kind == "dicom":
        if not connection.host or not 0 < connection.port < 65536:
            raise _invalid(where, "a DICOM connection needs host and port")
        for title in (connection.ae_title, connection.calling_ae_title):
            if not _AE_TITLE.fullmatch(title):
                raise _invalid(where, "an AE title has 1 to 16 printable characters")
    if connection.kind == "folder" and connection.path is None:
        raise _invalid(where, "a folder connection needs path")
    if connection.report_back == "dicom" and connection.kind != "dicom":
        raise _invalid(where, "reports go back by DICOM only over a DICOM connection")
    if connection.report_back == "folder" and connection.report_path is None:
        raise _invalid(where, "reports go back to a folder only with report_path")
    if connection.budget_s > 80:
        raise _invalid(where, "budget_s must not exceed 80: the next pull begins after 120 s")
    if connection.lookback_days is not None and connection.lookback_days < 0:
        raise _invalid(where, "lookback_days must not be negative")
    limits = (connection.budget_s, connection.max_items, connection.connect_timeout_s, connection.answer_timeout_s)
    if min(limits) <= 0 or connection.settle_s < 0 or connection.whole_wait_s < 0:
        raise _invalid(where, "limits and times must be above zero")


def _check_periods(entries: Iterable[tuple[str, Connection | Lead | EcgRules]], kind: str) -> None:
    by_owner: dict[str, list[Connection | Lead | EcgRules]] = {}
    for owner, entry in entries:
        if entry.valid_to is not None and entry.valid_to <= entry.valid_from:
            raise _invalid(f"{kind} of {owner!r}", "valid_to is not after valid_from")
        by_owner.setdefault(owner, []).append(entry)
    for owner, periods in by_owner.items():
        ordered = sorted(periods, key=lambda entry: entry.valid_from)
        for earlier, later in pairwise(ordered):
            if earlier.valid_to is None or later.valid_from < earlier.valid_to:
                raise _invalid(f"{kind} of {owner!r}", f"two entries hold on {later.valid_from}")
