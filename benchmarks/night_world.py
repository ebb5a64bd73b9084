"""The alliance of the simulated night: its rules, its people, and what its clinics record."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from teleread.ingest.formats import write_wfdb
from teleread.pipeline.services import Services
from teleread.signal.ecg import simulate
from teleread.storage import accounts, signing_keys
from teleread.storage.accounts import Account

READERS = ("chen", "wang", "liu", "zhao", "sun", "zhou")
PIN = "271828"
LIFETIME = timedelta(hours=12)
CRITICAL = ("inferior_stemi", "inferior_stemi", "inferior_stemi")
USUAL = ("normal", "normal", "normal", "af", "premature_ventricular", "lbbb")
URGENT_SHARE = 0.05
_CHINA = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Case:
    """What a clinic sends at a time of the night."""

    name: str
    kind: str
    nurse: str
    at_s: float
    urgent: bool
    files: dict[str, bytes]


class _Accounts:
    """The people of the night."""

    def site_of(self, nurse: str) -> str:
        return nurse.replace("nurse", "site")

    def make(self, services: Services, n_sites: int) -> list[str]:
        """One nurse for each site, the readers with their signing keys, a coordinator and a senior reader."""
        now = services.clock()
        hashed = accounts.hash_password("a long night")
        people = [(name, "reader", None) for name in READERS]
        people += [("senior", "senior_reader", None), ("coordinator", "coordinator", None)]
        people += [(f"nurse{n:02}", "uploader", f"site{n:02}") for n in range(1, n_sites + 1)]
        with services.catalogue.write() as conn:
            for name, role, site in people:
                accounts.add_account(conn, name, hashed, role, site, now, "benchmark")
        for name in READERS:
            signing_keys.set_pin(services.catalogue, services.ring, name, PIN, now)
        return [name for name, _role, _site in people]


ACCOUNTS = _Accounts()


def open_session(services: Services, name: str) -> str:
    """A session's token, as a sign-in gives one."""
    role = "reader"  # the account's own role is looked up with each request
    with services.catalogue.write() as conn:
        return accounts.open_session(conn, Account(name, role, None), services.clock(), LIFETIME)


def write_rules(path: Path, n_sites: int, start: datetime, seconds: float) -> None:
    """The alliance file: a pool of ECGs, one of images, five readers from the beginning, the sixth from the middle."""
    day = (start - timedelta(days=2)).date().isoformat()
    lines = [
        '[alliance]\nname_zh = "夜班医联体"\nname_en = "Night alliance"\ntelephone = "0571-0"\n',
        '[[site]]\nid = "lead"\nname_zh = "中心医院"\nname_en = "Lead hospital"\nrole = "lead"\n',
        f'[[lead]]\nspecialty = "ecg"\nsite = "lead"\nvalid_from = {day}\n',
    ]
    for n in range(1, n_sites + 1):
        site = f"site{n:02}"
        lines.append(f'[[site]]\nid = "{site}"\nname_zh = "卫生院{n}"\nname_en = "Clinic {n}"\nrole = "member"\n')
        lines.append(f'[[connection]]\nsite = "{site}"\nkind = "web"\nvalid_from = {day}\n')
    for pool, zh in (("ecg", "心电"), ("images", "影像")):
        lines.append(f'[[pool]]\nid = "{pool}"\nname_zh = "{zh}"\nname_en = "{pool}"\nvalid_from = {day}\n')
    lines.append(f'[[route]]\nid = "ecg"\npool = "ecg"\nmodality = ["ECG", "OT"]\nvalid_from = {day}\n')
    lines.append(f'[[route]]\nid = "rest"\npool = "images"\nvalid_from = {day}\n')
    for reader in READERS:
        lines.append(f'[[licence]]\naccount = "{reader}"\npool = ["ecg"]\nvalid_from = {day}\n')
    early, half = (
        (start - timedelta(minutes=30)).astimezone(_CHINA),
        (start + timedelta(seconds=seconds / 2)).astimezone(_CHINA),
    )
    late = (start + timedelta(seconds=3 * seconds) + timedelta(minutes=30)).astimezone(_CHINA)
    for n, reader in enumerate(READERS):
        begins, ends = (
            (half - timedelta(minutes=1), late) if n == 5 else (early, half + timedelta(minutes=1) if n == 4 else late)
        )
        lines.append(
            f'[[shift]]\nid = "{reader}"\naccount = "{reader}"\npool = "ecg"\nvalid_from = {day}\n'
            f"begins = {begins:%H:%M:00}\nends = {ends:%H:%M:00}\n"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines), encoding="utf-8")


def make_cases(n_ecgs: int, n_studies: int, n_sites: int, seconds: float, seed: int) -> list[Case]:
    """What the clinics record, in order of time: most is normal, one in twenty is urgent, three are critical."""
    drawn = random.Random(seed)
    found = []
    for n in range(n_ecgs):
        critical = n < len(CRITICAL)
        condition = CRITICAL[n] if critical else drawn.choice(USUAL)
        record, _truth = simulate(condition, seed * 100_000 + n)
        files = write_wfdb(record, f"e{n}")
        urgent = critical or drawn.random() < URGENT_SHARE
        found.append(Case(f"ecg{n}", "ecg", _nurse(drawn, n_sites), _time(drawn, seconds), urgent, files))
    for n in range(n_studies):
        found.append(
            Case(f"ct{n}", "image", _nurse(drawn, n_sites), _time(drawn, seconds), False, {"ct.dcm": _slice(n)})
        )
    return sorted(found, key=lambda case: case.at_s)


def _nurse(drawn: random.Random, n_sites: int) -> str:
    return f"nurse{drawn.randrange(1, n_sites + 1):02}"


def _time(drawn: random.Random, seconds: float) -> float:
    return drawn.uniform(5.0, seconds)


def _slice(n: int) -> bytes:
    path = get_testdata_file("CT_small.dcm")
    assert isinstance(path, str)
    dataset = pydicom.dcmread(path)
    dataset.PatientID = f"night-{n}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    buffer = BytesIO()
    dataset.save_as(buffer)
    return buffer.getvalue()
