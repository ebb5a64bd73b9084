"""Words for stable codes: what happened, whether anything is lost, what to do. Both languages by gettext.

Every code that teleread raises has its words in :mod:`teleread.web.problems`; a code from elsewhere gets the words
of its kind, with the code beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from teleread.errors import AccessDenied, Conflict, InputRejected, Misconfigured, PeerError, StorageError, TelereadError
from teleread.web.i18n import N_
from teleread.web.problems import PROBLEMS, Problem, find

Translate = Callable[[str], str]

PRIORITIES = {"urgent": N_("Urgent"), "high": N_("High"), "routine": N_("Routine")}

REASONS = {
    "clinic": N_("marked by the clinic"),
    "not_analysed": N_("not analysed"),
    "poor_quality": N_("recording quality is poor"),
    "flagged": N_("the program flags a possible critical value"),
    # the same words for both: who reads it a second time does not learn that the first report was critical
    "critical_review": N_("chosen to be read a second time"),
    "sample": N_("chosen to be read a second time"),
    "second_opinion": N_("a reader asks for an opinion"),
    "consultation": N_("specialists are asked"),
}

CASE_STATES = {
    "SCHEDULED": N_("waiting for a reader"),
    "IN PROGRESS": N_("being read"),
    "COMPLETED": N_("read"),
    "CANCELED": N_("withdrawn"),
}

IDENTITY_QUESTIONS = {
    "same_id_soon": N_("Two recordings under one patient number within ten minutes."),
    "other_birth_date": N_("Another birth date under a known patient number."),
    "other_sex": N_("Another sex under a known patient number."),
    "other_name": N_("Another name under a known patient number."),
    "other_patient_in_study": N_("One study names two patients."),
    "same_recording": N_("One tracing came under two patients' numbers: it is one person, or one of them is wrong."),
    "possible_prior": N_("Perhaps one person: same name and birth date, or same national id, under another number."),
}

ROLES = {
    "uploader": N_("Clinic"),
    "reader": N_("Reader"),
    "senior_reader": N_("Senior reader"),
    "coordinator": N_("Coordinator"),
    "engineer": N_("Data engineer"),
    "auditor": N_("Auditor"),
    "administrator": N_("Administrator"),
}

INDICATORS = {
    "turnaround": N_("From stored to signed"),
    "wait": N_("From queued to claimed"),
    "critical_told": N_("From found to acknowledged"),
    "critical_owned": N_("From found to a named owner"),
    "claim_ended": N_("Claims that ended without a report"),
    "discrepancy": N_("Second readings, by grade of the difference"),
    "flag": N_("Flags, by rule and what readers said"),
}

GROUPS = {"site_id": N_("Site"), "pool": N_("Pool"), "shift": N_("Shift")}

SHIFTS = {"day": N_("Day, 8–16 h"), "evening": N_("Evening, 16–24 h"), "night": N_("Night, 0–8 h")}

BREAK_GLASS = {
    "emergency": N_("Emergency: the patient cannot wait"),
    "asked_by_clinic": N_("The clinic has asked me by telephone"),
    "no_reader": N_("No reader with the licence can be reached"),
    "handed_over": N_("I take over from a colleague"),
}

_SOMEBODY_ELSE = N_("The newer recording is somebody else's")
_RIGHT_NOW = N_("Same patient: the recording is right")
_RIGHT_BEFORE = N_("Same patient: what was known is right")

IDENTITY_ANSWERS = {
    "same_id_soon": (("same", N_("Both are this patient's")), ("different", _SOMEBODY_ELSE)),
    "other_birth_date": (("same", _RIGHT_NOW), ("noted", _RIGHT_BEFORE), ("different", _SOMEBODY_ELSE)),
    "other_sex": (("same", _RIGHT_NOW), ("noted", _RIGHT_BEFORE), ("different", _SOMEBODY_ELSE)),
    "other_name": (
        ("same", N_("Same patient: the typed name is right")),
        ("noted", _RIGHT_BEFORE),
        ("different", _SOMEBODY_ELSE),
    ),
    "other_patient_in_study": (("same", N_("They are one person")), ("different", N_("Correct this recording"))),
    "same_recording": (("same", N_("They are one person")), ("different", _SOMEBODY_ELSE)),
    "possible_prior": (("same", N_("They are one person")), ("different", N_("They are two people"))),
}

IDENTITY_NOTICES = {
    "identity_under_correction": N_("Identity under correction: do not use the report for the named patient yet."),
    "identity_corrected": N_("The identity was wrong and has been corrected: look again whose report it is."),
    "report_to_recall": N_(
        "A report was sent to the site's system under the wrong name: recall it there. It is sent again under the "
        "right one."
    ),
    "identity_confirmed": N_("The identity was right and stays as it was."),
}

ITEM_KINDS = {
    "second_reading": N_("second reading"),
    "second_opinion": N_("second opinion"),
    "consultation": N_("consultation"),
    "review": N_("review"),
}
"""Kinds of work items beyond the first reading of a case."""

MODALITIES = {
    "DX": N_("X-ray"),
    "US": N_("Ultrasound"),
    "SM": N_("Pathology"),
    "CONSULT": N_("Consultation"),
    "OT": N_("OT, or unknown type"),
}
"""Names of modalities that have one; others go by their letters."""

RELEASE_REASONS = {
    "interrupted": N_("I am interrupted"),
    "other_reader": N_("Another reader should read it"),
    "knows_patient": N_("I know the patient"),
    "recording": N_("The recording is being repeated"),
    "shift_end": N_("My shift ends: hand it over with the draft"),
}
"""Why a reader gives a case back; each has a key, by its place."""

FLAG_REASONS = {
    "artefact": N_("artefact"),
    "misread": N_("measured wrongly"),
    "known": N_("known before"),
    "not_for_patient": N_("not for this patient"),
    "other": N_("other"),
}
"""Why a reader rejects a flag; none need be given, and each has a key, by its place."""

BREAK_REASONS = {
    "no_answer": N_("The reader does not answer"),
    "urgent_waits": N_("The reader is needed for something more urgent"),
    "shift_over": N_("The reader's shift is over"),
    "technical": N_("The reader's computer has failed"),
}
"""Why a coordinator takes a case from its reader."""

ASSIGN_REASONS = {
    "balance": N_("Too much waits in its pool"),
    "expertise": N_("Another pool knows more of it"),
    "no_reader": N_("Its pool has no reader now"),
    "wrong_pool": N_("It was sent to the wrong pool"),
}
"""Why a coordinator opens cases to another pool."""

ALARMS = {
    "unclaimed": N_("Urgent, and nobody has taken it for a minute"),
    "unclaimed_coordinator": N_("Urgent, and nobody has taken it for two minutes"),
    "overflow": N_("Urgent and untaken for three minutes: the second pool was opened"),
    "late": N_("Nearly or quite late: 80 % of its limit is over"),
    "unsigned": N_("Urgent, taken five minutes ago and not signed"),
    "no_reader": N_("No reader in the hours to come"),
    "contact_stale": N_("A contact for critical results has not been reached lately, or was never tested"),
    "critical_owner": N_("A critical result that nobody has acknowledged is yours"),
    "break_glass": N_("Somebody has looked at a case beyond their role"),
}
"""What rings; the codes are those of reading/alarms.py."""

ALARMS_TODO = {
    "unclaimed": N_("Telephone a reader of the pool who is on duty."),
    "unclaimed_coordinator": N_("Telephone a reader of the pool now, or open the case to another pool."),
    "overflow": N_("Telephone the second pool's reader."),
    "late": N_("Ask the pool's reader, or open the case to another pool."),
    "unsigned": N_("Telephone its reader; where nobody answers, take the case from them."),
    "no_reader": N_("Find a reader and enter the shift in the alliance file."),
    "contact_stale": N_("Test the contact; if nobody answers, telephone the site and correct it."),
    "critical_owner": N_("Telephone the clinic and record what was read back."),
    "break_glass": N_("Ask why, and review it."),
}

TOLD = {
    "taken": N_("Somebody else was a moment faster with the case that you chose. This is the next one; it is yours."),
    "taken_last": N_("Somebody else was a moment faster with the case that you chose. Nothing else waits for you."),
    "still_yours": N_("You have this case already: finish it, or give it back."),
    "nothing_waits": N_("Nothing waits for you just now."),
    "case_not_yours": N_("That case is for other readers: it lies in a pool that you do not read now."),
    "signed": N_("Signed. This is the next case; it is yours."),
    "signed_last": N_("Signed. Nothing else waits for you just now."),
    "paused": N_("Signed. You rest: no further case was taken for you."),
    "released": N_("Given back: the case waits again, in its place. What you typed is kept with it."),
    "handed_over": N_("Handed over: whoever takes the case next finds what you typed."),
    "broken": N_("The case waits again. Its reader is told, and what was typed is kept with it."),
    "assigned": N_("The other pool may read them as well now. They keep their place in the order."),
    "asked": N_("Asked: it waits for a reader, and stands on this page until it is answered."),
    "asked_waits": N_("Asked. The case is set aside with your draft, and waits again when the opinion is there."),
    "not_needed": N_("Withdrawn: nobody had begun it."),
    "blind": N_("You read this case a second time. Its first report opens when you have signed yours."),
    "signed_grade": N_("Signed. Now see the first report beside yours, and say how far they differ."),
    "graded": N_("Graded: the first reader is told."),
    "assigned_some": N_("The other pool may read them as well now; some were taken by a reader meanwhile."),
}
"""What a page says of the act that led to it; the code stands in the address."""

CHEST_PAIN = {"now": N_("Yes, now"), "gone": N_("Yes, gone now"), "no": N_("No pain")}
ONSET = {
    "m30": N_("under 30 min ago"),
    "h1": N_("under 1 h"),
    "h3": N_("1–3 h"),
    "h12": N_("3–12 h"),
    "longer": N_("longer ago"),
    "unknown": N_("not known"),
}
PRESSURE = {
    "le90": N_("90 or less"),
    "to139": N_("91–139"),
    "to179": N_("140–179"),
    "to219": N_("180–219"),
    "ge220": N_("220 or more"),
    "none": N_("not measured"),
}
DRUGS = {
    "aspirin": N_("Aspirin"),
    "nitrate": N_("Nitroglycerin"),
    "anticoag": N_("Blood thinner"),
    "beta": N_("Beta blocker"),
    "digoxin": N_("Digoxin"),
    "rhythm": N_("Drug for the rhythm"),
    "none": N_("None of these"),
}
CONSENT = {"yes": N_("Agrees"), "no": N_("Refuses"), "later": N_("Cannot be asked now")}
"""What a clinic may answer about a patient (reading/symptoms.py)."""

KEPT = N_("Nothing is lost: the bytes are stored, and a reader sees the case.")
NOT_TAKEN = N_("Nothing was stored by this attempt. What you sent before is safe.")
NOTHING_DONE = N_("Nothing is lost and nothing was changed.")
MAYBE_TAKEN = N_("Anything that was given a receipt or is signed is safe. Trying again makes no double.")


@dataclass(frozen=True, slots=True)
class Words:
    """A problem in one language."""

    code: str
    what: str
    lost: str
    todo: str


def lookup(table: Mapping[str, str], _: Translate) -> Callable[[str], str]:
    """A filter that gives a code's words in one language, and a code without words as it is."""
    return lambda code: _(table[code]) if code in table else code


def answers(code: str, _: Translate) -> list[tuple[str, str]]:
    """The answers that a person may give to a question of who somebody is, with their words."""
    return [(value, _(words)) for value, words in IDENTITY_ANSWERS[code]]


def problem(code: str, _: Translate) -> Words:
    """The words of a code under which something lies in quarantine, or a pull fails."""
    found = find(code) or _UNREADABLE
    return Words(code, _(found.what), _(KEPT), _(found.todo))


def refusal(error: TelereadError, _: Translate) -> Words:
    """The words of an error that ended a request."""
    found, lost = _BY_KIND[next(kind for kind in _BY_KIND if isinstance(error, kind))]
    found, lost = find(error.code) or found, _LOST.get(error.code, lost)
    return Words(error.code, _(found.what), _(lost), _(found.todo))


# a session that has ended may have ended before an upload
_LOST = {"sign_in_needed": N_("Nothing was sent or stored by this attempt. What you sent before is safe.")}

_UNREADABLE = Problem(
    N_("The recording could not be read by the program."),
    N_("A person looks at it. If it is urgent, telephone as well."),
)

_BY_KIND: dict[type[TelereadError], tuple[Problem, str]] = {
    InputRejected: (
        Problem(N_("What was sent cannot be used."), N_("Check what you sent and try again.")),
        NOT_TAKEN,
    ),
    PeerError: (
        Problem(N_("Another system did not answer."), N_("Nothing to do: it is tried again by itself.")),
        NOTHING_DONE,
    ),
    StorageError: (PROBLEMS["store_unavailable"], MAYBE_TAKEN),
    Conflict: (
        Problem(N_("This does not fit the present state."), N_("Load the page again and look at the new state.")),
        NOTHING_DONE,
    ),
    AccessDenied: (
        Problem(N_("You may not do this."), N_("Sign in with an account that may, or ask the alliance's office.")),
        NOTHING_DONE,
    ),
    Misconfigured: (
        Problem(N_("The system is not set up correctly."), N_("Tell the engineer on duty the code below.")),
        NOTHING_DONE,
    ),
    TelereadError: (
        Problem(
            N_("Something went wrong on our side."),
            N_("Try again. If it is urgent, telephone now and tell the code below."),
        ),
        MAYBE_TAKEN,
    ),
}
