"""De-identification of DICOM by PS3.15 Annex E, Basic Application Level Confidentiality Profile.

What comes out is pseudonymised, not anonymous.
"""

from __future__ import annotations

from teleread.signal.anonymise.policy import POLICY_VERSION, Manifest, Policy
from teleread.signal.anonymise.profile import anonymise
from teleread.signal.anonymise.whole_file import pseudonymise_dicom

__all__ = ["POLICY_VERSION", "Manifest", "Policy", "anonymise", "pseudonymise_dicom"]
