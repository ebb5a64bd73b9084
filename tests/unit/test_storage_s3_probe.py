"""What the probe finds, what is refused, and what is remembered of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from urllib.parse import quote

import pytest

from teleread.errors import Misconfigured, PeerError, StorageError
from teleread.storage.objects import SealedStore, open_store
from teleread.storage.objects.creating import ETAG_MD5
from teleread.storage.objects.folder import check_folder
from teleread.storage.objects.listing import uploads
from teleread.storage.objects.probe import ACCEPTABLE, NEEDED, Capabilities, probe, require
from teleread.storage.objects.remembered import Remembered
from teleread.storage.objects.s3 import S3Blobs
from tests.conftest import Clock
from tests.contract.keys import TestKeys
from tests.contract.rclone import ACCESS_KEY, SECRET_KEY, RcloneServer, rclone_server
from tests.contract.s3_proxy import s3_proxy

_numbers = count(1)


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneServer]:
    with rclone_server(tmp_path_factory.mktemp("rclone")) as running:
        yield running


@pytest.fixture(scope="module")
def anybody(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneServer]:
    with rclone_server(tmp_path_factory.mktemp("anybody"), anybody=True) as running:
        yield running


def url_of(endpoint: str, *options: str) -> str:
    """Of a bucket that is not there yet."""
    secret = quote(SECRET_KEY, safe="")
    return f"s3://{ACCESS_KEY}:{secret}@{endpoint}/probed-{next(_numbers)}?secure=0" + "".join(f"&{o}" for o in options)


def probed(endpoint: str) -> tuple[Capabilities, S3Blobs]:
    """What is found, and the closed bucket."""
    blobs = S3Blobs(endpoint, f"bucket-{next(_numbers)}", ACCESS_KEY, SECRET_KEY, secure=False)
    blobs.ensure_bucket()
    return probe(blobs), blobs


def test_a_server_that_overwrites_silently_is_refused_with_the_way_out(rclone: RcloneServer) -> None:
    found, blobs = probed(rclone.endpoint)
    assert found.missing() == ("create_only",)
    assert found.enforced == {*NEEDED, ETAG_MD5} - {"create_only"}
    assert list(blobs.list()) == []
    assert list(uploads(blobs.wire)) == []
    blobs.close()
    url = url_of(rclone.endpoint)
    with pytest.raises(Misconfigured) as refused:
        open_store(url, TestKeys())
    assert refused.value.code == "store_does_not_enforce"
    assert NEEDED["create_only"] in refused.value.safe_message
    assert "accept=create_only " in refused.value.safe_message
    assert SECRET_KEY not in str(refused.value)
    with pytest.raises(Misconfigured):
        open_store(url + "&accept=content_md5,ranges", TestKeys())
    store = open_store(url + "&accept=content_md5,create_only", TestKeys())
    assert isinstance(store, SealedStore)
    assert store.get(store.put_raw(b"one").key) == b"one"
    store.close()


@pytest.mark.parametrize(
    ("weakness", "lacking"),
    [
        ("", set()),
        ("conflicts", set()),
        ("overwrites", {"create_only"}),
        ("overwrites_and_says_not", {"create_only"}),
        ("races", {"create_only"}),
        ("not_implemented", {"create_only"}),
        ("takes_damage", {"content_md5"}),
        ("shifts_ranges", {"ranges"}),
        ("hides_uploads", {"parts"}),
        ("keeps_uploads", {"parts"}),
        ("shows_parts", {"parts"}),
        ("lists_backwards", {"listing"}),
        ("lists_from_the_start", {"listing"}),
        ("keeps_deleted", {"deletion"}),
    ],
)
def test_each_weakness_is_found_by_its_effect(anybody: RcloneServer, weakness: str, lacking: set[str]) -> None:
    with s3_proxy(anybody.endpoint, weakness) as proxy:
        found, blobs = probed(proxy.endpoint)
        blobs.close()
        assert set(found.missing()) == {"credentials", *lacking}
        if lacking:
            with pytest.raises(Misconfigured) as refused:
                require(Capabilities(found.enforced | {"credentials"}))
            assert all(name in refused.value.safe_message for name in lacking)


def test_a_server_that_takes_a_wrong_secret_is_never_accepted(anybody: RcloneServer) -> None:
    every = ",".join(sorted(ACCEPTABLE))
    with pytest.raises(Misconfigured) as refused:
        open_store(url_of(anybody.endpoint, f"accept={every}"), TestKeys())
    assert refused.value.code == "store_does_not_enforce"
    assert "never accepted" in refused.value.safe_message
    with pytest.raises(Misconfigured) as refused:
        open_store(url_of(anybody.endpoint, f"accept={every},credentials"), TestKeys())
    assert refused.value.code == "bad_store_url"
    with pytest.raises(Misconfigured):
        require(Capabilities(frozenset(NEEDED) - {"credentials"}), set(NEEDED))


def test_a_server_that_does_not_answer_is_neither_refused_nor_accepted() -> None:
    with pytest.raises(PeerError) as failed:
        open_store(url_of("127.0.0.1:1"), TestKeys())
    assert failed.value.code == "store_unreachable"


def test_a_wrong_secret_of_our_own_is_named_as_the_cause(rclone: RcloneServer) -> None:
    blobs = S3Blobs(rclone.endpoint, "bucket", ACCESS_KEY, "wrong", secure=False)
    with pytest.raises(StorageError) as failed:
        probe(blobs)
    blobs.close()
    assert failed.value.code == "store_access_denied"


def test_what_a_killed_probe_left_is_removed_after_an_hour(rclone: RcloneServer) -> None:
    blobs = S3Blobs(rclone.endpoint, "leftovers", ACCESS_KEY, SECRET_KEY, secure=False)
    blobs.ensure_bucket()
    # on the disk, because the server remembers the ages of what it wrote
    for key, age_s in (("probe/old/plain", 3700), ("probe/young/plain", 3000), ("raw/old", 10_000)):
        file = rclone.folder / "leftovers" / key
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x")
        then = file.stat().st_mtime - age_s
        os.utime(file, (then, then))
    probe(blobs)
    assert [info.key for info in blobs.list()] == ["probe/young/plain", "raw/old"]
    blobs.close()


def test_what_was_found_is_remembered_for_a_day(rclone: RcloneServer, tmp_path: Path, clock: Clock) -> None:
    memory, url = tmp_path / "stores.json", url_of(rclone.endpoint, "accept=create_only")
    bucket = rclone.folder / url.split("/")[3].split("?")[0]

    def made() -> bool:
        """Whether opening it probes: the bucket is then made again."""
        with suppress(FileNotFoundError):
            bucket.rmdir()
        open_store(url, TestKeys(), remember=memory, clock=clock).close()
        return bucket.exists()

    assert made()
    assert memory.stat().st_mode & 0o777 == 0o600
    assert ACCESS_KEY not in memory.read_text()
    assert not made()
    clock.advance(24 * 3600 - 1)
    assert not made()
    clock.advance(1)
    assert made()
    assert not made()
    clock.advance(-60)  # found in the future
    assert made()


def test_what_is_not_accepted_is_not_remembered_away(rclone: RcloneServer, tmp_path: Path) -> None:
    memory, url = tmp_path / "stores.json", url_of(rclone.endpoint)
    open_store(url + "&accept=create_only", TestKeys(), remember=memory).close()
    with pytest.raises(Misconfigured):
        open_store(url, TestKeys(), remember=memory)


@pytest.mark.parametrize("damage", ["open", "link", "cut", "other", "version", "absent", "folder"])
def test_a_memory_that_cannot_be_trusted_counts_as_empty(tmp_path: Path, clock: Clock, damage: str) -> None:
    path = tmp_path / "stores.json"
    memory = Remembered(path, clock=clock)
    memory.keep("one", frozenset({"create_only"}))
    memory.keep("two", frozenset())
    assert memory.recall("one") == {"create_only"}
    text = path.read_text()
    match damage:
        case "open":
            path.chmod(0o640)
        case "link":
            path.rename(tmp_path / "elsewhere")
            path.symlink_to(tmp_path / "elsewhere")
        case "cut":
            path.write_text(text[:-10])
        case "other":
            path.write_text(json.dumps(["stores"]))
        case "version":
            path.write_text(text.replace('"version": 1', '"version": 2'))
        case "absent":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
    assert memory.recall("one") is None
    memory.keep("one", frozenset({"ranges"}))
    if damage != "folder":
        assert memory.recall("one") == {"ranges"}
        assert path.stat().st_mode & 0o777 == 0o600
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


def test_nothing_is_remembered_without_a_file(clock: Clock) -> None:
    memory = Remembered(None, clock=clock)
    memory.keep("one", frozenset(NEEDED))
    assert memory.recall("one") is None


@pytest.mark.parametrize("lacks", ["", "link", "overwriting link", "fsync"])
def test_a_folder_without_hard_links_or_syncing_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    match lacks:
        case "link":
            monkeypatch.setattr(os, "link", refuse)
        case "overwriting link":
            monkeypatch.setattr(os, "link", lambda source, target: Path(target).write_bytes(Path(source).read_bytes()))
        case "fsync":
            monkeypatch.setattr(os, "fsync", refuse)
    if lacks:
        with pytest.raises(Misconfigured) as refused:
            check_folder(tmp_path)
        assert refused.value.code == "store_does_not_enforce"
    else:
        check_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_checked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    url, memory = f"file://{tmp_path}/objects", tmp_path / "stores.json"
    checked: list[Path] = []
    monkeypatch.setattr("teleread.storage.objects.urls.check_folder", checked.append)
    for _ in range(3):
        open_store(url, TestKeys(), remember=memory, clock=clock).close()
    assert checked == [tmp_path / "objects"]
    open_store(url, TestKeys(), clock=clock).close()
    clock.advance(24 * 3600)
    open_store(url, TestKeys(), remember=memory, clock=clock).close()
    assert len(checked) == 3
