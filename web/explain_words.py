"""Words for why a case is where it is: rules, facts, people, events. For the page and for ``teleread explain``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from teleread.alliance import Site
from teleread.reading.explain import Explanation, Happened, Reader, in_words, pool_name
from teleread.reading.routing import Check, Step
from teleread.reading_room import ALL, ReadingRoom
from teleread.web import readings, texts
from teleread.web.i18n import N_
from teleread.web.texts import Translate

FACTS = {
    "modality": N_("modality"),
    "body_part": N_("body part"),
    "age": N_("age in years"),
    "site": N_("site"),
    "lead": N_("site that leads the specialty"),
    "question": N_("question of the clinic"),
    "kind": N_("kind of reading"),
    "priority": N_("priority"),
}

WHY_NOT = {
    "role": N_("the account is no reader's"),
    "pool_ended": N_("the pool is no more"),
    "not_licensed": N_("not licensed for all that comes into the pool"),
    "not_on_duty": N_("not on duty"),
    "read_before": N_("has read it before, and somebody else is to"),
    "shut_out": N_("the account is shut out"),
    "no_account": N_("the rules name an account that does not exist"),
}

EVENTS = {
    "created": N_("queued"),
    "raised": N_("priority raised"),
    "routed": N_("sent to a pool"),
    "overflowed": N_("opened to a second pool"),
    "escalated": N_("escalated"),
    "claimed": N_("claimed"),
    "completed": N_("read"),
    "released": N_("given back by its reader"),
    "broken": N_("taken from its reader by a coordinator"),
    "expired": N_("given back: its reader's heartbeats stopped"),
    "handed_over": N_("handed over at the end of a shift"),
    "withdrawn": N_("withdrawn"),
    "flag_rejected": N_("flag rejected"),
    "flag_confirmed": N_("flag confirmed"),
}

STEPS = {
    "unclaimed": N_("urgent and unclaimed: told to every reader"),
    "unclaimed_coordinator": N_("urgent and unclaimed: told to the coordinator"),
    "overflow": N_("urgent and unclaimed: the overflow pool opens"),
    "late": N_("80 % of its limit: told to the pool's lead"),
    "unsigned": N_("urgent, claimed and not signed"),
    "no_reader": N_("its pool has hours to come without a reader"),
    "alliance_invalid": N_("the alliance file was changed and is wrong: the rules before it hold on"),
}

KINDS = {
    "reading": N_("first reading"),
    "second_reading": N_("second reading"),
    "second_opinion": N_("second opinion"),
    "consultation": N_("consultation"),
    "review": N_("review"),
}

QUESTIONS = {
    "chest_pain": N_("chest pain"),
    "low_pressure": N_("low blood pressure"),
    "high_pressure": N_("high blood pressure"),
}

OF_COMMANDS = (
    N_("Facts"),
    N_("until"),
    N_("claimed by {who}, until {time} without a heartbeat"),
    N_("Every pool has a reader in the next {n} h."),
    N_("nobody reads"),
)
"""Said by ``teleread explain`` and ``teleread coverage`` alone."""

_VALUES = {"kind": KINDS, "question": QUESTIONS, "priority": texts.PRIORITIES}
_OF_ALL = N_("All readers")


class Words:
    """The words of one language under the rules of one moment.

    Args:
        _: translates.
        language: "zh" or "en".
    """

    def __init__(self, _: Translate, language: str, room: ReadingRoom, sites: Mapping[str, Site], at: datetime) -> None:
        self._, self._language, self._room, self._names, self._at = _, language, room, sites, at

    def moment(self, at: datetime | None) -> str:
        """A moment on the alliance's clock."""
        return "–" if at is None else f"{self._room.local(at):%Y-%m-%d %H:%M:%S}"

    def pool(self, pool_id: str | None) -> str:
        """A pool with its id, so that it is found in the file."""
        if pool_id is None:
            return self._("no pool yet: any reader's")
        name = self._(_OF_ALL) if pool_id == ALL else pool_name(self._room, pool_id, self._language, self._at)
        return name if name == pool_id else f"{name} ({pool_id})"

    def fact(self, name: str) -> str:
        """What a fact is called."""
        return self._of(FACTS, name)

    def value(self, name: str, value: str) -> str:
        """A fact's value; several are kept apart by spaces."""
        if not value:
            return self._("not known")
        if name in {"site", "lead"}:
            return self._(", ").join(self._site(one) for one in value.split(" "))
        return " ".join(self._of(_VALUES.get(name, {}), one) for one in value.split(" "))

    def facts(self, found: Explanation) -> list[tuple[str, str]]:
        """The facts that routes ask about."""
        return [(self.fact(name), self.value(name, value)) for name, value in in_words(found.facts).items()]

    def rule(self, step: Step) -> str:
        """Which rule was looked at."""
        if step.rule == "route":
            return self._("route {id}").format(id=step.id)
        if step.rule == "agreement":
            site = self._("all sites") if step.id == "*" else self._site(step.id)
            return self._("agreement of {site}").format(site=site)
        return self._("no rule of the file")

    def says(self, step: Step) -> str:
        """What follows from a rule."""
        if step.rule == "route" or step.says == ALL:
            return self.pool(step.says)
        return self._("{n} min from stored to signed").format(n=step.says)

    def check(self, check: Check) -> str:
        """One condition beside the case's fact."""
        wanted, found = self.value(check.fact, check.wanted), self.value(check.fact, check.found)
        return self._("{fact}: asks for {wanted}, is {found}").format(
            fact=self.fact(check.fact), wanted=wanted, found=found
        )

    def because(self, step: Step) -> list[str]:
        """Why a rule fits or not: all its conditions where it fits, else those that do not."""
        return [self.check(check) for check in step.checks if step.rule == "route" and check.fits == step.fits]

    def why_not(self, reader: Reader) -> list[str]:
        """What stands against a reader."""
        return [self._of(WHY_NOT, code) for code in reader.why]

    def event(self, happened: Happened) -> str:
        """What happened."""
        return self._of(EVENTS, happened.event)

    def detail(self, happened: Happened) -> str:
        """What belongs to it: from where to where, and the reason."""
        found: Mapping[str, Any] = happened.detail
        if happened.event in {"routed", "overflowed"} and found.get("pool"):
            return self.pool(str(found["pool"]))
        if happened.event == "raised":
            return self._of(texts.PRIORITIES, str(found.get("priority", "")))
        if happened.event in {"flag_rejected", "flag_confirmed"}:
            words = [self._of(readings.FLAGS, str(found["flag"]))]
            words += [self._of(texts.FLAG_REASONS, str(found["reason"]))] if "reason" in found else []
            return " – ".join(words)
        return str(found.get("reason") or found.get("step") or found.get("alarm") or "")

    def step(self, kind: str) -> str:
        """A timer or alarm."""
        return self._of(STEPS, kind)

    def state(self, code: str) -> str:
        """A work item's state."""
        return self._of(texts.CASE_STATES, code)

    def kind(self, code: str) -> str:
        """A work item's kind."""
        return self._of(KINDS, code)

    def priority(self, code: str, reasons: tuple[str, ...]) -> str:
        """A priority with what led to it."""
        words = ", ".join(self._of(texts.REASONS, reason) for reason in reasons)
        return self._of(texts.PRIORITIES, code) + (f" – {words}" if words else "")

    def _site(self, site_id: str) -> str:
        name = self._names.get(site_id)
        return site_id if name is None else name.name(self._language)

    def _of(self, table: Mapping[str, str], code: str) -> str:
        return self._(table[code]) if code in table else code
