"""Object stores: bytes by key, created once, durable when acknowledged."""

from __future__ import annotations

from teleread.storage.objects.filesystem import FileSystemStore
from teleread.storage.objects.protocol import ObjectInfo, ObjectStore, StoredObject, check_key
from teleread.storage.objects.raw import check_raw, get_raw, put_raw, raw_key
from teleread.storage.objects.urls import open_store

__all__ = [
    "FileSystemStore",
    "ObjectInfo",
    "ObjectStore",
    "StoredObject",
    "check_key",
    "check_raw",
    "get_raw",
    "open_store",
    "put_raw",
    "raw_key",
]
