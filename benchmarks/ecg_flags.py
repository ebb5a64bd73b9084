"""Flags by class: what is found of critical recordings, and how many others are flagged.

    python -m benchmarks.ecg_flags --data /path/to/ecg [--seeds 40] [--part simulator|combined|healthy|real|mitdb|mix]

Simulated recordings have an exact truth; those of LUDB, CinC 2020/2021 and MIT-BIH have what their physicians wrote.
Intervals are Wilson's at 95 %. Nothing here trains anything.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from teleread.ingest.formats import read_ecg
from teleread.signal.ecg import EcgRecord, Patient, analyse, simulate
from teleread.signal.ecg.flags import Flags, load_profile
from teleread.signal.ecg.record import with_derived_leads

STEMI = frozenset(f"st_elevation_{w}" for w in ("inferior", "anterior", "lateral", "posterior", "right_ventricular"))
VENTRICULAR = frozenset({"ventricular_tachycardia", "ventricular_tachycardia_fast", "wide_tachycardia"})
STANDSTILL = frozenset({"asystole", "long_rr"})
FAST = frozenset({"supraventricular_tachycardia_fast", "atrial_fibrillation_fast", "tachycardia_extreme"})
RAISING = ("critical", "urgent")


@dataclass(frozen=True)
class Class:
    """A critical class: how it is simulated, and which flags count as finding it."""

    condition: str
    codes: frozenset[str]
    settings: Callable[[np.random.Generator], dict[str, Any]] = lambda rng: {}


def _rate(low: float, high: float) -> Callable[[np.random.Generator], dict[str, Any]]:
    return lambda rng: {"rate_bpm": float(rng.uniform(low, high))}


CLASSES: Mapping[str, Class] = {
    "ventricular fibrillation": Class("vf", frozenset({"ventricular_fibrillation"})),
    "asystole": Class("asystole", STANDSTILL),
    "pause from 3.0 s": Class("pause", STANDSTILL, lambda rng: {"pause_s": float(rng.uniform(3.05, 5.0))}),
    "VT from 150/min": Class("vt", VENTRICULAR, _rate(152.0, 220.0)),
    "SVT from 180/min": Class("svt", FAST, _rate(183.0, 225.0)),
    "AF from 180/min": Class("af", FAST, _rate(186.0, 210.0)),
    "pre-excited AF to 250 ms": Class(
        "pre_excited_af",
        frozenset({"pre_excited_af_fast"}),
        lambda rng: {"shortest_rr_ms": float(rng.uniform(200.0, 245.0))},
    ),
    "rate to 35/min": Class("idioventricular", frozenset({"bradycardia_extreme"}), _rate(24.0, 34.5)),
    "complete AV block": Class("complete_block", frozenset({"av_block_3"})),
    "Mobitz II": Class("av_block_2_mobitz_2", frozenset({"av_block_high_grade", "av_block_3"})),
    "AV block 2:1": Class("av_block_2_1", frozenset({"av_block_high_grade", "av_block_3"})),
    "QTc from 550 ms": Class(
        "long_qt", frozenset({"qtc_long"}), lambda rng: {"qtc_ms": float(rng.uniform(562.0, 640.0))}
    ),
    "inferior STEMI": Class("inferior_stemi", frozenset({"st_elevation_inferior"})),
    "anterior STEMI": Class("anterior_stemi", frozenset({"st_elevation_anterior"})),
    "lateral STEMI": Class("lateral_stemi", frozenset({"st_elevation_lateral"})),
    "posterior STEMI, V7–V9": Class("posterior_stemi", frozenset({"st_elevation_posterior"})),
    "posterior STEMI, 12 leads": Class("posterior_stemi", STEMI | {"st_depression_posterior"}),
    "RV STEMI, V3R V4R": Class("right_ventricular_stemi", frozenset({"st_elevation_right_ventricular"})),
    "de Winter": Class("de_winter", frozenset({"de_winter_pattern"})),
    "hyperkalaemia": Class(
        "hyperkalaemia", frozenset({"hyperkalaemia_pattern"}), lambda rng: {"severity": float(rng.uniform(0.5, 1.0))}
    ),
    "Wellens": Class("wellens", frozenset({"wellens_pattern"})),
}


NOT_CRITICAL = (
    "sinus_bradycardia",
    "sinus_tachycardia",
    "af",
    "atrial_flutter",
    "premature_ventricular",
    "premature_supraventricular",
    "av_block_1",
    "av_block_2_mobitz_1",
    "paced",
    "lbbb",
    "rbbb",
    "ivcd",
    "pre_excitation",
    "lvh",
    "low_voltage",
    "short_qt",
    "lead_off",
    "ra_la_swap",
)
"""Conditions that need no hurry."""


def judge(record: EcgRecord, profile: str = "standard") -> Flags:
    """The flags of one recording."""
    found = analyse(with_derived_leads(record), load_profile(profile))
    return Flags(found.flags, found.not_judged)


def raised(flags: Flags) -> frozenset[str]:
    """Codes of the flags that raise a case."""
    return frozenset(f.code for f in flags.flags if f.severity in RAISING)


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Wilson's interval at 95 %."""
    if of == 0:
        return 0.0, 1.0
    z, p = 1.959964, hits / of
    middle, half = p + z * z / (2 * of), z * math.sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return (middle - half) / (1 + z * z / of), (middle + half) / (1 + z * z / of)


def line(name: str, hits: int, of: int, note: str = "") -> str:
    low, high = wilson(hits, of)
    share = 100 * hits / of if of else float("nan")
    return f"{name:<34}{hits:5d} /{of:5d}  {share:5.1f} %  ({100 * low:.1f}–{100 * high:.1f})  {note}"


def simulated(name: str, seed: int) -> EcgRecord:
    """One recording of a class, with an adult of some age and sex in front of it and an ordinary day's noise."""
    kind = CLASSES[name]
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    extra = ("V7", "V8", "V9") if "V7" in name else ("V3R", "V4R") if "V3R" in name else ()
    patient = Patient(sex="MF"[int(rng.integers(2))])
    record, _ = simulate(
        kind.condition,
        10_000 + seed,
        noise=float(rng.uniform(0.1, 1.0)),
        extra_leads=extra,
        patient=patient,
        **kind.settings(rng),
    )
    return replace(record, age_years=float(rng.uniform(25.0, 85.0)))


def by_class(seeds: int) -> dict[str, float]:
    """Prints the sensitivity of each class on the simulator and returns it."""
    print("\nsimulator: found, of critical recordings (any age and sex, noise 0.1 to 1.0)")
    found: dict[str, float] = {}
    for name, kind in CLASSES.items():
        results = [judge(simulated(name, seed)) for seed in range(seeds)]
        hits = sum(any(f.code in kind.codes for f in r.flags) for r in results)
        any_raised = sum(bool(raised(r)) for r in results)
        others = sorted({f.code for r in results for f in r.flags} - kind.codes)
        found[name] = any_raised / seeds
        print(line(name, hits, seeds, f"raised by any flag {any_raised}; beside: {', '.join(others)[:90]}"), flush=True)
    return found


CONCORDANCE = frozenset({"st_concordant", "st_discordant_excessive"})
COMBINED: Mapping[str, Class] = {
    "inferior STEMI and hypertrophy": Class("lvh+inferior_stemi", STEMI),
    "anterior STEMI and hypertrophy": Class("lvh+anterior_stemi", STEMI),
    "lateral STEMI and hypertrophy": Class("lvh+lateral_stemi", STEMI),
    "inferior STEMI and LBBB": Class("lbbb+inferior_stemi", CONCORDANCE),
    "anterior STEMI and LBBB": Class("lbbb+anterior_stemi", CONCORDANCE),
    "lateral STEMI and LBBB": Class("lbbb+lateral_stemi", CONCORDANCE),
    "inferior STEMI and RBBB": Class("rbbb+inferior_stemi", STEMI),
    "inferior STEMI and flutter": Class("atrial_flutter+inferior_stemi", STEMI),
    "anterior STEMI and flutter": Class("atrial_flutter+anterior_stemi", STEMI),
    "complete block, 11 to 15/min": Class("complete_block", STANDSTILL, _rate(11.0, 15.0)),
}
"""Critical recordings that something else hides; not in the sensitivity of the mix."""


def combined(seeds: int) -> None:
    """Prints what is found of critical recordings that something else hides."""
    print("\nsimulator: found, where something else hides what is critical")
    for name, kind in COMBINED.items():
        hits = 0
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            record, _ = simulate(
                kind.condition, 40_000 + seed, noise=0.6, patient=Patient(sex="MF"[seed % 2]), **kind.settings(rng)
            )
            found = judge(replace(record, age_years=float(rng.uniform(35.0, 85.0))))
            hits += any(f.code in kind.codes for f in found.flags)
        print(line(name, hits, seeds), flush=True)


def healthy(seeds: int) -> None:
    """Prints how many simulated healthy variants are flagged."""
    from teleread.signal.ecg.simulate import NORMAL_VARIANTS

    print("\nsimulator: raised, of healthy variants and of what is ill but not critical")
    for condition in (*NORMAL_VARIANTS, *NOT_CRITICAL):
        hits, codes = 0, set()
        for seed in range(seeds):
            record, _ = simulate(condition, 20_000 + seed, noise=0.6, patient=Patient(sex="MF"[seed % 2]))
            age = 8.0 if condition == "child" else 25.0 + seed
            flags = raised(judge(replace(record, age_years=age)))
            hits, codes = hits + bool(flags), codes | flags
        print(line(condition, hits, seeds, ", ".join(sorted(codes))), flush=True)


@dataclass(frozen=True)
class Case:
    """A real recording: what the physicians wrote, and what was flagged."""

    name: str
    diagnoses: frozenset[str]
    flags: Flags


_CRITICAL = re.compile(r"stemi: |iii degree av|ventricular fib|ventricular tachy", re.I)
_PLAIN = re.compile(r"undefined ischemia/scar/supp\.nstemi", re.I)


@lru_cache(maxsize=1)
def ludb(data: Path) -> tuple[Case, ...]:
    """Every LUDB recording at hand."""
    cases = []
    for row in csv.DictReader((data / "ludb" / "ludb.csv").open(encoding="utf-8-sig")):
        name = row["ID"].strip()
        header = data / "ludb" / f"{name}.hea"
        if not header.exists():
            continue
        said = {
            part.strip() for key, text in row.items() if key not in ("ID", "Sex", "Age") for part in text.split("\n")
        }
        age = re.sub(r"\D", "", row["Age"])
        record = replace(
            read_ecg(header), age_years=float(age) if age else None, patient=Patient(sex=row["Sex"].strip())
        )
        cases.append(Case(name, frozenset(said - {""}), judge(record)))
    return tuple(cases)


def ludb_is_critical(case: Case) -> bool:
    return any(_CRITICAL.search(_PLAIN.sub("", text)) for text in case.diagnoses)


SNOMED: Mapping[str, str] = {
    "164865005": "myocardial infarction (any age)",
    "164861001": "myocardial ischaemia",
    "164931005": "ST elevation",
    "429622005": "ST depression",
    "54329005": "anterior infarction",
    "57054005": "acute infarction",
    "27885002": "complete AV block",
    "233917008": "AV block",
    "195042002": "AV block 2",
    "426183003": "Mobitz II",
    "164895002": "ventricular tachycardia",
    "164896001": "ventricular fibrillation",
    "111975006": "long QT",
    "426627000": "bradycardia",
    "713422000": "atrial tachycardia",
    "426761007": "SVT",
    "251259000": "high T",
}
_TWELVE_CRITICAL = frozenset({"164931005", "57054005", "54329005", "27885002", "164895002", "164896001", "426183003"})


@lru_cache(maxsize=1)
def twelve(data: Path) -> tuple[Case, ...]:
    """Every recording of CinC 2020/2021 at hand; without diagnoses where none were given."""
    cases = []
    for header in sorted((data / "twelve").glob("*.hea")):
        text = header.read_text()
        said = re.search(r"^#\s*Dx:(.*)$", text, re.M)
        codes = frozenset(code.strip() for code in (said.group(1) if said else "").split(",") if code.strip().isdigit())
        age, sex = re.search(r"^#\s*Age:\s*(\d+)", text, re.M), re.search(r"^#\s*Sex:\s*(\w)", text, re.M)
        record = read_ecg(header)
        record = replace(
            record,
            age_years=float(age.group(1)) if age else None,
            patient=Patient(sex=sex.group(1).upper() if sex else None),
        )
        cases.append(Case(header.stem, codes, judge(record)))
    return tuple(cases)


def real(data: Path, verbose: bool) -> None:
    """Prints what is flagged of LUDB and CinC recordings, by diagnosis."""
    print("\nLUDB: raised, by what the physicians wrote")
    cases = ludb(data)
    for title, wanted in (
        ("STEMI", lambda c: any("stemi: " in _PLAIN.sub("", t.lower()) for t in c.diagnoses)),
        ("complete AV block", lambda c: any("iii degree" in t.lower() for t in c.diagnoses)),
        ("all critical", ludb_is_critical),
        ("not critical", lambda c: not ludb_is_critical(c)),
        ("no ischaemia, no overload, not critical", lambda c: not ludb_is_critical(c) and not _ill(c)),
    ):
        chosen = [c for c in cases if wanted(c)]
        print(line(title, sum(bool(raised(c.flags)) for c in chosen), len(chosen)))
        if verbose:
            for case in chosen:
                critical = ludb_is_critical(case)
                if critical != bool(raised(case.flags)):
                    met = sorted({f"{n.code}:{n.reason}" for n in case.flags.not_judged if n.met})
                    print(f"      {case.name}: {_told(case)} | not judged, met: {met} | {sorted(case.diagnoses)}")
    print("\nCinC 2020/2021: raised, by diagnosis")
    found = twelve(data)
    given = [c for c in found if c.diagnoses]
    for code, name in SNOMED.items():
        chosen = [c for c in given if code in c.diagnoses]
        if chosen:
            print(line(name, sum(bool(raised(c.flags)) for c in chosen), len(chosen)))
    plain = [c for c in given if not c.diagnoses & _TWELVE_CRITICAL]
    print(line("none of the critical ones", sum(bool(raised(c.flags)) for c in plain), len(plain)))
    normal = [c for c in given if c.diagnoses == {"426783006"}]
    print(line("normal sinus rhythm alone", sum(bool(raised(c.flags)) for c in normal), len(normal)))
    print(
        line(
            "without a given diagnosis",
            sum(bool(raised(c.flags)) for c in found if not c.diagnoses),
            len(found) - len(given),
        )
    )
    if verbose:
        for case in found:
            if raised(case.flags):
                print(f"      {case.name}: {_told(case)} | {sorted(SNOMED.get(d, d) for d in case.diagnoses)}")


def _ill(case: Case) -> bool:
    return any(
        re.search(r"ischemia|stemi|scar|ventricular (hyper|overl)|pac(ing|emaker)", t, re.I) for t in case.diagnoses
    )


def _told(case: Case) -> str:
    return "; ".join(f"{f.code} {f.lead} {f.value:g} ({f.limit:g})" for f in case.flags.flags)


def windows(data: Path) -> Iterator[tuple[str, EcgRecord, float, bool]]:
    """Ten-second windows of MIT-BIH: (record, samples, seconds of VT or ventricular flutter within, other runs)."""
    import wfdb

    for header in sorted((data / "mitdb").glob("*.hea")):
        record = read_ecg(header)
        marks = wfdb.rdann(str(header.with_suffix("")), "atr")
        fs, n = record.fs_hz, record.signals_mv.shape[1]
        wild = np.zeros(n, dtype=bool)
        changes = [
            (int(s), note.strip("\x00"))
            for s, note in zip(marks.sample, marks.aux_note, strict=True)
            if note.startswith("(")
        ]
        for (start, note), (end, _) in zip(changes, [*changes[1:], (n, "")], strict=True):
            wild[start:end] |= note in ("(VT", "(VFL")
        width = round(10 * fs)
        for start in range(0, n - width + 1, width):
            part = replace(record, signals_mv=record.signals_mv[:, start : start + width], annotations=())
            yield (
                header.stem,
                part,
                float(wild[start : start + width].sum() / fs),
                bool(wild[start : start + width].any()),
            )


def mitdb(data: Path, every: int) -> None:
    """Prints how many windows with real VT or ventricular flutter are flagged, and how many of the others."""
    print(f"\nMIT-BIH: 10 s windows with VT or ventricular flutter (every one), without (one in {every})")
    tally = {"at least 3 s": [0, 0], "under 3 s": [0, 0], "none": [0, 0]}
    records: dict[str, list[int]] = {}
    codes = VENTRICULAR | {"ventricular_fibrillation"}
    for k, (name, part, seconds, some) in enumerate(windows(data)):
        if not some and k % every:
            continue
        key = "at least 3 s" if seconds >= 3 else "under 3 s" if some else "none"
        hit = any(f.code in codes for f in judge(part).flags)
        tally[key][0] += hit
        tally[key][1] += 1
        one = records.setdefault(f"{name} {key}", [0, 0])
        one[0], one[1] = one[0] + hit, one[1] + 1
    for key, (hits, of) in tally.items():
        print(line(key, hits, of))
    for name, (hits, of) in records.items():
        if ("none" in name) == bool(hits) or "none" not in name:
            print(f"      {name}: {hits}/{of}")


def mix(data: Path, seeds: int) -> None:
    """Prints the share flagged of a mix with 1 % critical recordings, and what a flag is worth in it."""
    print("\nmix with 1 % critical: real recordings that are not critical, simulated critical ones")
    found = by_class(seeds)
    sensitivity = float(np.mean([value for name, value in found.items()]))
    plain = [c for c in ludb(data) if not ludb_is_critical(c)] + [
        c for c in twelve(data) if c.diagnoses and not c.diagnoses & _TWELVE_CRITICAL
    ]
    for title, hits in (
        ("critical or urgent", sum(bool(raised(c.flags)) for c in plain)),
        ("critical", sum(any(f.severity == "critical" for f in c.flags.flags) for c in plain)),
        ("any flag", sum(bool(c.flags.flags) for c in plain)),
    ):
        rate, (low, high) = hits / len(plain), wilson(hits, len(plain))
        share = 0.01 * sensitivity + 0.99 * rate
        print(
            f"{title:<20} flagged {100 * share:.1f} % ({100 * (0.01 * sensitivity + 0.99 * low):.1f}–"
            f"{100 * (0.01 * sensitivity + 0.99 * high):.1f}) of the mix; of {len(plain)} not critical {hits}; "
            f"sensitivity {100 * sensitivity:.1f} %; predictive value {100 * 0.01 * sensitivity / share:.1f} %"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with ludb, twelve and mitdb")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--every", type=int, default=10, help="one in so many quiet windows of MIT-BIH")
    parser.add_argument("--part", choices=["simulator", "combined", "healthy", "real", "mitdb", "mix"], action="append")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    parts = options.part or ["combined", "healthy", "real", "mitdb", "mix"]
    if "simulator" in parts:
        by_class(options.seeds)
    if "combined" in parts:
        combined(options.seeds)
    if "healthy" in parts:
        healthy(options.seeds)
    if options.data is None:
        return
    if "real" in parts:
        real(options.data, options.verbose)
    if "mitdb" in parts:
        mitdb(options.data, options.every)
    if "mix" in parts:
        mix(options.data, options.seeds)


if __name__ == "__main__":
    main()
