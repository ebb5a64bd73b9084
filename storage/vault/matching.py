"""By what patients are found again: keyed hashes, so that the database alone answers no guess.

Each is HMAC-SHA256 with a key of its own that the key ring derives, as 64 lower-case hexadecimal digits.

How a name is normalised before it is compared (it is only ever the ground of a *possible* match):

1. NFKC, which also makes full-width letters, ``＾`` and ``＝`` plain.
2. A DICOM name's component groups are split at ``=`` (PS3.5, 6.2.1). If any group holds a Chinese character, the
   first such group stands for the name, and of it only its letters and characters, in order: ``张^三``, ``张 三``,
   ``Zhang^San=张^三`` and ``张三`` are equal, ``买买提·吐尔逊`` and ``买买提吐尔逊`` too. Traditional and simplified
   characters stay different.
3. Otherwise the first group that is not empty: marks taken off (``Zhāng``, ``Lü``), case folded, and carets, spaces,
   commas, dots, hyphens and apostrophes removed: ``ZHANG^XIAO MING``, ``Zhang Xiaoming`` and ``zhang^xiao-ming`` are
   equal. The order of the parts stays. A name in pinyin does not equal the same in characters.
4. What is left empty, or is a word for "unknown", is no name.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import date

from teleread.storage.vault.keyring import KeyRing

_NOBODY = frozenset(
    ("unknown", "anonymous", "anonymized", "anonymised", "noname", "nobody", "none", "test", "patient", "na", "xxx")
) | frozenset(("未知", "无名", "无名氏", "不详", "匿名", "佚名", "无", "测试", "患者", "病人"))
_RESIDENT = re.compile(r"[1-8][0-9]{16}[0-9X]", re.ASCII)
# GB/T 2260: provinces, and residents of Hong Kong, Macao and Taiwan with a residence permit
_PROVINCES = frozenset(
    [*range(11, 16), *range(21, 24), *range(31, 38), *range(41, 47), *range(50, 55), *range(61, 66), 71, 81, 82, 83]
)
_WEIGHTS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_CHECKS = "10X98765432"
_OLDEST_YEARS = 130


@dataclass(frozen=True, slots=True)
class MatchKeys:
    """The keys of the hashes."""

    lookup: bytes = field(repr=False)
    match: bytes = field(repr=False)
    national: bytes = field(repr=False)

    @classmethod
    def of(cls, ring: KeyRing) -> MatchKeys:
        """Those of the key ring; they never change."""
        return cls(ring.derive("lookup"), ring.derive("match"), ring.derive("national"))

    def lookup_of(self, issuer: str, patient_id: str) -> str:
        """The one of this issuer and id, byte for byte: nothing is cut, trimmed or made equal."""
        first, second = (text.encode("utf-8", "surrogatepass") for text in (issuer, patient_id))
        return _hash(self.lookup, b"%d:%b%b" % (len(first), first, second))

    def match_of(self, name: str | None, birth_date: str | None) -> str | None:
        """The one of this name and birth date; None where either is unknown."""
        plain = "" if name is None else normalised_name(name)
        if not plain or birth_date is None:
            return None
        return _hash(self.match, f"{birth_date} {plain}".encode("utf-8", "surrogatepass"))

    def national_of(self, national_id: str | None, patient_id: str, today: date) -> str | None:
        """The one of a valid national id, stated as such or used as the patient id; None where neither is one."""
        number = national_number(national_id, patient_id, today)
        return None if number is None else _hash(self.national, number.encode())


def normalised_name(name: str) -> str:
    """The name as it is compared; empty where there is none. See the module's docstring."""
    groups = unicodedata.normalize("NFKC", name).split("=")
    chinese = next((group for group in groups if any(_is_chinese(sign) for sign in group)), None)
    if chinese is not None:
        plain = _letters(chinese).casefold()
    else:
        first = next((group for group in groups if _letters(group)), "")
        bare = "".join(sign for sign in unicodedata.normalize("NFKD", first) if not unicodedata.combining(sign))
        plain = _letters(bare.casefold())
    return "" if plain in _NOBODY else plain


def national_number(national_id: str | None, patient_id: str, today: date) -> str | None:
    """The valid national id that is stated as such or used as the patient id; None where neither is one."""
    numbers = (resident_id(text, today) for text in (national_id, patient_id) if text is not None)
    return next((number for number in numbers if number is not None), None)


def fits_resident_id(number: str, field: str, value: str) -> bool:
    """Whether a statement can be true of the person whose resident id number this is.

    GB 11643-1999: digits 7 to 14 are the birth date, the 17th is odd for a man and even for a woman.

    Args:
        number: as of :func:`resident_id`.
        field: ``birth_date`` or ``sex``; any other fits.
        value: a birth date as ``YYYY-MM-DD``; a sex fits only as M or F.
    """
    if field == "birth_date":
        return value.replace("-", "") == number[6:14]
    return field != "sex" or value == ("M" if int(number[16]) % 2 else "F")


def resident_id(text: str, today: date) -> str | None:
    """The text as a resident id number of 18 characters, or None where it is not a valid one.

    GB 11643-1999: six digits of a region, eight of the birth date, three in sequence, and a check after ISO 7064
    MOD 11-2. The region's province must be one, the birth date a day of the last 130 years.
    """
    number = unicodedata.normalize("NFKC", text).strip().upper()
    if not _RESIDENT.fullmatch(number) or int(number[:2]) not in _PROVINCES:
        return None
    try:
        born = date(int(number[6:10]), int(number[10:12]), int(number[12:14]))
    except ValueError:
        return None
    total = sum(int(digit) * weight for digit, weight in zip(number[:17], _WEIGHTS, strict=True))
    if _CHECKS[total % 11] != number[17]:
        return None
    return number if born <= today and born.year >= today.year - _OLDEST_YEARS else None


def _letters(text: str) -> str:
    return "".join(sign for sign in text if sign.isalnum())


def _is_chinese(sign: str) -> bool:
    return (
        "\u4e00" <= sign <= "\u9fff"
        or "\u3400" <= sign <= "\u4dbf"
        or "\U00020000" <= sign <= "\U0003ffff"
        or "\uf900" <= sign <= "\ufaff"
        or sign == "\u3007"
    )


def _hash(key: bytes, data: bytes) -> str:
    return hmac.digest(key, data, "sha256").hex()
