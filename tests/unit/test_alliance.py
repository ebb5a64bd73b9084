from __future__ import annotations

from datetime import date

import pytest

from teleread.alliance import parse_alliance
from teleread.errors import Misconfigured

HEAD = '[alliance]\nname_zh = "盟"\nname_en = "A"\ntelephone = "1"\n'
SITES = """
[[site]]
id = "lead"
name_zh = "主"
name_en = "Lead"
role = "lead"
[[site]]
id = "member"
name_zh = "员"
name_en = "Member"
role = "member"
"""
FOLDER = '[[connection]]\nsite = "member"\nkind = "folder"\npath = "/in"\n'


def test_connection_and_lead_follow_their_effective_dates() -> None:
    text = (
        HEAD
        + SITES
        + FOLDER
        + "valid_from = 2026-01-01\nvalid_to = 2026-06-01\n"
        + '[[connection]]\nsite = "member"\nkind = "web"\nvalid_from = 2026-06-01\n'
        + '[[lead]]\nspecialty = "ecg"\nsite = "lead"\nvalid_from = 2026-01-01\nvalid_to = 2026-02-01\n'
        + '[[lead]]\nspecialty = "ecg"\nsite = "member"\nvalid_from = 2026-02-01\n'
    )
    alliance = parse_alliance(text)
    assert alliance.connection("member", date(2025, 12, 31)) is None
    before, after = (alliance.connection("member", day) for day in (date(2026, 5, 31), date(2026, 6, 1)))
    assert before is not None
    assert before.kind == "folder"
    assert after is not None
    assert after.kind == "web"
    assert alliance.pulled_sites(date(2026, 5, 31)) == ("member",)
    assert alliance.pulled_sites(date(2026, 6, 1)) == ()
    leads = [alliance.lead("ecg", day) for day in (date(2026, 1, 31), date(2026, 2, 1))]
    assert [site.id for site in leads if site] == ["lead", "member"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[alliance", "not TOML"),
        ("surprise = 1", "unknown table"),
        (HEAD.replace('telephone = "1"', ""), "telephone is missing"),
        (HEAD + SITES.replace('"member"', '"Mem ber"', 1), "lower-case"),
        (HEAD + SITES + SITES, "stands twice"),
        (HEAD + SITES + FOLDER + "valid_from = 2026-01-01\nsurprise = 1\n", "unknown key"),
        (HEAD + SITES + FOLDER.replace('path = "/in"\n', "valid_from = 2026-01-01\n"), "needs path"),
        (HEAD + SITES + FOLDER, "valid_from is missing"),
        (HEAD + SITES + FOLDER + 'valid_from = "2026-01-01"\n', "valid_from does not take"),
        (HEAD + SITES + FOLDER + 'valid_from = 2026-01-01\ndefault_priority = "soon"\n', "default_priority"),
        (HEAD + SITES + FOLDER + "valid_from = 2026-01-01\nbudget_s = 0\n", "above zero"),
        (HEAD + SITES + FOLDER + "valid_from = 2026-01-01\nsettle_s = true\n", "settle_s does not take"),
        (HEAD + SITES + 2 * (FOLDER + "valid_from = 2026-01-01\n"), "two entries hold"),
        (HEAD + SITES + FOLDER + "valid_from = 2026-01-01\nvalid_to = 2026-01-01\n", "valid_to is not after"),
        (HEAD + '[[connection]]\nsite = "x"\nkind = "web"\nvalid_from = 2026-01-01\n', "unknown site"),
        (HEAD + SITES + FOLDER.replace("folder", "dicom") + "valid_from = 2026-01-01\n", "needs host and port"),
    ],
)
def test_a_wrong_alliance_file_is_refused_with_the_place_and_the_reason(text: str, says: str) -> None:
    with pytest.raises(Misconfigured, match=says) as caught:
        parse_alliance(text)
    assert caught.value.code == "alliance_invalid"


def test_the_text_that_is_refused_above_is_accepted_without_its_fault() -> None:
    assert parse_alliance(HEAD + SITES + FOLDER + "valid_from = 2026-01-01\n").sites.keys() == {"lead", "member"}
