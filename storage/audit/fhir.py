"""Events as FHIR R4 AuditEvent, after IHE ITI's Basic Audit Log Patterns (BALP 1.1) where one fits.

https://hl7.org/fhir/R4/auditevent.html, https://profiles.ihe.net/ITI/BALP/. A patient is the reading pseudonym: an
identifier that leads to nobody without the vault. What we do not record, such as network addresses, is said to be
unknown, never made up.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

from teleread.storage.audit.exporting import Event
from teleread.storage.audit.fhir_actions import GENERIC, MEANINGS, Meaning

_PROFILES = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
_DCM = "http://dicom.nema.org/resources/ontology/DCM"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem/"
_REST = {"system": _TERMINOLOGY + "audit-event-type", "code": "rest", "display": "Restful Operation"}
_INTERACTION = "http://hl7.org/fhir/restful-interaction"
_ABSENT = "http://hl7.org/fhir/StructureDefinition/data-absent-reason"
_SYSTEM = "urn:teleread:"

_SOURCE = (_DCM, "110153", "Source Role ID")
_DESTINATION = (_DCM, "110152", "Destination Role ID")
_APPLICATION = (_DCM, "110150", "Application")
_CUSTODIAN = (_TERMINOLOGY + "provenance-participant-type", "custodian", "Custodian")
_AUTHOR = (_TERMINOLOGY + "v3-ParticipationType", "AUT", "author (originator)")
_RECIPIENT = (_TERMINOLOGY + "v3-ParticipationType", "IRCP", "information recipient")

# pattern: profile, type, subtype, action, role of who asks, role of who answers, role of the person
_PATTERNS: dict[str, tuple[str | None, dict[str, str], tuple[str, str] | None, str, Any, Any, Any]] = {
    "read": ("Read", _REST, (_INTERACTION, "read"), "R", _DESTINATION, _SOURCE, _RECIPIENT),
    "query": ("Query", _REST, (_INTERACTION, "search"), "E", _SOURCE, _DESTINATION, _RECIPIENT),
    "create": ("Create", _REST, (_INTERACTION, "create"), "C", _SOURCE, _DESTINATION, _AUTHOR),
    "update": ("Update", _REST, (_INTERACTION, "update"), "U", _SOURCE, _DESTINATION, _AUTHOR),
    "delete": ("Delete", _REST, (_INTERACTION, "delete"), "D", _APPLICATION, _CUSTODIAN, _AUTHOR),
    "disclose": (
        "PrivacyDisclosure.Source",
        {"system": _DCM, "code": "110106", "display": "Export"},
        (_TERMINOLOGY + "iso-21089-lifecycle", "disclose"),
        "R",
        _DESTINATION,
        _SOURCE,
        _RECIPIENT,
    ),
    "login": (
        None,
        {"system": _DCM, "code": "110114", "display": "User Authentication"},
        (_DCM, "110122"),
        "E",
        _SOURCE,
        _DESTINATION,
        _AUTHOR,
    ),
    "logout": (
        None,
        {"system": _DCM, "code": "110114", "display": "User Authentication"},
        (_DCM, "110123"),
        "E",
        _SOURCE,
        _DESTINATION,
        _AUTHOR,
    ),
    "application": (
        None,
        {"system": _DCM, "code": "110100", "display": "Application Activity"},
        None,
        "E",
        _SOURCE,
        _DESTINATION,
        _AUTHOR,
    ),
}
_FOR_A_PATIENT = {"Read", "Query", "Create", "Update", "Delete"}


def audit_events(event: Event, observer: str) -> Iterator[dict[str, Any]]:
    """The resources of one event: one for each patient concerned, as the patterns want it; one when there is none.

    Args:
        observer: the installation's name, for example the alliance's.
    """
    patients = event.patients or (None,)
    for number, patient in enumerate(patients):
        suffix = f"-{number}" if len(patients) > 1 else ""
        yield _resource(event, observer, patient, f"{event.database}-{event.id}{suffix}")


def _resource(event: Event, observer: str, patient: str | None, resource_id: str) -> dict[str, Any]:
    meaning = MEANINGS.get(event.action, GENERIC)
    _, kind, subtype, action, *_ = _PATTERNS[meaning.pattern]
    # the word for the act itself is a second subtype: no pattern says as much as it does
    own = [{"system": _SYSTEM + "action", "code": event.action}]
    first = [{"system": subtype[0], "code": subtype[1]}] if subtype else []
    profile = _profile(meaning, patient)
    resource: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": resource_id,
        **({"meta": {"profile": [profile]}} if profile else {}),
        "type": kind,
        # a deletion has one subtype and no other
        "subtype": first if meaning.pattern == "delete" else first + own,
        "action": action,
        "recorded": event.at.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "outcome": "4" if meaning.failed else "0",
    }
    if meaning.purpose is not None:
        reason = {"system": _TERMINOLOGY + "v3-ActReason", "code": meaning.purpose}
        resource["purposeOfEvent"] = [{"coding": [reason]}]
    resource["agent"] = _agents(event, meaning, observer)
    resource["source"] = {
        "site": event.database,
        "observer": _who("installation", observer),
        "type": [{"system": _TERMINOLOGY + "security-source-type", "code": "4", "display": "Application Server"}],
    }
    resource["entity"] = _entities(event, meaning, patient)
    return resource


def _profile(meaning: Meaning, patient: str | None) -> str | None:
    """The pattern's profile, where everything that it requires is there."""
    name = _PATTERNS[meaning.pattern][0]
    if name is None or meaning.failed:
        return None
    if name in _FOR_A_PATIENT:
        return f"{_PROFILES}{'Patient' if patient else ''}{name}"
    return _PROFILES + name if patient else None


def _agents(event: Event, meaning: Meaning, observer: str) -> list[dict[str, Any]]:
    """Who asked, from where, and who answered."""
    *_, asks, answers, person = _PATTERNS[meaning.pattern]
    unknown = {"extension": [{"url": _ABSENT, "valueCode": "unknown"}]}
    return [
        {"type": _concept(person), "who": _who("account", event.actor), "name": event.actor, "requestor": True},
        {
            "type": _concept(asks),
            "who": _who("client", event.detail.get("channel") or "client"),
            "requestor": False,
            "network": unknown,
        },
        {"type": _concept(answers), "who": _who("installation", observer), "requestor": False, "network": unknown},
    ]


def _entities(event: Event, meaning: Meaning, patient: str | None) -> list[dict[str, Any]]:
    thing: dict[str, Any] = {
        "type": {"system": _TERMINOLOGY + "audit-entity-type", "code": "2", "display": "System Object"}
    }
    detail = json.dumps(dict(event.detail), sort_keys=True, ensure_ascii=False)
    if meaning.pattern == "query":
        thing["role"] = _role("24", "Query")
        thing["query"] = base64.b64encode(detail.encode()).decode()
        thing["description"] = f"{event.object_type}/{event.object_id}"
    else:
        report = event.action in ("sign", "give_back")
        thing["what"] = {"identifier": {"system": _SYSTEM + event.object_type, "value": event.object_id}}
        thing["role"] = _role("3", "Report") if report else _role("4", "Domain Resource")
        if event.detail and meaning.pattern != "delete":
            thing["detail"] = [{"type": "detail", "valueString": detail}]
    if patient is None:
        return [thing]
    person = {
        "what": {"type": "Patient", "identifier": {"system": _SYSTEM + "pseudonym", "value": patient}},
        "type": {"system": _TERMINOLOGY + "audit-entity-type", "code": "1", "display": "Person"},
        "role": _role("1", "Patient"),
    }
    return [person, thing]


def _concept(coding: tuple[str, str, str]) -> dict[str, Any]:
    return {"coding": [{"system": coding[0], "code": coding[1], "display": coding[2]}]}


def _role(code: str, display: str) -> dict[str, str]:
    return {"system": _TERMINOLOGY + "object-role", "code": code, "display": display}


def _who(kind: str, name: str) -> dict[str, Any]:
    return {"identifier": {"system": _SYSTEM + kind, "value": name}, "display": name}
