"""Two recordings of one patient side by side: what changed, by how much, and whether that is beyond chance.

Limits and their sources are in ``serial_limits.toml``. A comparison is never a diagnosis, and one that rests on a
doubtful recording says so in every line.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from teleread.signal.ecg.measured import Measured

DOUBTFUL_QUALITY = "doubtful_quality"
LOW_CONFIDENCE = "low_confidence"
CONDUCTION_DIFFERS = "conduction_differs"

_ALTERS_ST = frozenset({"lbbb", "rbbb", "ivcd", "pre_excitation", "pre_excited_af", "paced"})
_DEVIATION = {"st_elevation": 1.0, "st_depression": -1.0}


@dataclass(frozen=True, slots=True)
class Compared:
    """What of one recording enters a comparison.

    Args:
        measurements: as ``measure`` gives them.
        rhythm: codes of its rhythm spans.
        findings: codes of its rhythm findings (lbbb, av_block_1, paced …).
        acceptable: the verdict of the quality gate.
    """

    measurements: Mapping[str, Measured]
    rhythm: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()
    acceptable: bool = True


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a comparison.

    Args:
        name: a global measurement, ``st_j_mv``, ``t_inversion``, ``q_wave``, ``rhythm``, ``finding`` or ``quality``.
        lead: a lead's name or ``"global"``.
        before, now: a number, or a code; None when there was none.
        delta: now minus before; None between codes. Between axes the shorter way round.
        unit: of the numbers.
        significant: beyond the limit, and nothing stands against saying so.
        note: what stands against it: ``doubtful_quality``, ``low_confidence``, ``conduction_differs``; else empty.
    """

    name: str
    lead: str
    before: float | str | None
    now: float | str | None
    delta: float | None
    unit: str
    significant: bool
    note: str = ""


@lru_cache(maxsize=1)
def serial_limits() -> Mapping[str, Any]:
    """The limits with their sources and their version."""
    text = files("teleread.signal.ecg").joinpath("serial_limits.toml").read_text(encoding="utf-8")
    return MappingProxyType(tomllib.loads(text))


def compare(now: Compared, before: Compared) -> tuple[Change, ...]:
    """Changes from an earlier recording of the same patient to this one.

    Every global measurement and every lead's ST that both have is listed, changed or not; T inversions, Q waves,
    rhythms and findings only when new or gone. When one of the recordings is not acceptable, the first line says which,
    no line is significant and all carry the note.
    """
    limits = serial_limits()
    doubtful = not (now.acceptable and before.acceptable)
    conduction = (set(now.findings) | set(before.findings)) & _ALTERS_ST
    changes: list[Change] = []
    if doubtful:
        verdicts = ["acceptable" if each.acceptable else "doubtful" for each in (before, now)]
        changes.append(Change("quality", "global", verdicts[0], verdicts[1], None, "", False, DOUBTFUL_QUALITY))
    general = DOUBTFUL_QUALITY if doubtful else ""
    changes += _codes("rhythm", before.rhythm, now.rhythm, general)
    changes += _codes("finding", before.findings, now.findings, general)
    changes += _global(now.measurements, before.measurements, limits, general)
    secondary = general or (CONDUCTION_DIFFERS if conduction else "")
    changes += _st(now.measurements, before.measurements, limits, secondary)
    changes += _t_inversions(now.measurements, before.measurements, limits, secondary)
    changes += _q_waves(now.measurements, before.measurements, limits, secondary)
    return tuple(changes)


def _codes(name: str, before: Iterable[str], now: Iterable[str], note: str) -> list[Change]:
    gone = [Change(name, "global", code, None, None, "", not note, note) for code in sorted(set(before) - set(now))]
    new = [Change(name, "global", None, code, None, "", not note, note) for code in sorted(set(now) - set(before))]
    if name == "rhythm" and len(new) == len(gone) == 1:
        # one rhythm for another is one change
        return [Change(name, "global", gone[0].before, new[0].now, None, "", not note, note)]
    return new + gone


def _global(
    now: Mapping[str, Measured], before: Mapping[str, Measured], limits: Mapping[str, Any], general: str
) -> list[Change]:
    found = []
    for name, entry in limits["limits"].items():
        if name not in now or name not in before:
            continue
        delta = now[name].value - before[name].value
        if name.endswith("_deg"):
            delta = (delta + 180.0) % 360.0 - 180.0
        note = general or _doubt(limits, now[name], before[name])
        found.append(_numbers(name, now[name], before[name], delta, abs(delta) >= entry["limit"], note))
    return found


def _st(
    now: Mapping[str, Measured], before: Mapping[str, Measured], limits: Mapping[str, Any], general: str
) -> list[Change]:
    found = []
    for name in now:
        if not name.startswith("st_j_mv.") or name not in before:
            continue
        delta = now[name].value - before[name].value
        far = any(sign * delta >= limits[kind]["limit_mv"] - 1e-9 for kind, sign in _DEVIATION.items())
        note = general or _doubt(limits, now[name], before[name])
        found.append(_numbers("st_j_mv", now[name], before[name], delta, far, note))
    return found


def _t_inversions(
    now: Mapping[str, Measured], before: Mapping[str, Measured], limits: Mapping[str, Any], general: str
) -> list[Change]:
    """T that was not inverted and is, or was and is not. A flat T is neither."""
    found = []
    deep = -limits["t_inversion"]["limit_mv"]
    for name in now:
        if not name.startswith("t_amplitude_mv.") or name not in before:
            continue
        a, b = before[name].value, now[name].value
        if (b <= deep and a > 0.0) or (a <= deep and b > 0.0):
            note = general or _doubt(limits, now[name], before[name])
            found.append(_numbers("t_inversion", now[name], before[name], b - a, True, note))
    return found


def _q_waves(
    now: Mapping[str, Measured], before: Mapping[str, Measured], limits: Mapping[str, Any], general: str
) -> list[Change]:
    """Q waves of infarction that are new or gone, in leads that both recordings measured."""
    found = []
    leads = [name.removeprefix("st_j_mv.") for name in now if name.startswith("st_j_mv.") and name in before]
    for lead in leads:
        old, new = (_infarct_q(each, lead, limits["q_wave"]) for each in (before, now))
        if (old is None) == (new is None):
            continue
        seen = new or old
        note = general or (_doubt(limits, seen) if seen else "")
        values = (old.value if old else None, new.value if new else None)
        found.append(Change("q_wave", lead, values[0], values[1], None, "mV", not note, note))
    return found


def _infarct_q(measured: Mapping[str, Measured], lead: str, limits: Mapping[str, Any]) -> Measured | None:
    depth, lasts = measured.get(f"q_amplitude_mv.{lead}"), measured.get(f"q_duration_ms.{lead}")
    if depth is None or lasts is None or lead == "aVR":
        return None
    long_enough = limits["duration_v2_v3_ms"] if lead in ("V2", "V3") else limits["duration_ms"]
    return depth if depth.value <= -limits["depth_mv"] and lasts.value >= long_enough else None


def _doubt(limits: Mapping[str, Any], *measured: Measured) -> str:
    return LOW_CONFIDENCE if min(m.confidence for m in measured) < limits["least_confidence"] else ""


def _numbers(name: str, now: Measured, before: Measured, delta: float, far: bool, note: str) -> Change:
    return Change(name, now.lead, before.value, now.value, round(delta, 4), now.unit, far and not note, note)
