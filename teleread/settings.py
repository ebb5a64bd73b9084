"""Settings: one frozen object from defaults, an optional TOML file and the environment, checked at start.

Precedence: ``TELEREAD_<NAME>`` in the environment, then the file that ``TELEREAD_CONFIG`` names (or
``teleread.toml`` in the home folder), then the embedded defaults. For the shell only: the core never reads it.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from teleread.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything lies and listens."""

    home: Path
    alliance_file: Path
    catalogue_url: str
    vault_url: str
    key_file: Path
    store_url: str
    host: str
    web_port: int
    airflow_port: int
    log_level: str
    parse_workers: int
    parse_memory_mb: int
    parse_timeout_s: int
    upload_limit_mb: int
    tls: str
    tls_certificate: str
    tls_key: str
    smtp_host: str
    smtp_port: int
    smtp_sender: str
    public_url: str
    critical_ladder_file: str

    def redacted(self) -> dict[str, str]:
        """All settings as text, passwords in URLs replaced."""
        return {field.name: _without_password(str(getattr(self, field.name))) for field in fields(self)}


_DEFAULTS: dict[str, str | int] = {
    "host": "127.0.0.1",
    "web_port": 8420,
    "airflow_port": 8421,
    "log_level": "INFO",
    "parse_workers": 2,
    "parse_memory_mb": 1024,
    "parse_timeout_s": 20,
    "upload_limit_mb": 64,
    "tls": "auto",  # auto: off loopback; on; off: a proxy in front speaks it
    "tls_certificate": "",  # PEM files of the hospital's own; empty: one is made at the first start
    "tls_key": "",
    "smtp_host": "",  # mail server for critical results; empty: contacts are told over webhooks and by telephone alone
    "smtp_port": 587,
    "smtp_sender": "",
    "public_url": "",  # of the pages as a clinic reaches them, for links; empty: messages hold none
    "critical_ladder_file": "",  # whom to tell of a critical result, and when; empty: the embedded one
}
_TLS = ("auto", "on", "off")
_PORTS = ("web_port", "airflow_port", "smtp_port")


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings.

    Raises:
        Misconfigured: ``settings_invalid``, naming the setting.
    """
    env = os.environ if environment is None else environment
    home = Path(env.get("TELEREAD_HOME", "var")).absolute()
    values: dict[str, object] = {
        "home": home,
        "alliance_file": home / "alliance.toml",
        "catalogue_url": f"sqlite:///{home / 'catalogue.db'}",
        "vault_url": f"sqlite:///{home / 'vault' / 'vault.db'}",
        "key_file": home / "keys" / "ring.json",  # a copy of the vault must not take its key along
        "store_url": f"file://{home / 'objects'}",
        **_DEFAULTS,
    }
    for name, value in _from_file(env, home).items():
        if name not in values or name == "home":
            raise _invalid(name, "is no setting")
        values[name] = value
    for name in values:
        given = env.get(f"TELEREAD_{name.upper()}")
        if given is not None:
            values[name] = given
    checked = {name: _checked(name, value) for name, value in values.items()}
    checked["home"] = home
    if bool(checked["tls_certificate"]) != bool(checked["tls_key"]):
        raise _invalid("tls_key", "and tls_certificate are given together or not at all")
    if bool(checked["smtp_host"]) != bool(checked["smtp_sender"]):
        raise _invalid("smtp_sender", "and smtp_host are given together or not at all")
    return Settings(**checked)  # type: ignore[arg-type]


def _from_file(env: Mapping[str, str], home: Path) -> Mapping[str, object]:
    named = env.get("TELEREAD_CONFIG")
    path = Path(named) if named else home / "teleread.toml"
    if not path.exists():
        if named:
            raise _invalid("TELEREAD_CONFIG", f"names a file that does not exist: {path}")
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise _invalid("TELEREAD_CONFIG", f"cannot be read: {error}") from error


def _checked(name: str, value: object) -> object:
    if name in {"home", "alliance_file", "key_file"}:
        return Path(str(value)).absolute()
    if isinstance(_DEFAULTS.get(name), int):
        try:
            number = int(str(value))
        except ValueError:
            raise _invalid(name, "must be a whole number") from None
        if number < 1 or (name in _PORTS and number > 65535):
            raise _invalid(name, "is out of range")
        return number
    if name == "tls" and value not in _TLS:
        raise _invalid(name, "is auto, on or off")
    return str(value)


def _invalid(name: str, why: str) -> Misconfigured:
    return Misconfigured("settings_invalid", f"Setting {name} {why}.")


def _without_password(text: str) -> str:
    # a password may hold an @ itself, and a driver may take it behind a question mark
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"(?i)([?&][^=&\s]*(?:password|passwd|pwd|secret|token)[^=&\s]*=)[^&\s]*", r"\1***", text)
