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

The tables of the reading room ([[pool]], [[route]], [[licence]], [[shift]], [[agreement]], [[contact]]) stand in
``reading_room_file.py``.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from teleread.alliance_entries import PRIORITIES as PRIORITIES
from teleread.alliance_entries import Lead as Lead
from teleread.alliance_entries import Priority as Priority
from teleread.alliance_entries import check_periods, entry, holds, invalid, tables
from teleread.errors import Misconfigured
from teleread.reading_room import ReadingRoom
from teleread.reading_room_file import ROOM_TABLES, parse_room

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
    room: ReadingRoom = field(default_factory=ReadingRoom)

    def ecg_rules(self, on: date) -> EcgRules:
        """The rules for automatic readings on a day."""
        return next((rules for rules in self.ecg if holds(rules, on)), EcgRules(on))

    def connection(self, site_id: str, on: date) -> Connection | None:
        """The connection of a site on a day, or none."""
        return next((c for c in self.connections if c.site_id == site_id and holds(c, on)), None)

    def pulled_sites(self, on: date) -> tuple[str, ...]:
        """Ids of the sites whose studies are fetched on a day, in the order of the file."""
        return tuple(c.site_id for c in self.connections if c.kind != "web" and holds(c, on))

    def lead(self, specialty: str, on: date) -> Site | None:
        """The site that reads a specialty on a day, or none."""
        found = (one for one in self.leads if one.specialty == specialty and holds(one, on))
        return next((self.sites[one.site_id] for one in found), None)


def parse_alliance(text: str) -> Alliance:
    """Read and check the alliance file.

    Raises:
        Misconfigured: ``alliance_invalid``, with the entry and what is wrong with it.
    """
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise Misconfigured("alliance_invalid", f"The alliance file is not TOML: {error}.") from error
    unknown = set(document) - {"alliance", "site", "lead", "connection", "ecg", *ROOM_TABLES}
    if unknown:
        raise invalid("file", f"unknown table {sorted(unknown)[0]!r}")
    head = document.get("alliance", {})
    if not isinstance(head, dict):
        raise invalid("alliance", "must be a table")
    sites = [entry(Site, raw, f"site {n}") for n, raw in enumerate(tables(document, "site"), 1)]
    leads = [entry(Lead, _renamed(raw), f"lead {n}") for n, raw in enumerate(tables(document, "lead"), 1)]
    connections = [
        entry(Connection, _renamed(raw), f"connection {n}") for n, raw in enumerate(tables(document, "connection"), 1)
    ]
    ecg = [entry(EcgRules, raw, f"ecg {n}") for n, raw in enumerate(tables(document, "ecg"), 1)]
    _check_sites(sites, leads, connections)
    for connection in connections:
        _check_connection(connection)
    check_periods(((c.site_id, c) for c in connections), "connection")
    check_periods(((one.specialty, one) for one in leads), "lead")
    check_periods((("all", one) for one in ecg), "ecg")
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
        room=parse_room(document, {site.id for site in sites}, leads, _offset(head)),
    )


def _renamed(raw: dict[str, Any]) -> dict[str, Any]:
    return {("site_id" if key == "site" else key): value for key, value in raw.items()}


def _text(head: Mapping[str, Any], key: str) -> str:
    value = head.get(key)
    if not isinstance(value, str) or not value:
        raise invalid("alliance", f"{key} is missing")
    return value


def _issuers(head: Mapping[str, Any], sites: list[Site]) -> tuple[str, ...]:
    found = head.get("issuers", [])
    if not isinstance(found, list) or not all(isinstance(one, str) and one.strip() == one != "" for one in found):
        raise invalid("alliance", "issuers must be a list of names")
    if {one.casefold() for one in found} & {*(site.id for site in sites), "teleread"}:
        raise invalid("alliance", "issuers are others than the sites, which issue numbers anyway")
    return tuple(found)


def _offset(head: Mapping[str, Any]) -> int:
    value = head.get("utc_offset_minutes", 480)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 14 * 60:
        raise invalid("alliance", "utc_offset_minutes must lie within 14 hours")
    return value


def _check_sites(sites: list[Site], leads: list[Lead], connections: list[Connection]) -> None:
    ids = [site.id for site in sites]
    for site in sites:
        if not _SITE_ID.fullmatch(site.id):
            raise invalid(f"site {site.id!r}", "id must be lower-case letters, digits and hyphens, 32 at most")
        if ids.count(site.id) > 1:
            raise invalid(f"site {site.id!r}", "stands twice")
    for named in [one.site_id for one in leads] + [one.site_id for one in connections]:
        if named not in ids:
            raise invalid("lead or connection", f"names the unknown site {named!r}")


def _check_connection(connection: Connection) -> None:
    where = f"connection of {connection.site_id!r}"
    if connection.kind == "dicom":
        if not connection.host or not 0 < connection.port < 65536:
            raise invalid(where, "a DICOM connection needs host and port")
        for title in (connection.ae_title, connection.calling_ae_title):
            if not _AE_TITLE.fullmatch(title):
                raise invalid(where, "an AE title has 1 to 16 printable characters")
    if connection.kind == "folder" and connection.path is None:
        raise invalid(where, "a folder connection needs path")
    if connection.report_back == "dicom" and connection.kind != "dicom":
        raise invalid(where, "reports go back by DICOM only over a DICOM connection")
    if connection.report_back == "folder" and connection.report_path is None:
        raise invalid(where, "reports go back to a folder only with report_path")
    if connection.budget_s > 80:
        raise invalid(where, "budget_s must not exceed 80: the next pull begins after 120 s")
    if connection.lookback_days is not None and connection.lookback_days < 0:
        raise invalid(where, "lookback_days must not be negative")
    limits = (connection.budget_s, connection.max_items, connection.connect_timeout_s, connection.answer_timeout_s)
    if min(limits) <= 0 or connection.settle_s < 0 or connection.whole_wait_s < 0:
        raise invalid(where, "limits and times must be above zero")
