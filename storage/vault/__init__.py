"""The vault: the only place where a patient has a name."""

from __future__ import annotations

from teleread.storage.vault.vault import Identity, Vault

__all__ = ["Identity", "Vault"]
