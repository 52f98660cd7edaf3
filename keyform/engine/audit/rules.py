"""The rules of the audit: what each is called, how bad it is, why it matters and what to do.

A code never changes its meaning and is never used again; a rule that goes leaves a gap.
"""

from __future__ import annotations

from dataclasses import dataclass

from keyform.diagnostics import ERROR, NOTE, WARNING

SEVERITIES = (ERROR, WARNING, NOTE)
"""Worst first. ``error``: somebody can do harm, or something fails, now. ``warning``: a leak or a mistake
would do more harm than it must. ``note``: worth knowing."""


@dataclass(frozen=True, slots=True)
class Rule:
    """``finds`` says what trips it, ``why`` what it can lead to, ``do`` how to mend it. ``milder`` says where
    it is a note only. ``acceptable`` False: nothing in ``accept`` can be about it."""

    code: str
    name: str
    severity: str
    finds: str
    why: str
    do: str
    milder: str = ""
    acceptable: bool = True


UNMANAGED = Rule(
    "KF001",
    "unmanaged-key",
    WARNING,
    "an active key that no declaration and no state knows",
    "Nobody reviews it, rotates it or would miss it; a leaked one is found out about last.",
    "Adopt it with `imports` (`keyform generate SERVICE` writes the YAML), or revoke it at the service. "
    "keyform never touches it by itself.",
)
NEVER_USED = Rule(
    "KF002",
    "never-used-key",
    WARNING,
    "a key that nobody has used since it was minted, for `stale_after` of its service or 90 days",
    "A key that nobody needs can only do harm.",
    "Take it out of the configuration, which revokes it, or find out why its user does not use it.",
)
STALE = Rule(
    "KF003",
    "stale-key",
    WARNING,
    "a key that was used once, and not for `stale_after` of its service or 90 days",
    "A key that nobody needs any more can only do harm.",
    "Take it out of the configuration, which revokes it.",
)
NO_EXPIRY = Rule(
    "KF004",
    "no-expiry",
    WARNING,
    "a declared key that never expires although its service lets keys expire; public keys, which work from "
    "their allowed origins only, are left out",
    "A copy that leaked, or was forgotten in a backup, works for ever.",
    "Give it `expires_in`, with `rotation.before_expiry` so that the next generation comes in time.",
)
NO_ROTATION = Rule(
    "KF005",
    "no-rotation",
    WARNING,
    "a declared key that nothing rotates, and that does not end for good by `expires_at`; public keys are "
    "left out",
    "Whoever once saw its secret keeps it, and nobody has tried a rotation on the day it must be replaced.",
    "Declare `rotation` with `every` or `before_expiry`, and an `overlap`; `defaults.rotation` does it for "
    "all keys.",
)
FULL_ACCESS = Rule(
    "KF006",
    "full-access",
    WARNING,
    "a key that may do everything: no scopes where that means all, every scope of the catalogue, or `*`",
    "Whoever gets it gets all there is.",
    "Name the scopes that its user needs; two users with different needs get a key each.",
)
WILDCARD_SCOPE = Rule(
    "KF007",
    "wildcard-scope",
    WARNING,
    "a scope with `*` for a part of it",
    "It covers what is there today and whatever is added tomorrow.",
    "Name the scopes that its user needs.",
)
NARROWER_KIND = Rule(
    "KF008",
    "narrower-kind",
    WARNING,
    "a key of a far-reaching kind whose own words say that a narrower kind would do",
    "A leak of it reaches further than its work does.",
    "Declare it with the narrower kind; the plan shows the replacement, old and new overlap.",
    milder="where the kind reaches far, and nothing in the key's words says whether it must",
)
SHARED_PLACE = Rule(
    "KF009",
    "shared-place",
    ERROR,
    "a place in a store where two keys keep their secrets, two names of one store included",
    "The one writes over the other's secret, and the readers of the one get the other's rights.",
    "Give each key a place of its own in `secret`.",
)
PLACE_ALTERED = Rule(
    "KF010",
    "place-altered",
    ERROR,
    "a place that no longer holds the secret that keyform wrote",
    "Its readers work with nothing, with a dead key, or with one that somebody else put there.",
    "Find out who writes there. `keyform plan` shows how the next apply makes it good.",
)
LIVE_IN_TEST = Rule(
    "KF011",
    "live-key-in-test",
    WARNING,
    "a key of a live environment whose own words, or whose configuration, say that it is for tests",
    "Tests run on machines, in logs and among people where a live key has no business.",
    "Give it an environment for tests, or a name, tag or place that does not say test.",
)
WILDCARD_ORIGIN = Rule(
    "KF012",
    "wildcard-origin",
    ERROR,
    "an allowed origin with `*`",
    "Whoever gets a page onto any host that it covers, a forgotten subdomain for one, can use the key.",
    "Write out the hosts that need it.",
)
HTTP_ORIGIN = Rule(
    "KF013",
    "http-origin",
    WARNING,
    "an allowed origin with http, localhost excepted",
    "Whoever is between a visitor and that page can put a script into it that uses the key.",
    "Serve the page by https, and allow that.",
)
LOCALHOST_ORIGIN = Rule(
    "KF014",
    "localhost-origin",
    WARNING,
    "localhost among the allowed origins of a key or project that is not for tests alone",
    "Anything that runs on anybody's machine can use the key.",
    "Give developers a key, or a project, of a test environment.",
)
ROTATION_OVERDUE = Rule(
    "KF015",
    "rotation-overdue",
    WARNING,
    "a key whose rotation has been due for longer than a day, or than `schedule`",
    "The scheduled apply does not run, or does not get through; expiries will be missed next.",
    "Run `keyform apply`, and look at the job that should have done it.",
)
DIES_UNREPLACED = Rule(
    "KF016",
    "dies-unreplaced",
    ERROR,
    "a key that has expired, or will within 14 days with nothing to rotate it before",
    "Its users stop working at that moment.",
    "Run `keyform apply`, and let it run on a schedule, where its `rotation` would have renewed it; else "
    "declare `rotation.before_expiry`, an earlier `rotation.every` or a later `expires_at`.",
)
DEPOSED_HELD = Rule(
    "KF017",
    "deposed-key-held",
    WARNING,
    "an old generation that still works after its overlap",
    "The rotation is not over: whoever had the old secret still has a working one.",
    "Run `keyform apply`. If the plan says that it is held because it is in use, find its user.",
    milder="while it is in use and `revoke_when_unused_for` holds it",
)
SECRET_UNKNOWN = Rule(
    "KF018",
    "secret-unknown",
    WARNING,
    "a key whose secret keyform has never had: adopted, or lost when a run was interrupted",
    "It lies where keyform does not know, in hands that nobody listed; no store has it.",
    "Rotate it: the new generation's secret goes to the declared store, and the old one ends.",
)
DISABLED_KEY = Rule(
    "KF019",
    "disabled-key",
    WARNING,
    "a declared key that somebody has disabled at its service",
    "Its users are refused, and whoever may enable it can bring it back at any time.",
    "Enable it at the service if it is to work, or take it out of the configuration, which revokes it.",
)
KEY_GONE = Rule(
    "KF020",
    "key-gone",
    ERROR,
    "a declared key that was revoked behind keyform's back",
    "Its users are refused, and somebody has rights at the service that go past the review.",
    "Find out who did it. `keyform plan` shows the new key that the next apply mints.",
)
PERHAPS_STRAY = Rule(
    "KF021",
    "perhaps-stray",
    WARNING,
    "a key that may exist: the answer to its create was lost, at a service that lists nothing",
    "If it is there, it works, and its secret is stored nowhere.",
    "Look at the service, revoke it if it is there, and close the doubt as `keyform plan` says.",
)
RUN_OUT = Rule(
    "KF022",
    "acceptance-run-out",
    WARNING,
    "an entry of `accept` whose `until` has passed",
    "The finding was to be mended by then.",
    "Mend the finding, or decide again and write a later `until`; remove what is no longer needed.",
    acceptable=False,
)
UNUSED = Rule(
    "KF023",
    "acceptance-unused",
    NOTE,
    "an entry of `accept` that is about nothing that was found",
    "It would hide the finding if it came back.",
    "Remove it.",
    acceptable=False,
)

RULES = (
    UNMANAGED,
    NEVER_USED,
    STALE,
    NO_EXPIRY,
    NO_ROTATION,
    FULL_ACCESS,
    WILDCARD_SCOPE,
    NARROWER_KIND,
    SHARED_PLACE,
    PLACE_ALTERED,
    LIVE_IN_TEST,
    WILDCARD_ORIGIN,
    HTTP_ORIGIN,
    LOCALHOST_ORIGIN,
    ROTATION_OVERDUE,
    DIES_UNREPLACED,
    DEPOSED_HELD,
    SECRET_UNKNOWN,
    DISABLED_KEY,
    KEY_GONE,
    PERHAPS_STRAY,
    RUN_OUT,
    UNUSED,
)
