"""``teleread ecg``: read, measure, judge and draw one recording. It needs no running system."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from teleread.cli.ecg_report import comparison, report
from teleread.errors import InputRejected, Misconfigured

if TYPE_CHECKING:
    # imported where needed: other commands should not wait for SciPy
    from teleread.ingest.formats.format import Given
    from teleread.signal.ecg.analysis import Analysis
    from teleread.signal.ecg.record import EcgRecord
    from teleread.signal.ecg.serial import Change

# the sheet's LAYOUTS, said again: to import them is to wait a second for SciPy
_LAYOUTS = ("auto", "3x4", "3x4+3", "6x2", "12x1", "strips")


def add_command(commands: Any) -> None:
    """Add ``ecg``."""
    ecg = commands.add_parser(
        "ecg",
        help="read, measure, judge and draw one recording",
        description="Prints what the program measured and flagged, all of it unconfirmed; no flag never means normal.",
    )
    ecg.add_argument(
        "file", type=Path, metavar="FILE", help="an ECG file (`teleread formats`), or a ZIP of a recording"
    )
    ecg.add_argument("--json", action="store_true", help="the whole analysis as JSON (docs/ecg-json.md)")
    ecg.add_argument("--profile", metavar="NAME", help="the list of limits that flags (default: standard)")
    ecg.add_argument("--compare", type=Path, metavar="EARLIER", help="also say what changed since this recording")
    ecg.add_argument(
        "--plot",
        type=_plot_path,
        metavar="OUT",
        help="draw the standard sheet (25 mm/s, 10 mm/mV) to OUT.svg, OUT.pdf or OUT.png; "
        "further pages of SVG and PNG become OUT-2, OUT-3 …; twelve leads fill ten seconds, strips at most 12 pages, "
        "and --start goes on from there",
    )
    ecg.add_argument("--layout", choices=_LAYOUTS, default="auto", help="of the sheet (default: auto)")
    ecg.add_argument("--start", type=float, default=0.0, metavar="S", help="second at which the sheet begins")
    ecg.add_argument("--language", choices=["en", "zh"], default="en", help="of the sheet (default: en)")
    ecg.add_argument("--identity", action="store_true", help="print the patient's name and number on the sheet")
    add_given(ecg)
    ecg.set_defaults(run=run_ecg)


def add_given(parser: argparse.ArgumentParser) -> None:
    """Add what a person must state about a file that cannot say it itself (CSV)."""
    parser.add_argument(
        "--fs-hz", "--fs", type=_positive, metavar="HZ", help="the sampling rate of a CSV file, which cannot say it"
    )
    parser.add_argument(
        "--unit", type=_unit, metavar="UNIT", help="what one step of its numbers is: mV, uV, nV, V, or such as 5uV"
    )


def _unit(text: str) -> str:
    from teleread.ingest.formats.format import Given

    if Given(unit=text).per_mv is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no unit of voltage: mV, uV, nV, V, or a number of them as 5uV")
    return text


def given(options: argparse.Namespace) -> Given | None:
    """What was stated with :func:`add_given`'s options."""
    from teleread.ingest.formats.format import Given

    return Given(options.fs_hz, options.unit) if options.fs_hz or options.unit else None


def run_ecg(options: argparse.Namespace) -> int:
    """Print one recording's analysis and draw it where asked to."""
    from teleread.ingest.formats import read_ecg

    if options.profile:
        _check_profile(options.profile)
    record = read_ecg(existing_file(options.file), given=given(options))
    # what is wrong with the request is said before the long work
    _check_start(record, options.start)
    if options.plot:
        _check_plot(options.plot, options.language)
    found = _analyse(record, options.profile)
    analysis = found.to_json()
    changes: tuple[Change, ...] = ()
    if options.compare:
        earlier = read_ecg(existing_file(options.compare), given=given(options))
        changes = _changes(record, found, earlier, _analyse(earlier, options.profile))
        analysis["comparison"] = [asdict(change) for change in changes]
    drawn = list(_plot(record, analysis, changes, options)) if options.plot else []
    if options.json:
        print(json.dumps(analysis, ensure_ascii=False, sort_keys=True))
        return 0
    lines = [*report(record, analysis), *(comparison(changes) if options.compare else [])]
    print("\n".join([*lines, *drawn]))
    return 0


def _analyse(record: EcgRecord, profile: str | None) -> Analysis:
    from teleread.signal.ecg import analyse
    from teleread.signal.ecg.flags import load_profile

    return analyse(record, load_profile(profile) if profile else None)


def _changes(now: EcgRecord, found: Analysis, before: EcgRecord, earlier: Analysis) -> tuple[Change, ...]:
    """What changed; refused where the files say that these are two people or two moments the other way round."""
    from teleread.signal.ecg.serial import Compared, compare

    one, other = now.patient, before.patient
    if one.id and other.id and (one.issuer, one.id) != (other.issuer, other.id):
        raise InputRejected("other_patient", "The two recordings name different patients; nothing was compared.")
    if now.acquired_at and before.acquired_at and before.acquired_at > now.acquired_at:
        raise InputRejected("not_earlier", "The recording to compare with is the later one of the two.")

    def compared(analysis: Analysis) -> Compared:
        codes = tuple(dict.fromkeys(code for _, _, code in analysis.rhythm))
        findings = tuple(dict.fromkeys(finding.code for finding in analysis.rhythm_findings))
        return Compared(analysis.measurements, codes, findings, analysis.quality.acceptable)

    return compare(compared(found), compared(earlier))


def _plot(
    record: EcgRecord, analysis: Mapping[str, Any], changes: Sequence[Change], options: argparse.Namespace
) -> Iterator[str]:
    """Draw the sheet; gives a line for each file written and one where the recording goes on behind it."""
    from teleread.reading.sheet_files import FORMATS
    from teleread.signal.ecg.record import with_derived_leads
    from teleread.signal.ecg.sheet import draw_sheet, drawn_until
    from teleread.signal.ecg.sheet_text import main_changes, sheet_content

    out: Path = options.plot
    content = sheet_content(
        with_derived_leads(record),
        analysis,
        language=options.language,
        identity=options.identity,
        changes=main_changes(changes, options.language),
    )
    try:
        pages = draw_sheet(content, options.layout, start_s=options.start)
        until = drawn_until(content, options.layout, start_s=options.start)
    except ValueError as error:
        raise InputRejected("layout_unfit", f"This recording cannot be drawn so: {error}.") from error
    for number, data in enumerate(FORMATS[out.suffix](pages), 1):
        path = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
        try:
            path.write_bytes(data)
        except OSError as error:
            raise InputRejected("sheet_not_written", f"{path} was not written: {error.strerror}.") from error
        yield f"drawn     {path}"
    seconds = record.signals_mv.shape[1] / record.fs_hz
    if until < seconds:
        yield f"drawn     {options.start:g}–{until:g} s of {seconds:.1f} s; --start {until:g} goes on"


def _check_profile(name: str) -> None:
    from teleread.signal.ecg.flags import profile_names

    if name not in (names := profile_names()):
        raise Misconfigured("flag_profile_unknown", f"{name} is no flag profile; there are {', '.join(names)}.")


def _check_start(record: EcgRecord, start_s: float) -> None:
    """Whether the second at which the sheet begins lies in the recording."""
    seconds = record.signals_mv.shape[1] / record.fs_hz
    if start_s and not 0.0 <= start_s < seconds:
        raise InputRejected(
            "start_outside", f"--start must lie from 0 to below {seconds:.1f}: the recording's seconds."
        )


def _check_plot(out: Path, language: str) -> None:
    """Whether the sheet can be written where and as it was asked for."""
    from teleread.reading.sheet_files import chinese_font

    if not out.parent.is_dir():
        raise InputRejected("folder_missing", f"There is no folder {out.parent} to write {out.name} to.")
    if language == "zh" and out.suffix == ".png" and chinese_font() is None:
        raise InputRejected("font_missing", "This machine has no Chinese font; draw an SVG or a PDF.")


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value <= 100_000.0:
        raise argparse.ArgumentTypeError("a rate is a number from above 0 to 100000")
    return value


def _plot_path(text: str) -> Path:
    path = Path(text)
    if path.suffix not in (".svg", ".pdf", ".png"):
        raise argparse.ArgumentTypeError("the file must end in .svg, .pdf or .png")
    return path


def existing_file(path: Path) -> Path:
    """The path, where there is a file.

    Raises:
        InputRejected: ``file_missing``, ``file_is_folder``.
    """
    if not path.exists():
        raise InputRejected("file_missing", f"There is no file {path}.")
    if path.is_dir():
        raise InputRejected("file_is_folder", f"{path} is a folder; name one file of the recording.")
    return path
