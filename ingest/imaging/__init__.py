"""DICOM headers for the catalogue and 8-bit previews for the pages; pure over bytes.

The previews are for looking, not for primary diagnosis: eight bits, one window, no colour management.
"""

from __future__ import annotations

from teleread.ingest.imaging.header import DicomHeader, read_header
from teleread.ingest.imaging.render import WINDOW_PRESETS, render_frame, thumbnail

__all__ = ["WINDOW_PRESETS", "DicomHeader", "read_header", "render_frame", "thumbnail"]
