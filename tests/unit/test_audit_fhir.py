"""The exported AuditEvents have what FHIR R4 and the patterns' profiles require."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from teleread.storage import audit
from teleread.storage.audit import Trail
from teleread.storage.audit.exporting import Event, read_events
from teleread.storage.audit.fhir import audit_events
from teleread.storage.audit.fhir_actions import MEANINGS
from teleread.storage.catalogue import schema
from teleread.storage.catalogue.database import Database
from teleread.storage.vault import schema as vault_schema
from tests.contract.audit_contract import act
from tests.contract.catalogue_contract import AT
from tests.prove.attacks import KEY

ROOT = Path(__file__).resolve().parents[2]
BALP = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
CODE = re.compile(r"[^\s]+( [^\s]+)*")
INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
# role of the one who asks and of the one who answers, by profile
ROLES = {
    "Read": ("110152", "110153"),
    "Query": ("110153", "110152"),
    "Create": ("110153", "110152"),
    "Update": ("110153", "110152"),
    "Delete": ("110150", "custodian"),
    "PrivacyDisclosure.Source": ("110152", "110153"),
}
ACTION = {"Read": "R", "Query": "E", "Create": "C", "Update": "U", "Delete": "D", "PrivacyDisclosure.Source": "R"}


def event(action: str, *patients: str, **values: Any) -> Event:
    given = {"object_type": "case", "object_id": "c1", "detail": {"n": 1}, "seq": 4, "hash": "00" * 32, **values}
    return Event("catalogue", 7, AT, "reader", action, patients=patients, **given)


def check_base(resource: dict[str, Any]) -> None:
    """Required elements, cardinalities and value sets of AuditEvent in R4."""
    assert resource["resourceType"] == "AuditEvent"
    assert re.fullmatch(r"[A-Za-z0-9.-]{1,64}", resource["id"])
    assert {"system", "code"} <= set(resource["type"])
    assert resource["action"] in set("CRUDE")
    assert INSTANT.fullmatch(resource["recorded"])
    assert resource["outcome"] in {"0", "4", "8", "12"}
    assert resource["agent"]
    for agent in resource["agent"]:
        assert isinstance(agent["requestor"], bool)
        assert set(agent) <= {"type", "role", "who", "altId", "name", "requestor", "network", "purposeOfUse"}
    assert resource["source"]["observer"]["identifier"]["value"]
    for entity in resource["entity"]:
        assert set(entity) <= {"what", "type", "role", "name", "description", "query", "detail"}
        assert not {"name", "query"} <= set(entity)  # sev-1
    allowed = {
        "resourceType",
        "id",
        "meta",
        "type",
        "subtype",
        "action",
        "period",
        "recorded",
        "outcome",
        "outcomeDesc",
    }
    assert set(resource) <= allowed | {"purposeOfEvent", "agent", "source", "entity"}
    assert all(CODE.fullmatch(coding["code"]) for coding in resource.get("subtype", []))
    nothing_empty(resource)


def nothing_empty(value: Any) -> None:
    """FHIR knows no empty texts, lists or objects."""
    if isinstance(value, dict | list | str):
        assert value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        nothing_empty(part)


def check_profile(resource: dict[str, Any]) -> None:
    """What the profile that the resource names asks for beyond that."""
    (url,) = resource["meta"]["profile"]
    name = url.removeprefix(BALP)
    of_patient = name.startswith("Patient")
    kind = name.removeprefix("Patient") if of_patient else name
    assert resource["outcome"] == "0"
    assert resource["action"] == ACTION[kind]
    roles = [agent["type"]["coding"][0]["code"] for agent in resource["agent"]]
    for role in ROLES[kind]:
        (agent,) = [agent for agent, code in zip(resource["agent"], roles, strict=True) if code == role]
        assert agent["who"]
        assert agent["network"]
    person = next(agent for agent in resource["agent"] if agent["requestor"])
    assert "network" not in person
    codes = [coding["code"] for coding in resource["subtype"]]
    if kind == "Delete":
        assert codes == ["delete"]
    types = [entity["type"]["code"] for entity in resource["entity"]]
    assert types.count("1") == int(of_patient or kind.startswith("Privacy"))
    assert types.count("2") == 1
    thing = resource["entity"][types.index("2")]
    if kind == "Query":
        assert (thing["role"]["code"], "what" in thing, "detail" in thing) == ("24", False, False)
        assert thing["query"]
    else:
        assert thing["role"]["code"] in {"3", "4", "20"}
        assert thing["what"]
    if kind.startswith("Privacy"):
        assert resource["type"]["code"] == "110106"
        assert "disclose" in codes
        source = resource["agent"][roles.index("110153")]
        assert source["who"] == resource["source"]["observer"]  # val-audit-source
    else:
        assert resource["type"]["code"] == "rest"


@pytest.mark.parametrize("action", [*sorted(MEANINGS), "a_new_word"])
@pytest.mark.parametrize("patients", [(), ("PAAAAAAAAAAAA",), ("PAAAAAAAAAAAA", "PBBBBBBBBBBBB")], ids=len)
def test_every_act_is_a_valid_audit_event(action: str, patients: tuple[str, ...]) -> None:
    resources = list(audit_events(event(action, *patients), "Alliance"))
    assert len(resources) == max(1, len(patients))
    assert len({resource["id"] for resource in resources}) == len(resources)
    for resource in resources:
        check_base(resource)
        if "meta" in resource:
            check_profile(resource)
        json.dumps(resource)


@pytest.mark.parametrize(
    ("action", "patients", "profile"),
    [
        ("view", ("P1",), "PatientRead"),
        ("list", (), "Query"),
        ("land", (), "Create"),
        ("sign", ("P1",), "PatientCreate"),
        ("prepare", ("P1",), "PatientUpdate"),
        ("forget", ("P1",), "PatientDelete"),
        ("give_back", ("P1",), "PrivacyDisclosure.Source"),
        ("download", (), None),  # the profile wants a patient
        ("sign_in", (), None),  # there is none for signing in with a password
        ("a_new_word", ("P1",), None),
    ],
)
def test_the_profile_is_named_where_one_fits(action: str, patients: tuple[str, ...], profile: str | None) -> None:
    (resource,) = audit_events(event(action, *patients), "Alliance")
    assert resource.get("meta", {}).get("profile") == ([BALP + profile] if profile else None)


def test_a_sign_in_that_failed_is_no_success() -> None:
    (resource,) = audit_events(event("sign_in_failed", object_type="account", object_id="x"), "Alliance")
    assert (resource["outcome"], resource["type"]["code"]) == ("4", "110114")
    assert {coding["code"] for coding in resource["subtype"]} == {"110122", "sign_in_failed"}


def test_every_word_for_an_act_in_the_code_has_a_meaning() -> None:
    used = set()
    for folder in ("pipeline", "reading", "storage", "web", "teleread"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            used |= set(re.findall(r'\baction="([a-z_]+)",', text)) if "audit" in text else set()
            used |= set(re.findall(r'\b(?:allow|public)\([^)]*audit="([a-z_]+)"', text))
    used -= {"store_true", "append", "version"}
    assert {"view", "sign", "land", "list"} <= used
    assert used - set(MEANINGS) == set()


class TestReading:
    @pytest.fixture
    def trails(self, tmp_path: Path) -> Iterator[tuple[Trail, Trail]]:
        catalogue = Database(f"sqlite:///{tmp_path}/catalogue.db")
        vault = Database(f"sqlite:///{tmp_path}/vault.db", migrations=vault_schema.VAULT)
        catalogue.migrate()
        vault.migrate()
        yield Trail("catalogue", catalogue, schema.audit), Trail("vault", vault, vault_schema.audit)
        catalogue.close()
        vault.close()

    def test_events_come_in_order_and_of_the_time_asked_for(self, trails: tuple[Trail, Trail]) -> None:
        catalogue, _ = trails
        for hour in range(3):
            act(catalogue.database, f"c{hour}", at=AT + timedelta(hours=hour))
        audit.seal(catalogue.database, schema.audit, KEY, AT, limit=2)

        def found(since: datetime | None, until: datetime | None) -> list[tuple[str, int | None]]:
            return [(one.object_id, one.seq) for one in read_events(catalogue, since, until)]

        assert found(None, None) == [("c0", 1), ("c1", 2), ("c2", None)]
        assert found(AT + timedelta(hours=1), AT + timedelta(hours=2)) == [("c1", 2)]
        (first, *_) = read_events(catalogue)
        assert json.loads(json.dumps(first.plain()))["at"] == "2026-03-01T08:00:00+00:00"

    def test_a_case_names_its_patient_and_a_join_all_that_it_opened(self, trails: tuple[Trail, Trail]) -> None:
        catalogue, vault = trails
        with catalogue.database.write() as conn:
            conn.execute(insert(schema.objects).values(key="k", sha256="0" * 64, size_bytes=1, created_at=AT))
            conn.execute(
                insert(schema.studies).values(
                    id="s", site_id="a", study_uid="1", modality="ECG", patient_pseudonym="P1", created_at=AT
                )
            )
            conn.execute(
                insert(schema.arrivals).values(
                    id="a1",
                    receipt="r",
                    site_id="a",
                    sha256="0" * 64,
                    size_bytes=1,
                    object_key="k",
                    source="web",
                    kind="ecg",
                    clinic_priority="high",
                    state="prepared",
                    arrived_at=AT,
                    case_id="c1",
                    study_id="s",
                )
            )
        act(catalogue.database, "c1")
        act(catalogue.database, "a1", object_type="arrival")
        act(catalogue.database, "unknown")
        assert [one.patients for one in read_events(catalogue)] == [("P1",), ("P1",), ()]
        with vault.database.write() as conn:
            number = audit.record(
                conn,
                at=AT,
                actor="reader",
                action="join",
                object_type="case",
                object_id="2 cases",
                table=vault_schema.vault_events,
            )
            opened = [{"event_id": number, "pseudonym": name} for name in ("P2", "P1")]
            conn.execute(insert(vault_schema.joined), opened)
        (join,) = read_events(vault)
        assert join.patients == ("P1", "P2")
        assert [resource["meta"]["profile"] for resource in audit_events(join, "A")] == [[BALP + "PatientRead"]] * 2

    def test_many_events_are_read_in_parts(self, trails: tuple[Trail, Trail], monkeypatch: pytest.MonkeyPatch) -> None:
        catalogue, _ = trails
        monkeypatch.setattr("teleread.storage.audit.exporting._CHUNK", 2)
        for number in range(5):
            act(catalogue.database, str(number))
        assert [one.object_id for one in read_events(catalogue)] == ["0", "1", "2", "3", "4"]
