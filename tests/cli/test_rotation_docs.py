"""``docs/rotation.md`` shows what keyform prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.world import MovedClock, World

from .conftest import Keyform

PAGE = Path(__file__).parents[2] / "docs" / "rotation.md"
KEY = re.compile(r"key_[a-z2-7]{26}")


class Story:
    """One key through its life, with a clock that the story moves. Ids are told as key_1, key_2 and so on."""

    def __init__(self, keyform: Keyform, folder: Path) -> None:
        self._keyform, self._folder = keyform, folder
        self._clock = MovedClock()
        self._ids: dict[str, str] = {}

    def run(self, *argv: str) -> str:
        done = self._keyform(*argv, clock=self._clock)
        assert done.code == 0, done.err
        text = done.out + done.err.replace(f"{self._folder}/", "")
        return KEY.sub(lambda found: self._ids.setdefault(found[0], f"key_{len(self._ids) + 1}"), text)

    def used(self, number: int) -> None:
        """Somebody uses a generation, and three minutes pass."""
        world = World(self._folder, self._clock)
        found = [g for g in world.state().keys["keys.checkout"].generations() if g.number == number]
        (generation,) = found
        with world.open() as ws, closing(world.service("payments")) as service:
            place = generation.places[0]
            secret = ws.store("local").get(place, generation.version_at(place))
            assert secret is not None
            service.prove(secret, world.live("payments")[generation.id])
        self._clock.move(minutes=3)

    def told(self) -> Iterator[str]:
        self.run("apply", "--auto-approve")
        self._clock.move(days=60)
        yield self.run("plan")
        self.run("apply", "--auto-approve")
        self._clock.move(days=3)
        self.used(1)
        yield self.run("plan")
        self._clock.move(days=11)
        self.used(1)
        yield self.run("plan")
        self.run("apply", "--auto-approve")
        yield self.run("plan", "--rotate", "checkout", "--reason", "a contractor has left")
        self.run("rotate", "checkout", "--auto-approve")
        reason = "the proxy does not know the new key"
        yield self.run("rollback", "checkout", "--reason", reason, "--auto-approve")
        self._clock.move(days=1)
        yield self.run("plan", "--rotate", "checkout", "--now", "--reason", "found in a public repository")


def test_the_page_shows_what_is_printed(
    keyform: Keyform, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    page = PAGE.read_text(encoding="utf-8")
    declared = page.partition("```yaml\n")[2].partition("```")[0]
    (folder / "keyform.yaml").write_text(declared)
    for text in Story(keyform, folder).told():
        assert text.strip() in page, text
