"""Profiles whose `reroll` makes a copy of a key: what they have to say besides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from keyform.cli.main import run
from keyform.services.check import check_profile

FILE = Path(__file__).parent.parent.parent / "keyform" / "services" / "profiles" / "unkey.yaml"


def mark_in_tags(tree: Any) -> None:
    tree["marker"] = "tags"
    tree["key"]["tags"] = "tags"
    tree["operations"]["create"]["body"]["tags"] = "{tags}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tree: tree.update(one_per_kind="each"), "there is no copy beside it"),
        (lambda tree: tree["operations"].pop("list"), "seen to by `list`"),
        (lambda tree: tree["operations"].pop("update"), "seen to by `update`"),
        (lambda tree: tree["operations"].pop("revoke"), "seen to by `revoke`"),
        (mark_in_tags, "has the old key's label"),
        (lambda tree: tree["mutable"].remove("metadata"), "has the old key's label"),
        (lambda tree: tree["mutable"].remove("expires_at"), "is given an end"),
        (lambda tree: tree["shown"].remove("expires_at"), "is given an end"),
        (lambda tree: tree["key"].pop("created_at"), "to tell a copy from another"),
    ],
)
def test_a_profile_that_lacks_what_it_takes_to_undo_a_copy_is_told(
    change: Callable[[Any], object], says: str
) -> None:
    tree = yaml.safe_load(FILE.read_text())
    assert check_profile(yaml.safe_dump(tree).encode(), "it") == ()
    change(tree)
    found = check_profile(yaml.safe_dump(tree).encode(), "it")
    assert any(says in diagnostic.summary for diagnostic in found), found
    del tree["operations"]["reroll"]["deadline"]
    found = check_profile(yaml.safe_dump(tree).encode(), "it")
    assert not any(says in diagnostic.summary for diagnostic in found), found


def test_the_types_own_page_says_when_it_is_used(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["services", "unkey"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "A key that works and is as declared is rotated by `reroll`; any other by a create." in told
