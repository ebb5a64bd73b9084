"""Object stores: bytes by key, created once, sealed, durable when acknowledged."""

from __future__ import annotations

from teleread.storage.objects.filesystem import FileBlobs
from teleread.storage.objects.measuring import Measured, measure_batches
from teleread.storage.objects.protocol import (
    Blobs,
    DataKey,
    Draft,
    Header,
    ObjectInfo,
    ObjectKeys,
    ObjectStore,
    StoredObject,
    check_key,
)
from teleread.storage.objects.raw import check_raw, get_raw, put_raw, raw_key, raw_root
from teleread.storage.objects.sealed import SealedStore
from teleread.storage.objects.urls import open_blobs, open_store

__all__ = [
    "Blobs",
    "DataKey",
    "Draft",
    "FileBlobs",
    "Header",
    "Measured",
    "ObjectInfo",
    "ObjectKeys",
    "ObjectStore",
    "SealedStore",
    "StoredObject",
    "check_key",
    "check_raw",
    "get_raw",
    "measure_batches",
    "open_blobs",
    "open_store",
    "put_raw",
    "raw_key",
    "raw_root",
]
