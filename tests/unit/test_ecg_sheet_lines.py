"""Where the last row has no room for a deep S, and what a flag's line says of values that are no voltage."""

from __future__ import annotations

import numpy as np
import pytest

from teleread.signal.ecg.flag_types import Flag
from teleread.signal.ecg.sheet import draw_sheet
from teleread.signal.ecg.sheet_layout import GRID, SheetContent
from teleread.signal.ecg.sheet_page import Page, Polyline, Text
from teleread.signal.ecg.sheet_text import flag_line

FS = 500.0


def strip(deep_mv: float) -> SheetContent:
    """Three leads of twenty seconds, six rows; the last lead with spikes of this depth."""
    signals = np.zeros((3, round(20 * FS)))
    signals[:, ::500] = 0.5
    signals[2, 100::500] = -deep_mv
    return SheetContent(signals, ("I", "II", "V2"), FS, "3-lead ECG")


def lowest(page: Page, name: str) -> list[float]:
    """The lowest point of each piece of a trace, in mm below the top of the paper's grid."""
    found = [i for i in page.items if isinstance(i, Polyline) and i.name == name]
    return [float(i.points[:, 1].max()) - GRID[1] for i in found]


@pytest.mark.parametrize(("deep_mv", "off_scale"), [(1.0, False), (1.7, False), (2.4, False), (6.0, True)])
def test_a_row_moves_up_to_show_a_deep_wave_whole(deep_mv: float, off_scale: bool) -> None:
    (page,) = draw_sheet(strip(deep_mv))
    told = any(isinstance(i, Text) and "off scale" in i.text for i in page.items)
    assert told is off_scale
    last = [i for i in page.items if isinstance(i, Polyline) and i.name == "trace:V2"][-1].points[:, 1]
    # its height stays true to scale unless it leaves the paper
    assert (float(np.ptp(last)) == pytest.approx(10.0 * (deep_mv + 0.5), abs=0.1)) is not off_scale
    assert max(lowest(page, "trace:V2")) <= GRID[3] + 1e-9


def test_only_what_would_leave_the_paper_is_moved() -> None:
    usual, deep = (draw_sheet(strip(mv))[0] for mv in (1.0, 1.7))
    assert lowest(usual, "trace:II") == lowest(deep, "trace:II")
    first, last = lowest(deep, "trace:V2")[0], lowest(deep, "trace:V2")[-1]
    assert first == pytest.approx(lowest(usual, "trace:V2")[0] + 7.0, abs=0.1)
    assert last <= GRID[3]


def test_the_width_of_qrs_is_no_voltage_in_a_flags_line() -> None:
    flag = Flag("p.r", "1", "V3", 1.24, 0.5, code="hyperkalaemia_pattern", unit="mV")
    told = flag.to_json() | {"evidence": [{"lead": "V3", "value": 1.24}, {"lead": "global", "value": 154.0}]}
    assert flag_line(told, "en") == "Tall T and wide QRS (high potassium?): V3 1.24 mV (limit 0.50)"
