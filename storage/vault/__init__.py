"""The vault: the only place where a patient has a name."""

from __future__ import annotations

from teleread.storage.vault.identity import Enrolled, Identity, Statement
from teleread.storage.vault.keyring import KeyRing
from teleread.storage.vault.vault import Vault

__all__ = ["Enrolled", "Identity", "KeyRing", "Statement", "Vault"]
