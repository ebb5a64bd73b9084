"""The sample alliance of ``teleread up``: a lead hospital, three members, and whoever brings a folder of studies."""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from teleread.pipeline.services import Services
from teleread.sample.studies import clinic_upload
from teleread.services import read_alliance
from teleread.settings import Settings
from teleread.storage.accounts import create_account
from teleread.storage.catalogue.schema import accounts
from teleread.storage.signing_keys import random_pin, set_pin
from teleread.up.sample_room import ROOM

PACS_PORT = 8422
_COUNTY_PORT = re.compile(r'(site = "county-hospital"\nkind = "dicom"\n(?:[^\n\[]+\n)*?port = )(\d+)')
COUNTY_AE = "COUNTY"
CLINIC = "riverside-clinic"
OWN = "own-studies"

_ALLIANCE = """\
# The sample alliance. `teleread up` writes this file when it is missing. Later it changes only the port of the county
# hospital's sample PACS (TELEREAD_PACS_PORT) and the part between the two lines of your own studies (STUDIES).
[alliance]
name_zh = "示例医联体"
name_en = "Sample alliance"
telephone = "0571-0000-0120"
utc_offset_minutes = 480

[[site]]
id = "lead-hospital"
name_zh = "示例中心医院"
name_en = "Sample Central Hospital"
role = "lead"
telephone = "0571-0000-0120"

[[site]]
id = "county-hospital"
name_zh = "青川县人民医院（示例）"
name_en = "Qingchuan County Hospital (sample)"
role = "member"

[[site]]
id = "township-clinic"
name_zh = "白石镇卫生院（示例）"
name_en = "Baishi Township Clinic (sample)"
role = "member"

[[site]]
id = "{clinic}"
name_zh = "河畔村卫生室（示例）"
name_en = "Riverside Village Clinic (sample)"
role = "member"

[[lead]]
specialty = "ecg"
site = "lead-hospital"
valid_from = 2026-01-01

[[lead]]
specialty = "imaging"
site = "lead-hospital"
valid_from = 2026-01-01

# a PACS that answers C-FIND and C-GET
[[connection]]
site = "county-hospital"
kind = "dicom"
valid_from = 2026-01-01
host = "127.0.0.1"
port = {pacs_port}
ae_title = "{county_ae}"
report_back = "dicom"

# a folder that an ECG cart writes into
[[connection]]
site = "township-clinic"
kind = "folder"
valid_from = 2026-01-01
path = {cart}
report_back = "folder"
report_path = {cart_reports}

# a clinic that sends through the web page
[[connection]]
site = "{clinic}"
kind = "web"
valid_from = 2026-01-01
"""

_OWN_BEGIN, _OWN_END = "# your own studies: begin", "# your own studies: end"
_OWN = """{begin}
[[site]]
id = "{own}"
name_zh = "自带资料"
name_en = "Your own studies"
role = "member"

[[connection]]
site = "{own}"
kind = "folder"
valid_from = 2026-01-01
path = {folder}
take = "recognised"
{end}
"""


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the sample members keep their studies."""

    pacs: Path
    cart: Path
    cart_reports: Path


@dataclass(frozen=True, slots=True)
class SignIn:
    """An account of the sample; the password is known only when it was made just now."""

    name: str
    role: str
    password: str | None
    pin: str | None = None  # a reader's, for signing


def sample_folders(settings: Settings) -> Folders:
    """Make the members' folders."""
    root = settings.home / "sample"
    folders = Folders(root / "county-pacs", root / "township-cart", root / "township-reports")
    for folder in (folders.pacs, folders.cart, folders.cart_reports):
        folder.mkdir(parents=True, exist_ok=True)
    return folders


def write_alliance(settings: Settings, folders: Folders, studies: Path | None, pacs_port: int | None) -> int | None:
    """Write the sample alliance file when it is missing, and bring its PACS port and own studies up to date.

    Args:
        pacs_port: the port that somebody asked for; None leaves the one of the file.

    Returns:
        The port of the county hospital's PACS, when the file is the sample's and so its members must be started.

    Raises:
        Misconfigured: the file cannot be read or is wrong.
    """
    path = settings.alliance_file
    if not path.exists():
        values = {"clinic": CLINIC, "pacs_port": pacs_port or PACS_PORT, "county_ae": COUNTY_AE}
        _write(
            path,
            (_ALLIANCE + ROOM).format(**values, cart=_toml(folders.cart), cart_reports=_toml(folders.cart_reports)),
        )
    read_alliance(settings)  # what is wrong in it is said before it is touched
    before = text = path.read_text(encoding="utf-8")
    if pacs_port is not None:
        text = _COUNTY_PORT.sub(rf"\g<1>{pacs_port}", text)
    if studies is not None:
        text = _with_own_studies(text, studies.resolve())
    if text != before:
        _write(path, text)
    found = _COUNTY_PORT.search(text)
    return int(found[2]) if found else None


def _with_own_studies(text: str, folder: Path) -> str:
    own = _OWN.format(begin=_OWN_BEGIN, end=_OWN_END, own=OWN, folder=_toml(folder))
    head, begin, rest = text.partition(f"{_OWN_BEGIN}\n")
    if not begin:
        return f"{text.rstrip()}\n\n{own}"
    _, _, tail = rest.partition(f"{_OWN_END}\n")
    return head + own + tail


def make_accounts(services: Services) -> list[SignIn]:
    """The sample's accounts; each password is made once and never stored."""
    wanted = [
        ("nurse", "uploader", CLINIC),
        ("reader", "reader", None),
        ("senior", "senior_reader", None),
        ("coordinator", "coordinator", None),
        ("engineer", "engineer", None),
    ]
    made = []
    for name, role, site_id in wanted:
        with services.catalogue.write() as conn:
            if conn.execute(select(accounts.c.name).where(accounts.c.name == name)).one_or_none() is not None:
                made.append(SignIn(name, role, None))
                continue
            password = secrets.token_urlsafe(9)
            create_account(conn, name, password, role, site_id, services.clock())
        pin = None
        if role in {"reader", "senior_reader"}:
            pin = random_pin()
            set_pin(services.catalogue, services.ring, name, pin, services.clock())
        made.append(SignIn(name, role, password, pin))
    return made


def clinic_files() -> dict[str, bytes]:
    """What the village clinic has sent through the page before you came."""
    return clinic_upload()


def _toml(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
