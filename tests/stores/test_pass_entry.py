"""What stands in an entry of a password store."""

from __future__ import annotations

from keyform.model import Secret
from keyform.stores.pass_entry import labels_in, secret_in, written


def test_the_first_line_is_the_secret_and_the_others_stay() -> None:
    entry = written(
        "old\nuser: alice\n\nkeyform-address: keys.a\nnote\n",
        Secret("new"),
        {"address": "keys.b"},
        whole=False,
    )
    assert entry == "new\nuser: alice\n\nnote\nkeyform-address: keys.b\n"
    assert secret_in(entry, whole=False) == Secret("new")
    assert labels_in(entry, whole=False) == {"address": "keys.b"}


def test_an_entry_can_be_the_secret_as_a_whole() -> None:
    entry = written("old\nuser: alice\n", Secret("line\nkeyform-x: y\n"), {"address": "keys.b"}, whole=True)
    assert entry == "line\nkeyform-x: y\n"
    assert secret_in(entry, whole=True) == Secret(entry)
    assert labels_in(entry, whole=True) == {}


def test_labels_are_one_line_each() -> None:
    assert written(None, Secret("s"), {"address": "keys.a\nkeyform-key_id: forged"}, whole=False) == (
        "s\nkeyform-address: keys.a keyform-key_id: forged\n"
    )


def test_entries_that_others_wrote_are_understood() -> None:
    for entry in ("s", "s\n", "s\nkeyform-bare\n", "s\nuser: me"):
        assert secret_in(entry, whole=False) == Secret("s")
        assert labels_in(entry, whole=False) == {}
