"""The agent's words in both languages, as one file that goes with it: ``python -m teleread.web.agent_words``.

The agent has no gettext and no catalogue; what it says is translated here like everything else and written to
``teleread/agent/words.json``. A test fails while that file is not what this writes.
"""

from __future__ import annotations

import json
import sys
from importlib import resources
from pathlib import Path

from teleread.web import texts
from teleread.web.findings import ELECTRODES, FAULTS, REMEDIES
from teleread.web.i18n import LANGUAGES, N_, load_translations

PAGE = {
    "title": N_("Sending recordings"),
    "line_ok": N_("The line to the lead hospital is in order."),
    "line_down": N_("No line to the lead hospital since {time}."),
    "line_refused": N_("The lead hospital takes nothing from this PC since {time}."),
    "line_unknown": N_("Trying to reach the lead hospital …"),
    "telephone_is": N_("Telephone of the lead hospital: {number}"),
    "kept": N_("Saved on this PC. Nothing is lost. Do not repeat the ECG."),
    "ends_soon": N_(
        "This PC may send until {time} only. Nothing is lost; tell the lead hospital's engineer if this stays."
    ),
    "other_failure": N_("A fault with the code {code}. It is tried again by itself; if it is urgent, telephone now."),
    "safe": N_("Saved, will be sent by itself. Do not repeat the ECG."),
    "not_enrolled": N_("This PC is not enrolled yet. What you drop here is saved and will be sent afterwards."),
    "telephone_now": N_("URGENT and not yet arrived: telephone now"),
    "waiting": N_("{n} waiting, {urgent} of them urgent"),
    "nothing_waits": N_("Nothing waits to be sent."),
    "drop": N_("Drop recordings here, or choose them"),
    "choose": N_("Choose files"),
    "as_urgent": N_("Send as URGENT"),
    "as_routine": N_("Send"),
    "make_urgent": N_("Urgent after all"),
    "urgent": N_("Urgent"),
    "raising": N_("URGENT after all: saved on this PC, the lead hospital is being told."),
    "raised": N_("URGENT after all: the lead hospital was told at {time}."),
    "watched": N_("Recordings that appear in this folder are sent by themselves:"),
    "queued": N_("saved, will be sent"),
    "sending": N_("being sent, {n} %"),
    "sent": N_("arrived, receipt {receipt}"),
    "refused": N_("not taken"),
    "clock": N_("The clock of this PC is wrong by {n} minutes. The lead hospital goes by its own."),
    "green": N_("GREEN: well recorded"),
    "amber": N_("AMBER: usable, with faults"),
    "red": N_("RED: hard to read"),
    "none": N_("not judged here"),
    "judging": N_("being judged …"),
    "unreadable": N_("AMBER: not analysed"),
    "whole": N_("whole recording"),
    "case_SCHEDULED": N_("waiting for a reader"),
    "case_IN PROGRESS": N_("being read"),
    "case_COMPLETED": N_("read"),
    "report": N_("The report is here: read it on the lead hospital's page."),
    "critical": N_("CRITICAL report: read it now"),
    "reports": N_("Reports"),
    "version": N_("version {n}"),
    "report_final": N_("Report"),
    "report_preliminary": N_("PRELIMINARY report: to be confirmed"),
    "report_addendum": N_("Report with an addendum"),
    "report_corrected": N_("CORRECTED report: an earlier sheet no longer holds"),
    "report_withdrawn": N_("Report WITHDRAWN: do not use an earlier sheet"),
    "report_here": N_("signed, on this PC"),
    "report_coming": N_("signed, being fetched"),
    "report_newer": N_("signed, being fetched; an earlier sheet no longer holds"),
    "report_taken_away": N_("signed; its file was taken out of the folder for reports"),
    "report_held": N_("Whose recording this is is being corrected: do not use the report for this patient yet"),
    "report_open": N_("An old sheet could not be put aside: close it wherever it is open, and do not use it"),
    "report_confirm": N_("Then confirm by name on the lead hospital's page that you have read it."),
    "signature_not_checked": N_("The signature was not checked on this PC; it stands in the signed document."),
    "signature_none": N_("Signed before there were signatures."),
    "sheet": N_("Report to print (PDF)"),
    "document": N_("Signed document (JSON)"),
    "reports_in": N_("Signed reports lie in this folder:"),
    "open_page": N_("Open the lead hospital's page"),
    "lately": N_("Lately"),
    "time": N_("Time"),
    "recording": N_("Recording"),
    "quality": N_("Quality"),
    "state": N_("State"),
    "taken": N_("Saved."),
    "not_saved": N_("It could not be saved on this PC: its disk is full or broken. Keep the recording and telephone."),
    "not_saved_urgent": N_("It could not be saved on this PC that this is urgent: its disk is full. Telephone now."),
    "not_a_file": N_("A folder or an empty file cannot be sent from here. Choose the files in it."),
    "not_taken": N_("{n} NOT taken by the lead hospital: the reason stands below. If it is urgent, telephone now."),
    "no_agent": N_("The agent on this PC does not answer. Start it again; what it has saved is safe."),
}
CODES = (
    "line_broken",
    "server_not_trusted",
    "agent_shut_out",
    "agent_expired",
    "agent_not_known",
    "invitation_unknown",
    "folder_gone",
    "agent_disk_full",
    "agent_failed",
    "verdict_not_carried",
    "verdict_unusable",
    "urgent_not_told",
    "queue_elsewhere",
    "spool_damaged",
    "disk_full",
    "store_io",
    "store_unavailable",
    "upload_hash_mismatch",
    "upload_too_large",
    "empty_upload",
    "too_many_uploads",
    "not_landed_yet",
    "format_unknown",
)
"""Codes of failures that the agent shows; any other is shown as it is."""
REPORT_CODES = {
    "report_damaged": N_(
        "The report did not come through as the lead hospital has it, and was not kept. It is fetched again by itself; "
        "read it on the lead hospital's page until then."
    ),
    "report_signature_wrong": N_(
        "The report's signature is wrong, so it was not kept. Telephone the lead hospital and tell the receipt number."
    ),
    "report_too_large": N_(
        "The report is larger than this PC takes. Read it on the lead hospital's page, and tell its engineer."
    ),
    "report_not_understood": N_(
        "The program on this PC does not understand the report. Read it on the lead hospital's page, and tell its "
        "engineer."
    ),
    "report_not_saved": N_(
        "The report could not be saved: the disk is full, or the folder for reports is not there. It is tried again by "
        "itself; read it on the lead hospital's page until then."
    ),
    "report_open": N_(
        "The new report could not be saved because an old one is open in another program. Close it, and do not use it; "
        "the new one is saved by itself then."
    ),
    "report_gone": N_(
        "The lead hospital does not give this report any more. Telephone it before you use a sheet of it."
    ),
    "report_changed_here": N_("The report's file was changed or damaged on this PC. It is fetched anew by itself."),
    "report_changes": N_("The report is being changed just now. It is fetched again by itself."),
}
"""Why the files of a report are not here."""


def words() -> dict[str, dict[str, str]]:
    """All words by language and key."""
    found: dict[str, dict[str, str]] = {}
    for language, translations in load_translations().items():
        say = translations.gettext
        found[language] = {key: say(text) for key, text in PAGE.items()}
        for prefix, table in (("fault", FAULTS), ("remedy", REMEDIES), ("electrode", ELECTRODES)):
            found[language] |= {f"{prefix}.{code}": say(text) for code, text in table.items()}
        for code in CODES:
            problem = texts.problem(code, say)
            found[language][f"code.{code}"] = f"{problem.what} {problem.todo}"
        found[language] |= {f"code.{code}": say(text) for code, text in REPORT_CODES.items()}
        # an agent cannot sign in: for it the same refusal means that nobody knows its certificate
        found[language]["code.sign_in_needed"] = found[language]["code.agent_not_known"]
    return {language: found[language] for language in LANGUAGES}


def to_text() -> str:
    """The file's content."""
    return json.dumps(words(), ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Write the file."""
    Path(str(resources.files("teleread.agent") / "words.json")).write_text(to_text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
