"""A small alliance for critical values: cases that a reader has claimed, people, and contacts of every kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, insert, select

from teleread.alliance import Alliance, Site
from teleread.pipeline.critical_loop import CriticalLoop
from teleread.pipeline.services import Services
from teleread.reading.claims import item_id_of
from teleread.reading.critical_rows import get, told
from teleread.reading.critical_state import Critical, Told
from teleread.reading_room import Contact, ReadingRoom
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database

AT = datetime(2026, 11, 1, 2, 0, tzinfo=UTC)
SINCE = date(2026, 1, 1)
PEOPLE: Mapping[str, tuple[str, str | None]] = {
    "nurse": ("uploader", "village"),
    "second-nurse": ("uploader", "village"),
    "stranger": ("uploader", "other"),
    "reader": ("reader", None),
    "colleague": ("reader", None),
    "senior": ("senior_reader", None),
    "coordinator": ("coordinator", None),
    "officer": ("coordinator", None),
    "administrator": ("administrator", None),
}
CONTACTS = (
    Contact("v1", "village", "First Nurse", SINCE, order=1, webhook="https://clinic.invalid/hook", telephone="1"),
    Contact("v2", "village", "Second Nurse", SINCE, order=2, email="two@clinic.invalid", telephone="2"),
    Contact("o1", "other", "Other Nurse", SINCE, order=1, email="one@other.invalid"),
    Contact("duty", "*", "Duty Officer", SINCE, role="duty_officer", email="duty@x.invalid", account="officer"),
)


def alliance(*contacts: Contact, telephone: str = "0571-3", **room: Any) -> Alliance:
    """Village and another clinic under a lead hospital, with these contacts."""
    sites = {
        "lead": Site("lead", "中心医院", "Lead Hospital", "lead", "0571-1"),
        "village": Site("village", "村卫生室", "Village Clinic", "member", telephone),
        "other": Site("other", "另一诊所", "Other Clinic", "member"),
    }
    rules = ReadingRoom(contacts=tuple(contacts), **room)
    return Alliance("医联体", "Alliance", "0571-0", 480, sites, (), (), room=rules)


def add_people(conn: Connection, people: Mapping[str, tuple[str, str | None]] = PEOPLE) -> None:
    """Accounts that nobody signs in to."""
    for name, (role, site) in people.items():
        row = {"name": name, "password_hash": "-", "role": role, "site_id": site, "created_at": AT}
        conn.execute(insert(schema.accounts).values(**row))


def add_case(
    conn: Connection, number: int, *, site: str = "village", reader: str | None = "reader", at: datetime = AT
) -> str:
    """A stored ECG with its work item, claimed by a reader for a day; returns the case's id."""
    case_id = f"{number:032x}"
    key = f"raw/{number}"
    conn.execute(insert(schema.objects).values(key=key, sha256=f"{number:064x}", size_bytes=1, created_at=at))
    conn.execute(
        insert(schema.arrivals).values(
            id=case_id,
            receipt=f"AAAA-BBBB-{number:04d}"[-14:],
            site_id=site,
            sha256=f"{number:064x}",
            size_bytes=1,
            object_key=key,
            source="web",
            kind="ecg",
            clinic_priority="urgent",
            state="prepared",
            arrived_at=at,
            case_id=case_id,
        )
    )
    claim = {"claimed_by": reader, "claimed_at": at, "lease_until": at + timedelta(days=1), "fence": 1}
    conn.execute(
        insert(schema.work_items).values(
            id=item_id_of(case_id, 1),
            case_id=case_id,
            seq=1,
            state="SCHEDULED" if reader is None else "IN PROGRESS",
            priority="urgent",
            rank=0,
            reasons=["clinic"],
            site_id=site,
            modality="ECG",
            arrival_id=case_id,
            analysed=True,
            arrived_at=at,
            created_at=at,
            **({} if reader is None else claim),
        )
    )
    return case_id


@dataclass
class Sent:
    """Messages that left, and how each contact answers; ``delivered`` where nothing else is said."""

    answers: dict[str, str | Callable[[], str]]
    messages: list[tuple[str, str, str]]  # contact, channel, id

    def __call__(self, contact: Contact, channel: str, message: Any, *_more: Any) -> str:
        self.messages.append((contact.id, channel, message.id))
        answer = self.answers.get(contact.id, "delivered")
        return answer if isinstance(answer, str) else answer()

    def to(self, contact: str) -> int:
        return sum(1 for one in self.messages if one[0] == contact)


@dataclass
class Room:
    """A catalogue, its people and contacts, and a clock that goes only when told to."""

    services: Services
    clock: Any
    sent: Sent
    loop: CriticalLoop

    @property
    def catalogue(self) -> Database:
        return self.services.catalogue

    def go(self, seconds: float, step: float = 0.5) -> None:
        """Let time pass, with a round of the loop each half second."""
        ends = self.clock.now + timedelta(seconds=seconds)
        while self.clock.now < ends:
            self.clock.advance(min(step, (ends - self.clock.now).total_seconds()))
            self.round()

    def jump(self, seconds: float) -> None:
        """Let time pass while nobody runs, then one round."""
        self.clock.advance(seconds)
        self.round()

    def round(self) -> None:
        self.loop.run_due()
        self.loop.settle(30)

    def critical(self, critical_id: str) -> Critical:
        with self.catalogue.read() as conn:
            found = get(conn, critical_id)
        assert found is not None
        return found

    def told(self, critical_id: str) -> list[Told]:
        with self.catalogue.read() as conn:
            return told(conn, [critical_id])[critical_id]

    def actions(self) -> list[tuple[str, str]]:
        """Who did what, by the audit."""
        with self.catalogue.read() as conn:
            rows = conn.execute(select(schema.audit_events.c.actor, schema.audit_events.c.action))
            return [(row.actor, row.action) for row in rows]


def room(services: Services, clock: Any, contacts: tuple[Contact, ...] = CONTACTS, **rules: Any) -> Room:
    """A room on services whose catalogue holds nothing yet."""
    own = replace(services, alliance=alliance(*contacts, **rules))
    sent = Sent({}, [])
    return Room(own, clock, sent, CriticalLoop(own, send=sent))
