"""Live keys that are used for tests, by the words of whoever wrote the configuration.

A word counts only where it stands alone between separators (``test-runner``, not ``latest``), and not where
the same text also says that it is live. Free text (names, descriptions) and owners are left out: a team that
is called dev may well own a live key, and a pipeline that deploys has to have one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from keyform.engine.audit.finding import Finding, ManagedKey
from keyform.engine.audit.rules import LIVE_IN_TEST
from keyform.model import DesiredKey
from keyform.profile import Profile

LIVE = frozenset({"live", "prod", "production"})
TEST = frozenset(
    {"dev", "development", "e2e", "nonprod", "qa", "sandbox", "staging", "test", "testing", "tests", "uat"}
)

Names = tuple[tuple[str, str], ...]
"""What else the run was given, with words for what that is: its folder, files of variables."""

_APART = re.compile(r"[^a-z0-9]+")


def is_live(environment: str | None, profile: Profile) -> bool:
    """Whether an environment is one where real customers are: as the profile says, or else by its name."""
    if profile.power.production:
        return environment in profile.power.production
    return environment is not None and environment.lower() in LIVE


def says_test(text: str) -> str | None:
    """The word by which a text says that it is about tests, or None."""
    words = _APART.split(text.lower())
    if LIVE.intersection(words):
        return None
    return next((word for word in words if word in TEST), None)


def live_in_test(key: ManagedKey, names: Names) -> Iterator[Finding]:
    """Declared live keys that something around them says are for tests."""
    want = key.want
    if want is None or not is_live(want.spec.environment, key.view.profile):
        return
    for what, text, path in (*_own(want), *((what, text, ()) for what, text in names)):
        word = says_test(text)
        if word is not None:
            environment = want.spec.environment
            message = f'its environment is `{environment}`, and {what} `{text}` says "{word}"'
            yield key.found(LIVE_IN_TEST, message, *path)
            return


def _own(want: DesiredKey) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """What it is, the text, and the field where that stands."""
    yield "its address", want.address.removeprefix("keys."), ()
    for tag in want.tags:
        yield "its tag", tag, ("tags",)
    for place in want.places:
        yield "the place of its secret", str(place), ("secret",)
    if want.spec.project is not None:
        yield "its project", want.spec.project, ("project",)
    if want.source is not None:
        yield "the file", want.source.file.rpartition(".")[0], ()
