"""Words for critical values: what was found, how people were told, what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from teleread.reading.critical_state import UNNAMED, WITHDRAWN
from teleread.reading.statements import lexicon
from teleread.web.i18n import N_
from teleread.web.readings import FLAGS

FINDINGS: Mapping[str, str] = {
    UNNAMED: N_("a critical finding: telephone the reader or open the report"),
    WITHDRAWN: N_("WITHDRAWN: what was called critical is not. Do not act on it, and tell whoever did."),
    **FLAGS,
}

ACTS: Mapping[str, str] = {
    "screen:clinic": N_("on the clinic's screen"),
    "message:clinic-1": N_("the first contact is written to"),
    "message:clinic-other": N_("the contact is written to again, or the next one"),
    "message:clinic-2": N_("the second contact is written to"),
    "message:coordinator": N_("the coordinator is written to"),
    "message:duty-officer": N_("the duty officer is written to"),
    "call:coordinator": N_("the coordinator telephones the clinic"),
    "call:clinic-2": N_("the clinic's second contact is telephoned"),
    "owner:duty-officer": N_("a named person here owns it"),
}

CHANNELS: Mapping[str, str] = {
    "screen": N_("screen"),
    "webhook": N_("webhook"),
    "email": N_("e-mail"),
    "telephone": N_("telephone"),
    "owner": N_("owner"),
    "page": N_("on the page"),
    "agent": N_("on the PC's page"),
}

OUTCOMES: Mapping[str, str] = {
    "delivered": N_("delivered"),
    "shown": N_("shown"),
    "named": N_("named"),
    "called": N_("somebody telephoned"),
    "read_back": N_("told and read back"),
    "not_read_back": N_("told, not read back"),
    "no_answer": N_("nobody answered"),
    "no_channel": N_("no address to write to: telephone at once"),
    "refused": N_("nothing listens there"),
    "unreachable": N_("cannot be reached"),
    "timeout": N_("no answer in time"),
    "not_taken": N_("not taken"),
    "tls_failed": N_("no safe connection"),
    "no_mail_server": N_("no mail server is set up"),
    "address_invalid": N_("the address is wrong"),
    "address_without_tls": N_("the address is not https"),
    "contact_gone": N_("no longer a contact"),
    "internal_error": N_("a fault of ours"),
    "settled": N_("not needed any more"),
    "reached": N_("reached"),
    "failed": N_("not reached"),
}

STATES: Mapping[str, str] = {
    "open": N_("nobody at the clinic has acknowledged it"),
    "owned": N_("not acknowledged; it has an owner"),
    "acknowledged": N_("acknowledged"),
    "withdrawn": N_("another statement stands in its place"),
}

TESTED: Mapping[str, str] = {
    "good": N_("reached"),
    "due": N_("to be tested this week"),
    "stale": N_("not tested for over a month"),
    "failed": N_("the last test did not reach it"),
}

CONTACT_ROLES: Mapping[str, str] = {
    "clinic": N_("clinic"),
    "coordinator": N_("coordinator"),
    "duty_officer": N_("duty officer"),
}


def filters(_: Callable[[str], str], language: str) -> dict[str, Callable[[str], Any]]:
    """Filters for templates in one language."""

    def lookup(table: Mapping[str, str]) -> Callable[[str], str]:
        return lambda code: _(table[code]) if code in table else code

    def outcome(code: str) -> str:
        if code.startswith("answered_"):
            return _("answered with the error {status}").format(status=code.removeprefix("answered_"))
        return _(OUTCOMES[code]) if code in OUTCOMES else code

    def finding(code: str) -> str:
        statement = lexicon().statements.get(code)
        if statement is not None:
            return statement.name(language)
        return _(FINDINGS[code]) if code in FINDINGS else code

    return {
        "finding": finding,
        "ladder_act": lookup(ACTS),
        "channel": lookup(CHANNELS),
        "outcome": outcome,
        "critical_state": lookup(STATES),
        "contact_state": lookup(TESTED),
        "contact_role": lookup(CONTACT_ROLES),
    }
