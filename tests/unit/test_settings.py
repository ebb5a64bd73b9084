from __future__ import annotations

from pathlib import Path

import pytest

from teleread.errors import Misconfigured
from teleread.settings import load_settings


def test_environment_wins_over_file_and_file_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "teleread.toml").write_text('web_port = 9000\nlog_level = "DEBUG"\n')
    settings = load_settings({"TELEREAD_HOME": str(tmp_path), "TELEREAD_WEB_PORT": "9001"})
    assert (settings.web_port, settings.log_level, settings.airflow_port) == (9001, "DEBUG", 8421)
    assert settings.store_url == f"file://{tmp_path / 'objects'}"


@pytest.mark.parametrize(
    "environment",
    [{"TELEREAD_WEB_PORT": "many"}, {"TELEREAD_WEB_PORT": "70000"}, {"TELEREAD_CONFIG": "/nowhere.toml"}],
)
def test_a_wrong_setting_is_named(tmp_path: Path, environment: dict[str, str]) -> None:
    with pytest.raises(Misconfigured, match="Setting"):
        load_settings({"TELEREAD_HOME": str(tmp_path), **environment})


def test_an_unknown_setting_in_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "teleread.toml").write_text("web_prot = 9000\n")
    with pytest.raises(Misconfigured, match="web_prot"):
        load_settings({"TELEREAD_HOME": str(tmp_path)})


def test_passwords_are_never_printed(tmp_path: Path) -> None:
    settings = load_settings(
        {
            "TELEREAD_HOME": str(tmp_path),
            "TELEREAD_CATALOGUE_URL": "postgresql+psycopg://teleread:hunter2@db/teleread",
            "TELEREAD_STORE_URL": "s3://key:hunter2@127.0.0.1:9000/bucket",
        }
    )
    assert "hunter2" in settings.catalogue_url
    assert "hunter2" not in str(settings.redacted())
