"""What happened and what to do, for every code that teleread raises. English here, Chinese in the catalogue."""

from __future__ import annotations

from dataclasses import dataclass

from teleread.ingest.formats.registry import FORMATS
from teleread.web.i18n import N_


@dataclass(frozen=True, slots=True)
class Problem:
    """What happened, and what to do about it."""

    what: str
    todo: str


_EXPORT_AGAIN = N_("Export the recording from the device again and send it. If it is urgent, telephone as well.")
_TELL_ENGINEER = N_("Tell the engineer on duty the code below.")
_RELOAD = N_("Load the page again and look at the new state.")
_PEER = N_("Nothing to do: it is tried again by itself. If it lasts, telephone the site's engineer.")
_SEND_AGAIN = N_("Keep the recording and send it again in a minute. If it is urgent, telephone now.")

_BROKEN = Problem(N_("The file is damaged or incomplete."), _EXPORT_AGAIN)
_NOT_ECG = Problem(N_("The file holds no recording in a form that the program can read."), _EXPORT_AGAIN)
_TOO_MUCH = Problem(
    N_("Reading the file took more time or memory than is allowed."),
    N_("A person looks at it. If it is urgent, telephone as well."),
)
_ANALYSIS = Problem(
    N_("The program could not analyse the recording. The tracing is shown as it arrived."),
    N_("A person looks at it. If it is urgent, telephone as well."),
)
_UNSUPPORTED = Problem(
    N_("The file is in a variant that the program cannot show or analyse yet."),
    N_("A person looks at it. If it is urgent, telephone as well."),
)
_PICTURE = Problem(
    N_("This is a picture or a PDF of an ECG. It cannot be measured: it is read by eye."),
    N_("A person looks at it. Where the device can export the recording itself (DICOM, aECG, SCP), send that as well."),
)
_NO_SCALE = Problem(
    N_("The file does not say at which rate or scale it was recorded, and nothing is guessed."),
    N_("Export the recording in another format (DICOM, aECG, SCP) and send it. If it is urgent, telephone as well."),
)
_SETUP = Problem(N_("The system is not set up correctly."), _TELL_ENGINEER)
# met by nurses and readers alike: neither is told what only the other can do
_STORE = Problem(
    N_("The store does not answer just now."),
    N_("Keep the recording or the text that you have and try again in a minute. If it is urgent, telephone now."),
)
_FULL = Problem(
    N_("The disk is full: nothing new can be stored."),
    N_("The engineer on duty must free space: telephone now and tell the code below. Keep what you have until then."),
)
_UNWRITABLE = Problem(
    N_("The disk cannot be written to."),
    N_("The engineer on duty must look at the disk: telephone now and tell the code. Keep what you have until then."),
)
_CORRUPT = Problem(N_("Something stored does not read back as it was written."), _TELL_ENGINEER)
_UNREACHABLE = Problem(N_("The site's system cannot be reached."), _PEER)
_NOTHING_LISTENS = Problem(
    N_("Nothing listens at the site's address."),
    N_("Ask the site's engineer whether the system runs, and check host and port; it is tried again by itself."),
)
_REJECTED = Problem(
    N_("The site's system answers and rejects the association."),
    N_("Ask the site's engineer to enter our AE title and to check theirs; it is tried again by itself."),
)
_SILENT = Problem(N_("The site's system stopped answering."), _PEER)
_FOLDER_MISSING = Problem(
    N_("The folder is not there."),
    N_("Check the folder's name and that its share is connected; it is tried again by itself."),
)
_FOLDER_DENIED = Problem(
    N_("The folder is there, but its permissions forbid it."),
    N_("Check what the account that runs teleread may do there; it is tried again by itself."),
)
_FOLDER = Problem(
    N_("The folder cannot be read or written."),
    N_("Check the disk or share that it lies on; it is tried again by itself."),
)
_AGAIN = Problem(
    N_("The file did not come through whole yet."),
    N_("Nothing to do: it goes on by itself. Do not repeat the ECG. If it is urgent, telephone as well."),
)
_INVALID = Problem(N_("The request cannot be understood."), N_("Go back to the start and try again."))
_NOTHING = Problem(N_("There is nothing at this address, or it is not yours to see."), N_("Go back to the start."))

_TYPED_STAYS = N_("What you typed stays on the page; put it right and sign again.")
_LOOK_AGAIN = N_("Load the page again, look at what is new, then decide.")
_CLAIM = Problem(
    N_("You do not have this case any more, or have not claimed it."),
    N_("What you typed is kept as a draft where nobody else has the case. Load the page again and claim it."),
)
_DOCUMENT = Problem(N_("The file is not a report that was exported here, or it was changed."), _TELL_ENGINEER)

_FAMILIES: tuple[tuple[Problem, tuple[str, ...]], ...] = (
    (_TOO_MUCH, ("analysis_timeout", "too_much_memory", "too_much_output", "worker_crashed")),
    (_ANALYSIS, ("analysis_failed",)),
    (_PICTURE, ("picture_not_measured",)),
    (_UNREACHABLE, ("peer_unreachable", "site_not_connected")),
    (_NOTHING_LISTENS, ("peer_refused",)),
    (_REJECTED, ("peer_rejected",)),
    (_SILENT, ("peer_silent", "peer_aborted", "peer_failed")),
    (_STORE, ("catalogue_busy", "catalogue_unreachable", "vault_busy", "vault_unreachable", "store_unreachable")),
    (_STORE, ("store_unavailable", "receipt_missing")),
    (_FULL, ("catalogue_full", "store_full", "vault_full", "disk_full")),
    (_UNWRITABLE, ("catalogue_readonly", "vault_readonly", "catalogue_io", "store_io", "vault_io")),
    (
        _CORRUPT,
        (
            "object_corrupt",
            "object_missing",
            "object_key_missing",
            "object_exists",
            "catalogue_corrupt",
            "vault_corrupt",
        ),
    ),
    (_NOTHING, ("not_found", "case_unknown", "no_such_arrival", "no_such_report", "frame_out_of_range")),
    (_INVALID, ("request_invalid", "method_not_allowed", "request_too_large")),
    (_INVALID, ("upload_invalid", "upload_checksum_unknown", "upload_media_type", "upload_too_long", "tus_version")),
    (_AGAIN, ("upload_offset", "upload_locked", "upload_checksum", "upload_hash_mismatch")),
    (_INVALID, ("bad_window", "flag_verdict_unknown", "window_needs_ct", "bad_size", "name_missing")),
    (_FOLDER_MISSING, ("folder_missing",)),
    (_FOLDER_DENIED, ("folder_denied", "file_denied")),
    (_FOLDER, ("folder_unreadable", "folder_unwritable", "file_unreadable")),
    (_SETUP, ("report_path_missing", "site_has_no_folder", "pool_unavailable", "pool_closed")),
    (_SETUP, ("ladder_invalid", "ladder_unreadable")),
    (_SETUP, ("alliance_invalid", "alliance_missing", "settings_invalid", "route_without_guard")),
    (_SETUP, ("flag_profile_unknown", "flag_profile_not_in_effect", "flag_profile_invalid")),
    (_UNSUPPORTED, ("format_unsupported", "dicom_unsupported", "not_one_image", "dicom_too_large", "file_too_large")),
    (_NOT_ECG, ("dicom_no_image", "dicom_not_part10", "dicom_no_instance")),
    (_CLAIM, ("claim_lost", "claim_needed")),
    (_DOCUMENT, ("document_unreadable", "document_not_canonical", "bundle_unreadable", "signature_algorithm_unknown")),
    (_CORRUPT, ("signing_key_corrupt",)),
    (_INVALID, ("draft_invalid", "statement_unknown")),
)

_SINGLE: dict[str, Problem] = {
    "empty_upload": Problem(
        N_("Nothing was sent: the file is empty, or none was chosen."),
        N_("Choose the recording again."),
    ),
    "upload_too_large": Problem(
        N_("The file is larger than this page takes."),
        N_("Send one recording at a time; telephone if it is urgent."),
    ),
    "spool_damaged": Problem(
        N_("The recording was damaged on this PC's disk before it could be sent."),
        N_("Record the ECG again. If it is urgent, telephone now."),
    ),
    "line_broken": Problem(
        N_("The line to the lead hospital is broken."),
        N_("Nothing to do: it is sent by itself once the line is back. If it is urgent, telephone now."),
    ),
    "not_landed_yet": Problem(
        N_("The lead hospital has the file and has not stored it for good yet."),
        N_("Nothing to do: it is asked again by itself."),
    ),
    "server_not_trusted": Problem(
        N_("Somebody else answers at the lead hospital's address, or its certificate has changed."),
        N_("Tell the lead hospital's engineer: this PC needs a new invitation. If it is urgent, telephone now."),
    ),
    "agent_shut_out": Problem(
        N_("The lead hospital has shut this PC out."),
        N_(
            "Saved and not lost, but it is not sent. Telephone the lead hospital for each urgent case, and ask its "
            "engineer for a new invitation."
        ),
    ),
    "agent_expired": Problem(
        N_("The time for which this PC may send is over."),
        N_(
            "Saved and not lost, but it is not sent. Telephone the lead hospital for each urgent case, and ask its "
            "engineer for a new invitation."
        ),
    ),
    "agent_not_known": Problem(
        N_("The lead hospital does not know this PC."),
        N_(
            "Saved and not lost, but it is not sent. Telephone the lead hospital for each urgent case, and ask its "
            "engineer for a new invitation."
        ),
    ),
    "invitation_unknown": Problem(
        N_("This invitation is wrong, was used before, or is too old."),
        N_("Nothing is lost. Check every letter, or ask the lead hospital's engineer for a new invitation."),
    ),
    "too_early_to_renew": Problem(N_("This PC's certificate is good for long enough."), N_("Nothing to do.")),
    "folder_gone": Problem(
        N_("The watched folder cannot be read: the share is gone, or the cart is off."),
        N_(
            "What was taken from it before is safe. New recordings stay where they are and are NOT sent: switch the "
            "cart or the share on, or drop the files here. It is looked at again by itself."
        ),
    ),
    "agent_disk_full": Problem(
        N_("The disk of this PC is full or broken: new recordings are not taken."),
        N_(
            "What was saved before is safe. Free space on this PC; do not delete recordings on the cart. If it is "
            "urgent, telephone now."
        ),
    ),
    "agent_failed": Problem(
        N_("The program on this PC has met a fault of its own."),
        N_("What was saved is safe and is tried again by itself. If it is urgent, telephone now."),
    ),
    "verdict_not_carried": Problem(
        N_("This PC cannot judge recordings by itself: the agent's file was built for another system or Python."),
        N_(
            "Nothing is lost: everything is sent, and the verdict comes from the lead hospital once the line is there. "
            "For verdicts without a line ask its engineer for a file built for this PC."
        ),
    ),
    "verdict_unusable": Problem(
        N_("This PC cannot judge recordings just now: what is needed for it cannot be unpacked or used."),
        N_(
            "Nothing is lost: everything is sent, and the verdict comes from the lead hospital once the line is there. "
            "Free space on this PC; it is tried again by itself."
        ),
    ),
    "queue_elsewhere": Problem(
        N_(
            "Recordings wait on this PC for the lead hospital and site that it was enrolled at before; "
            "nothing was changed."
        ),
        N_(
            "They would be sent to the new place, where nobody expects these patients. Let them be sent first, or "
            "telephone for the urgent ones; if they are meant to go to the new place, enrol again with "
            "--send-queue-there. If the new place says that the invitation was used, ask for another one."
        ),
    ),
    "urgent_not_told": Problem(
        N_("The lead hospital does not know this recording any more, so it could not be made urgent there."),
        N_("Telephone now and tell the receipt number."),
    ),
    "too_many_uploads": Problem(
        N_("Very many files of this site are on their way already."),
        N_("Wait until some have arrived; the others are sent by themselves. If it is urgent, telephone now."),
    ),
    "too_many_downloads": Problem(
        N_("Too many reports were fetched within a minute."), N_("Wait a minute, then fetch the rest.")
    ),
    "form_invalid": Problem(
        N_("An answer of the form cannot be right; it was not saved."),
        N_("Check the blood pressure. The recording itself is not concerned."),
    ),
    "upload_interrupted": Problem(N_("The line broke before everything had arrived."), _SEND_AGAIN),
    "upload_stalled": Problem(N_("The line stood still for a minute before everything had arrived."), _SEND_AGAIN),
    "format_unknown": Problem(
        _NOT_ECG.what,
        N_(
            "If it is WFDB, choose the .hea and the .dat file together and send them; if not, export the recording "
            "from the device again, as DICOM, aECG or SCP, and send it. If it is urgent, telephone as well."
        ),
    ),
    "several_recordings": Problem(
        N_("More than one recording was sent together."),
        N_("Send one recording at a time. If it is urgent, telephone as well."),
    ),
    "wfdb_missing_file": Problem(
        N_("A WFDB recording has two files, and one of them is missing."),
        N_("Choose the .hea and the .dat file together and send them again."),
    ),
    "sign_in_needed": Problem(N_("You are not signed in, or your session has ended."), N_("Sign in and try again.")),
    "sign_in_wrong": Problem(N_("Name or password is wrong."), N_("Check both and try again.")),
    "too_many_attempts": Problem(N_("Too many attempts to sign in."), N_("Wait a minute, then try again.")),
    "role_not_allowed": Problem(
        N_("This page is not for your kind of account."),
        N_("Go back to the start, or sign in with another account."),
    ),
    "account_without_site": Problem(N_("This account belongs to no site."), _TELL_ENGINEER),
    "cross_site_request": Problem(
        N_("The request did not come from a page of ours."),
        N_("Open the page from the address that you know and try again."),
    ),
    "case_not_open": Problem(N_("This case is not waiting for a report any more."), _RELOAD),
    "case_claimed": Problem(N_("Somebody else is reading this case."), N_("Take the next one.")),
    "case_not_yours": Problem(
        N_("This case is for other readers: it lies in a pool that you do not read now."),
        N_("Take another one. If nobody reads this one, tell the coordinator."),
    ),
    "claim_lost": Problem(
        N_("You no longer have this case. What was saved until then is kept as a draft."),
        N_("Claim the case again if it still waits; else go on with the next one."),
    ),
    "no_such_pool": Problem(N_("There is no such pool now."), _RELOAD),
    "too_many_streams": Problem(
        N_("You have this list open too often."), N_("Nothing to do: this page asks every few seconds instead.")
    ),
    "identity_under_correction": Problem(
        N_("Whose recording it is is being corrected, so the report is held."),
        N_("Nothing to do: it is given back when the correction is closed. If it is urgent, telephone."),
    ),
    "no_open_correction": Problem(N_("This case's identity is not under correction any more."), _RELOAD),
    "case_without_study": Problem(
        N_("Nothing of this recording could be read, so it names no patient."),
        N_("Telephone the clinic and ask for a new recording; this one can be confirmed and closed."),
    ),
    "question_answered": Problem(N_("Somebody has answered this question."), _RELOAD),
    "answer_unknown": Problem(N_("The form names no answer."), _RELOAD),
    "reason_missing": Problem(N_("A reason is missing."), N_("Go back, say why in a few words, and try again.")),
    "reason_too_long": Problem(N_("The reason is too long."), N_("Go back and shorten it.")),
    "patient_id_missing": Problem(
        N_("The patient's number, or whose number it is, is missing."), N_("Go back and fill in both.")
    ),
    "issuer_unknown": Problem(
        N_("Nobody of this alliance issues patient numbers under this name."), N_("Go back and choose again.")
    ),
    "issuer_foreign": Problem(
        N_("That number is another issuer's: you can name patients of your own site."),
        N_("Go back and give your own number, or ask a reader by telephone to name the patient."),
    ),
    "identity_invalid": Problem(
        N_("A name, a number or an issuer is too long or cannot be used."), N_("Go back and correct it.")
    ),
    "birth_date_invalid": Problem(
        N_("The birth date is no day, or lies in the future."), N_("Go back and write it like 1962-03-04.")
    ),
    "sex_invalid": Problem(N_("The sex is not one of those to choose from."), N_("Go back and choose again.")),
    "no_such_case": Problem(N_("There is no such case."), N_("Check the number and try again.")),
    "no_such_patient": Problem(N_("There is no such patient."), _RELOAD),
    "same_patient": Problem(N_("These are one patient already."), _RELOAD),
    "arrival_without_patient": Problem(N_("This recording names no patient, or is not prepared yet."), _RELOAD),
    "being_deleted": Problem(N_("This patient's records are being deleted, as somebody has decided."), _TELL_ENGINEER),
    "no_such_link": Problem(N_("These two are not linked directly any more."), _RELOAD),
    "person_too_large": Problem(
        N_("More patients would be linked than one person can be."),
        N_("Look at the links that stand: one of them is wrong."),
    ),
    "bundle_no_recording": Problem(
        N_("No file in the ZIP file is a recording or an image that the program knows."), _EXPORT_AGAIN
    ),
    "bundle_bad_name": Problem(
        N_("The ZIP file holds links, or names that are not taken, so it was not unpacked."),
        N_("Send the recordings themselves, or a folder. If it is urgent, telephone as well."),
    ),
    "bundle_encrypted": Problem(
        N_("The ZIP file is protected by a password, so it was not unpacked."),
        N_("Send it without a password. If it is urgent, telephone as well."),
    ),
    "not_quarantined": Problem(N_("This is not in quarantine any more."), _RELOAD),
    "case_not_licensed": Problem(
        N_("This case is for readers with another licence."),
        N_("Leave it to them. In an emergency open it with a reason: the coordinators are told."),
    ),
    "break_glass_reason": Problem(N_("A reason is missing."), N_("Go back and choose one.")),
    "no_such_break_glass": Problem(N_("Somebody has looked at this already."), _RELOAD),
    "own_break_glass": Problem(N_("Nobody looks at their own access."), N_("Leave it to somebody else.")),
    "second_factor_needed": Problem(
        N_("The second factor is still missing."), N_("Give the code that your authenticator shows.")
    ),
    "second_factor_wrong": Problem(
        N_("This code is wrong or was used already."), N_("Wait for the next code and give that one.")
    ),
    "second_factor_missing": Problem(N_("This account has no second factor yet."), N_("Make one first.")),
    "second_factor_exists": Problem(N_("This account has a second factor already."), _RELOAD),
    "own_account": Problem(
        N_("Nobody closes or changes the role of their own account."), N_("Ask another administrator.")
    ),
    "last_administrator": Problem(
        N_("This is the last administrator."), N_("Make another administrator first, then try again.")
    ),
    "account_unknown": Problem(N_("There is no account of this name."), _RELOAD),
    "account_exists": Problem(N_("There is an account of this name."), N_("Go back and choose another name.")),
    "bad_account_name": Problem(
        N_("An account's name has 1 to 64 lower-case letters, digits and . _ @ -"), N_("Go back and correct it.")
    ),
    "bad_role": Problem(N_("There is no such role."), N_("Go back and choose again.")),
    "uploader_without_site": Problem(N_("A clinic's account belongs to a site."), N_("Go back and choose the site.")),
    "bad_display_name": Problem(N_("The name is too long or cannot be shown."), N_("Go back and correct it.")),
    "bad_password": Problem(N_("A password has 8 to 256 characters."), N_("Go back and choose another one.")),
    "passwords_differ": Problem(N_("The new password was typed in two ways."), N_("Go back and type the same twice.")),
    "password_wrong": Problem(N_("The present password is wrong."), N_("Go back and type it again.")),
    "claim_needed": Problem(
        N_("You have not claimed this case, or no longer have it."),
        N_("Claim it on its page, then do it again. If it is critical, telephone the clinic now."),
    ),
    "no_such_critical": Problem(N_("There is no such critical result."), _RELOAD),
    "critical_ended": Problem(
        N_("This critical result is settled already, or a later statement stands in its place."), _RELOAD
    ),
    "critical_reported": Problem(
        N_("A signed report says it: it cannot be taken back by itself."),
        N_("Correct the report; the clinic is then asked to acknowledge the correction."),
    ),
    "critical_not_yours": Problem(
        N_("This is for the coordinator, or for the reader who found it."),
        N_("If you have told the clinic by telephone, tell the coordinator whom and when."),
    ),
    "not_a_person": Problem(
        N_("Only a person of the clinic, signed in by name, can say that they have read a critical result."),
        N_("Sign in with your own account on the clinic's page and press “I have read this”."),
    ),
    "told_to_missing": Problem(
        N_("The name of the person whom you told is missing."), N_("Go back, choose or write it, and try again.")
    ),
    "code_invalid": Problem(N_("What was found is not named as it must be."), _RELOAD),
    "contact_unknown": Problem(N_("There is no such contact in today's rules."), _RELOAD),
    "report_empty": Problem(N_("The report has no text."), N_("Write the report, then sign.")),
    "report_reason_missing": Problem(
        N_("A correction or a withdrawal needs a reason."), N_("Write the reason below the report, then sign.")
    ),
    "report_changed": Problem(N_("Another version of this report was signed meanwhile."), _LOOK_AGAIN),
    "report_already_final": Problem(
        N_("This case has a final report."), N_("Sign an addendum or a correction instead.")
    ),
    "report_not_final": Problem(N_("There is no final report that this could follow."), _LOOK_AGAIN),
    "not_your_report": Problem(
        N_("Only its signer or a senior reader corrects or withdraws a report."),
        N_("Sign an addendum, or ask a senior reader."),
    ),
    "statements_contradict": Problem(N_("Two statements of the report exclude each other."), _TYPED_STAYS),
    "statements_too_many": Problem(N_("The report has too many statements."), _TYPED_STAYS),
    "flags_unanswered": Problem(
        N_("A flag of the program is neither rejected nor answered by a statement."),
        N_("Reject it (X), or choose the statement that says it; then sign."),
    ),
    "normal_urgent": Problem(
        N_("This case is urgent: the normal that two keys make is not for it."),
        N_("Choose its statements one by one, then sign."),
    ),
    "opinion_asked": Problem(N_("A second opinion on this case has been asked for already."), _RELOAD),
    "urgent_waits": Problem(
        N_("This case is urgent: it stays in your hands while an opinion is asked."),
        N_("Ask the opinion and go on; sign a preliminary report meanwhile."),
    ),
    "question_missing": Problem(
        N_("Nothing is asked: the question is empty."), N_("Write what you want to know, then send it.")
    ),
    "question_too_long": Problem(
        N_("The question is too long."), N_("Shorten it; your colleague has the whole recording.")
    ),
    "not_yours_to_withdraw": Problem(
        N_("Only who has asked for it, or has the case now, withdraws it."), N_("Ask them, or a coordinator.")
    ),
    "not_yours_to_ask": Problem(
        N_("Only who reads this case or has read it, a senior reader or a coordinator asks about it."),
        N_("Take the case first."),
    ),
    "blind_until_signed": Problem(
        N_("You read this case a second time: its first report opens when you have signed yours."),
        N_("Go back to your reading."),
    ),
    "bad_grade": Problem(
        N_("The grade of a second reading is none of those to choose from."), N_("Choose one from 0 to 3.")
    ),
    "note_too_long": Problem(N_("The note is too long."), N_("Shorten it, then grade.")),
    "not_yours_to_grade": Problem(N_("Only who has signed the second reading grades it."), _RELOAD),
    "already_graded": Problem(N_("This second reading has been graded."), _RELOAD),
    "illegal_transition": Problem(N_("This cannot happen to the case as it stands now."), _RELOAD),
    "draft_changed": Problem(
        N_("The draft was saved in another window or by another reader."),
        N_("Nothing is saved over it. Copy what you typed, load the page again, and put both together."),
    ),
    "pin_needed": Problem(N_("Signing needs your PIN."), N_("Type it and sign.")),
    "pin_wrong": Problem(N_("The PIN is wrong."), N_("Type it again; after five wrong ones it is locked for a while.")),
    "pin_locked": Problem(
        N_("Too many wrong PINs: signing is locked for fifteen minutes."),
        N_("Your draft is kept. If it is urgent, telephone the clinic now and ask another reader to sign."),
    ),
    "no_signing_key": Problem(N_("You have no PIN for signing yet."), N_("Set one; your draft is kept.")),
    "bad_pin": Problem(
        N_("This cannot be a PIN: it has fewer than six characters, or is one that everybody tries first."),
        N_("Choose another one."),
    ),
    "pins_differ": Problem(N_("The two PINs differ."), N_("Type both again.")),
    "report_too_long": Problem(N_("The report is too long."), N_("Shorten it, then sign.")),
    "site_not_pulled": Problem(N_("This site's studies are not fetched by us."), _TELL_ENGINEER),
    "internal_error": Problem(
        N_("Something went wrong on our side."),
        N_("Try again. If it is urgent, telephone now and tell the code below."),
    ),
}

PROBLEMS: dict[str, Problem] = {code: one for one, codes in _FAMILIES for code in codes} | _SINGLE

# parsers name what is wrong with a file as <format>_<what>: a new format needs no new words
_ENDINGS: tuple[tuple[Problem, tuple[str, ...]], ...] = (
    (_TOO_MUCH, ("_bomb", "_ratio", "_nested", "_too_deep", "_too_large", "_too_big", "_too_long")),
    (_TOO_MUCH, ("_too_many", "_too_many_elements", "_too_much")),
    (_UNSUPPORTED, ("_unsupported", "_encrypted", "_multi_segment")),
    (_NO_SCALE, ("_no_scale", "_no_rate", "_no_unit")),
    (_NOT_ECG, ("_unknown", "_no_ecg_lead", "_no_waveform", "_empty")),
)
_FORMATS = frozenset({"bundle", "dicom", "ecg", "file", "picture", "wfdb", "xml", *(one.name for one in FORMATS)})


def find(code: str) -> Problem | None:
    """The words of a code: its own, else those of its ending, else "damaged" for a known file format."""
    if code in PROBLEMS:
        return PROBLEMS[code]
    for words, endings in _ENDINGS:
        if code.endswith(endings):
            return words
    return _BROKEN if code.split("_")[0] in _FORMATS else None
