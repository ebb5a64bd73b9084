"""The sample alliance of ``teleread up``: a lead hospital, three members, and whoever brings a folder of studies."""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from teleread.pipeline.services import Services
from teleread.sample.studies import clinic_upload
from teleread.settings import Settings
from teleread.storage.accounts import create_account
from teleread.storage.catalogue.schema import accounts

PACS_PORT = 8422
COUNTY_AE = "COUNTY"
CLINIC = "riverside-clinic"
OWN = "own-studies"

_ALLIANCE = """\
# The sample alliance. `teleread up` writes this file when it is missing, and only adds to it.
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

_OWN = """
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


def sample_folders(settings: Settings) -> Folders:
    """Make the members' folders."""
    root = settings.home / "sample"
    folders = Folders(root / "county-pacs", root / "township-cart", root / "township-reports")
    for folder in (folders.pacs, folders.cart, folders.cart_reports):
        folder.mkdir(parents=True, exist_ok=True)
    return folders


def write_alliance(settings: Settings, folders: Folders, studies: Path | None, pacs_port: int) -> bool:
    """Write the sample alliance file when it is missing, and add or move the member with its own studies.

    Returns:
        Whether the alliance is the sample one, so that its members must be started.
    """
    path = settings.alliance_file
    if not path.exists():
        text = _ALLIANCE.format(
            clinic=CLINIC,
            pacs_port=pacs_port,
            county_ae=COUNTY_AE,
            cart=_toml(folders.cart),
            cart_reports=_toml(folders.cart_reports),
        )
        _write(path, text)
    text = path.read_text(encoding="utf-8")
    known = {site.get("id") for site in tomllib.loads(text).get("site", [])}
    if studies is not None:
        before, found, _ = text.partition(f'\n[[site]]\nid = "{OWN}"')
        if found:  # another folder than last time: the member's entries are the last ones of the file
            text = before
        _write(path, text + _OWN.format(own=OWN, folder=_toml(studies.resolve())))
    return "county-hospital" in known


def make_accounts(services: Services) -> list[SignIn]:
    """The sample's accounts; each password is made once and never stored."""
    wanted = [("nurse", "uploader", CLINIC), ("reader", "reader", None), ("engineer", "engineer", None)]
    made = []
    for name, role, site_id in wanted:
        with services.catalogue.write() as conn:
            if conn.execute(select(accounts.c.name).where(accounts.c.name == name)).one_or_none() is not None:
                made.append(SignIn(name, role, None))
                continue
            password = secrets.token_urlsafe(9)
            create_account(conn, name, password, role, site_id, services.clock())
            made.append(SignIn(name, role, password))
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
