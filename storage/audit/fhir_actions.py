"""What each of our words for an act is in FHIR. A word that stands not here is exported as an application activity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Pattern = Literal["read", "query", "create", "update", "delete", "disclose", "login", "logout", "application"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """An act's pattern.

    Args:
        pattern: one of IHE's Basic Audit Log Patterns, or an event of DICOM PS3.15 for which there is none.
        purpose: code of HL7's v3-ActReason.
        failed: whether the word tells of an act that did not succeed.
    """

    pattern: Pattern
    purpose: str | None = None
    failed: bool = False


_TREATMENT, _OPERATIONS, _SYSTEM = "TREAT", "HOPERAT", "HSYSADMIN"

GENERIC = Meaning("application")
MEANINGS: dict[str, Meaning] = {
    # how a study comes in and is made ready
    "land": Meaning("create", _TREATMENT),
    "adopt": Meaning("create", _OPERATIONS),
    "prepare": Meaning("update", _TREATMENT),
    "raise": Meaning("update", _TREATMENT),
    "enqueue": Meaning("update", _TREATMENT),
    "quarantine": Meaning("update", _OPERATIONS),
    "retry": Meaning("update", _OPERATIONS),
    "replace_rotten": Meaning("update", _OPERATIONS),
    # reading
    "list": Meaning("query", _TREATMENT),
    "explain": Meaning("query", _OPERATIONS),
    "view": Meaning("read", _TREATMENT),
    "join": Meaning("read", _TREATMENT),
    "sign": Meaning("create", _TREATMENT),
    "break_glass": Meaning("read", _TREATMENT),
    "review_break_glass": Meaning("update", _OPERATIONS),
    "flag_verdict": Meaning("update", _TREATMENT),
    "claim": Meaning("update", _TREATMENT),
    "end_claim": Meaning("update", _TREATMENT),
    "assign": Meaning("update", _TREATMENT),
    "prefetch": Meaning("read", _TREATMENT),
    "grade": Meaning("create", _TREATMENT),
    "withdraw_request": Meaning("update", _TREATMENT),
    "notice_seen": Meaning("update", _TREATMENT),
    "form": Meaning("update", _TREATMENT),
    "acknowledge": Meaning("update", _TREATMENT),
    "raise_critical": Meaning("create", _TREATMENT),
    "join_critical": Meaning("update", _TREATMENT),
    "tell": Meaning("disclose", _TREATMENT),
    "call": Meaning("update", _TREATMENT),
    "read_back": Meaning("update", _TREATMENT),
    "own_critical": Meaning("update", _TREATMENT),
    "escalate_critical": Meaning("update", _TREATMENT),
    "contact_key": Meaning("disclose", _SYSTEM),
    "contact_test": Meaning("update", _OPERATIONS),
    # leaving the alliance's hands
    "download": Meaning("disclose", _TREATMENT),
    "give_back": Meaning("disclose", _TREATMENT),
    "export_report": Meaning("disclose", _TREATMENT),
    "export_raw": Meaning("disclose", _OPERATIONS),
    "export_audit": Meaning("read", _OPERATIONS),
    # patients
    "enroll": Meaning("create", _TREATMENT),
    "identity_changed": Meaning("update", _OPERATIONS),
    "identity_question": Meaning("create", _OPERATIONS),
    "identity_answer": Meaning("update", _OPERATIONS),
    "identity_correction": Meaning("update", _OPERATIONS),
    "link": Meaning("update", _OPERATIONS),
    "unlink": Meaning("update", _OPERATIONS),
    "forget": Meaning("delete", _OPERATIONS),
    # keeping the store whole
    "correction_open": Meaning("update", _TREATMENT),
    "correction_close": Meaning("update", _TREATMENT),
    "identity_disputed": Meaning("update", _TREATMENT),
    "enrolled_twice": Meaning("update", _OPERATIONS),
    "disown": Meaning("update", _OPERATIONS),
    "accept": Meaning("update", _TREATMENT),
    "rotate_master": Meaning("update", _SYSTEM),
    "new_intake_key": Meaning("create", _SYSTEM),
    "retire_intake_key": Meaning("delete", _SYSTEM),
    "set_recovery_key": Meaning("update", _SYSTEM),
    "sweep_orphans": Meaning("delete", _OPERATIONS),
    "remake_copy": Meaning("create", _OPERATIONS),
    "withdraw_copy": Meaning("delete", _OPERATIONS),
    "decide_deletion": Meaning("update", _OPERATIONS),
    "delete": Meaning("delete", _OPERATIONS),
    "deletion_final": Meaning("delete", _OPERATIONS),
    "hold": Meaning("create", _OPERATIONS),
    "lift_hold": Meaning("delete", _OPERATIONS),
    "encounter": Meaning("create", _OPERATIONS),
    "discharge": Meaning("update", _OPERATIONS),
    "encounter_amended": Meaning("update", _OPERATIONS),
    "encounter_withdrawn": Meaning("delete", _OPERATIONS),
    "mend_object_row": Meaning("update", _OPERATIONS),
    "object_back": Meaning("update", _OPERATIONS),
    "scrub_found": Meaning("application", _OPERATIONS),
    "audit_section": Meaning("application", _SYSTEM),
    "backup": Meaning("application", _SYSTEM),
    "backup_dropped": Meaning("delete", _SYSTEM),
    "restore": Meaning("application", _SYSTEM),
    # accounts
    "sign_in": Meaning("login"),
    "sign_in_failed": Meaning("login", failed=True),
    "sign_out": Meaning("logout"),
    "create_account": Meaning("create", _SYSTEM),
    "set_password": Meaning("update", _SYSTEM),
    "set_role": Meaning("update", _SYSTEM),
    "set_display_name": Meaning("update", _SYSTEM),
    "disable_account": Meaning("update", _SYSTEM),
    "enable_account": Meaning("update", _SYSTEM),
    "lock_account": Meaning("update", _SYSTEM),
    "end_sessions": Meaning("update", _SYSTEM),
    "second_factor": Meaning("login"),
    "second_factor_failed": Meaning("login", failed=True),
    "begin_second_factor": Meaning("update", _SYSTEM),
    "reset_second_factor": Meaning("update", _SYSTEM),
    "set_letter_keys": Meaning("update", _SYSTEM),
    "list_people": Meaning("read", _SYSTEM),
    "read_audit": Meaning("query", _OPERATIONS),
    "make_signing_key": Meaning("create", _SYSTEM),
    "change_pin": Meaning("update", _SYSTEM),
    "pin_wrong": Meaning("login", failed=True),
    "pin_locked": Meaning("login", failed=True),
    "invite_agent": Meaning("create", _SYSTEM),
    "enrol_agent": Meaning("create", _SYSTEM),
    "enrol_agent_failed": Meaning("create", _SYSTEM, failed=True),
    "renew_agent": Meaning("update", _SYSTEM),
    "revoke_agent": Meaning("delete", _SYSTEM),
}
