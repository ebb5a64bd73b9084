"""A backup or a restore that is killed at any step is never half of one; steps in another order are caught."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from teleread.errors import Conflict, StorageError
from teleread.storage.backup.folder import finished
from teleread.storage.backup.make import make_backup
from teleread.storage.backup.restore import note_restored, restore_backup
from tests.backups import Small, land_one, wrong_with
from tests.prove.backups import STEPS, prove_one
from tests.unit.backing_up import folder, lose, small  # noqa: F401


class Killed(BaseException):
    """Ends a step as a kill does: nothing catches it."""


def _steps(small: Small, folder: Path) -> list[str]:
    seen: list[str] = []
    make_backup(small.open(), folder, keep=1, step=seen.append)
    return seen


def test_the_steps_are_those_that_the_kills_go_through(small: Small, folder: Path) -> None:
    assert _steps(small, folder) == list(STEPS)


@pytest.mark.parametrize("killed_at", STEPS)
def test_a_backup_killed_at_any_step_is_never_half_a_backup(small: Small, folder: Path, killed_at: str) -> None:
    parts = small.open()
    told = {land_one(small, parts, number) for number in range(4)}
    make_backup(parts, folder)
    told_late = told | {land_one(small, parts, number) for number in range(4, 7)}

    def step(name: str) -> None:
        land_one(small, parts, 100 + len(small.landed))  # the system goes on
        if name == killed_at:
            raise Killed

    with pytest.raises(Killed):
        make_backup(parts, folder, keep=1, step=step)
    finished_now = len(finished(folder)) == 2 or STEPS.index(killed_at) >= STEPS.index("manifest_written")
    lose(small, store=True)
    restore_backup(small.target(), folder, small.halves, actor="ops")
    parts = small.open()
    assert wrong_with(small, parts, told_late if finished_now else told) == []
    # the next run finds nothing in its way
    make_backup(parts, folder, keep=1, verify=True)
    assert len(finished(folder)) == 1
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == [".lock"]


def test_a_dump_of_the_vault_before_the_catalogue_is_caught(
    small: Small, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: what lands between the two dumps has a row and no identity."""
    from teleread.storage.backup import make

    catalogue, vault = make._Work._dump_catalogue, make._Work._dump_vault

    def vault_first(work, heads):  # type: ignore[no-untyped-def]
        versions: dict[str, str] = {}
        twin["parts"] = vault(work, heads, versions)
        twin["versions"] = versions
        work.step("between")
        parts, later, mark = catalogue(work, heads)
        return parts, {**versions, **later}, mark

    twin: dict[str, object] = {}
    monkeypatch.setattr(make._Work, "_dump_catalogue", vault_first)
    monkeypatch.setattr(make._Work, "_dump_vault", lambda *_: twin["parts"])
    parts = small.open()
    land_one(small, parts, 0)
    make_backup(parts, folder, step=lambda _name: str(land_one(small, parts, 100 + len(small.landed))))  # type: ignore[arg-type,return-value]
    lose(small, store=True)
    restore_backup(small.target(), folder, small.halves, actor="ops")
    assert any("no identity" in wrong for wrong in wrong_with(small, small.open(), set()))


def test_objects_copied_before_the_catalogue_are_caught(
    small: Small, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken twin: what lands between has a row and no bytes."""
    from teleread.storage.backup import make

    catalogue, copy = make._Work._dump_catalogue, make._Work._copy
    twin: dict[str, object] = {}

    def objects_first(work, heads):  # type: ignore[no-untyped-def]
        twin["copied"] = copy(work, 0)
        work.step("between")
        return catalogue(work, heads)

    monkeypatch.setattr(make._Work, "_dump_catalogue", objects_first)
    monkeypatch.setattr(make._Work, "_copy", lambda *_: twin["copied"])
    parts = small.open()
    land_one(small, parts, 0)
    made = make_backup(parts, folder, step=lambda _name: str(land_one(small, parts, 100 + len(small.landed))))  # type: ignore[arg-type,return-value]
    assert made.manifest.lost != ()
    lose(small, store=True)
    restored = restore_backup(small.target(), folder, small.halves, actor="ops")
    assert restored.missing == made.manifest.lost
    with pytest.raises(StorageError):
        wrong_with(small, small.open(), set())


def test_a_manifest_written_first_is_caught(small: Small, folder: Path) -> None:
    """The broken twin: killed later, it leaves a folder that says it is a backup and is none."""
    parts = small.open()
    land_one(small, parts, 0)
    made = make_backup(parts, folder)
    here = folder / made.manifest.id

    def step(name: str) -> None:
        if name == "catalogue_dumped":
            unfinished = next(path for path in folder.iterdir() if path.is_dir() and path.name not in
                              ("objects", made.manifest.id))  # fmt: skip
            shutil.copy(here / "manifest.json", unfinished / "manifest.json")
            raise Killed

    with pytest.raises(Killed):
        make_backup(parts, folder, step=step)
    lose(small)
    with pytest.raises(StorageError) as refused:
        restore_backup(small.target(), folder, small.halves, actor="ops")
    assert refused.value.code == "backup_corrupt"


RESTORE_STEPS = ["checked", "ring_restored", "vault_restored", "catalogue_restored", "objects_restored"]


@pytest.mark.parametrize("killed_at", RESTORE_STEPS)
def test_a_restore_killed_at_any_step_can_be_run_again(small: Small, folder: Path, killed_at: str) -> None:
    parts = small.open()
    told = {land_one(small, parts, number) for number in range(3)}
    make_backup(parts, folder)
    lose(small, store=True)
    seen: list[str] = []

    def step(name: str) -> None:
        seen.append(name)
        if name == killed_at:
            raise Killed

    with pytest.raises(Killed):
        restore_backup(small.target(), folder, small.halves, actor="ops", step=step)
    assert seen == RESTORE_STEPS[: len(seen)]
    target = small.target()
    restored = restore_backup(target, folder, small.halves, actor="ops")
    assert wrong_with(small, small.open(), told) == []
    note_restored(target, restored.manifest, actor="ops", detail={})
    with pytest.raises(Conflict):
        restore_backup(small.target(), folder, small.halves, actor="ops")


@pytest.mark.parametrize("number", [1, 5])
def test_a_backup_ended_by_the_system_is_whole_or_none(tmp_path: Path, number: int) -> None:
    assert prove_one(tmp_path, number) == []
