"""The one door through which DICOM bytes are parsed.

Nothing in teleread calls ``pydicom.dcmread``: use :func:`read_dataset`, and look at decoded values inside
:func:`dicom_boundary`, because pydicom decodes a value only when it is first looked at. The implementation stands in
the pure core, where de-identification needs it as well.
"""

from __future__ import annotations

from teleread.signal.anonymise.part10 import Part10, dicom_boundary, is_bare, parse, read_dataset, sop_class_of, split

__all__ = ["Part10", "dicom_boundary", "is_bare", "parse", "read_dataset", "sop_class_of", "split"]
