from __future__ import annotations

import pickle

import pytest

from teleread import errors

TREE = ["AccessDenied", "Conflict", "InputRejected", "Misconfigured", "PeerError", "StorageError", "TelereadError"]


def test_the_exported_errors_are_those_of_the_documented_tree() -> None:
    assert sorted(name for name in dir(errors) if name[0].isupper()) == TREE
    assert all(name in (errors.__doc__ or "") for name in TREE)


@pytest.mark.parametrize("name", TREE)
def test_an_error_keeps_its_code_between_processes(name: str) -> None:
    error = getattr(errors, name)("some_code", "A sentence.")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.safe_message) == (type(error), "some_code", "A sentence.")
