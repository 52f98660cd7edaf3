"""Each rule of the audit has cases that trip it and cases that do not; a scene without a fault trips none."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from keyform.acceptance import Acceptance
from keyform.diagnostics import error
from keyform.doubt import Doubt
from keyform.engine.audit import RULES, Audit, Finding, audit
from keyform.engine.audit.rules import SEVERITIES
from keyform.engine.audit.surroundings import says_test
from keyform.engine.holding import MISSING, OTHER, Found, Holdings
from keyform.engine.sight import Sight
from keyform.engine.whereabouts import Whereabouts
from keyform.model import (
    DISABLED,
    EXPIRED,
    REVOKED,
    DesiredKey,
    DesiredProject,
    Import,
    KeySpec,
    LiveKey,
    LiveProject,
    Place,
    Rotation,
    SourceRef,
)
from keyform.profile import REQUIRED, ExpiryRule, Kind, PowerRule, Profile
from keyform.state import Generation, KeyRecord

from .scene import BORN, DAY, LINEAGE, NOW, PROFILE, Scene, generation, live_of, place, wanted
from .scene import record as recorded

TESTS = Rotation(every=60 * DAY, before_expiry=14 * DAY, overlap=2 * DAY)
SPEC = KeySpec(kind="secret", environment="live", name="a", scopes=("read",))
SOURCE = SourceRef("keys.yaml", ("keys", "a"))


def want(name: str = "a", *, spec: dict[str, Any] | None = None, **parts: Any) -> DesiredKey:
    """A declared key without a fault."""
    known = {
        "spec": replace(SPEC, **{"name": name, **(spec or {})}),
        "expires_in": 90 * DAY,
        "rotation": TESTS,
    }
    return wanted(name, **{**known, **parts})


def current(name: str = "a", *, spec: dict[str, Any] | None = None, **parts: Any) -> Generation:
    """Its generation, minted ten days ago."""
    base = replace(SPEC, name=name, expires_at=BORN + 90 * DAY)
    return generation(name, **{"spec": replace(base, **(spec or {})), **parts})


def record(name: str = "a", *, deposed: tuple[Generation, ...] = (), **parts: Any) -> KeyRecord:
    return recorded(name, current=current(name, **parts), deposed=deposed)


def live(name: str = "a", *, spec: dict[str, Any] | None = None, **parts: Any) -> LiveKey:
    """What its service shows: used an hour ago."""
    return live_of(current(name, spec=spec), **{"last_used_at": NOW - timedelta(hours=1), **parts})


def scene(**parts: Any) -> Scene:
    """One key that is all right, unless ``parts`` say otherwise."""
    known: dict[str, Any] = {"keys": (want(),), "records": (record(),), "live": {"toy": (live(),)}}
    return Scene(**{**known, **parts})


def toy(**parts: Any) -> Profile:
    return replace(PROFILE, **parts)


def stranger(**parts: Any) -> LiveKey:
    return LiveKey("id-x", replace(SPEC, name="Old CI"), created_at=BORN, **parts)


def old(**parts: Any) -> Generation:
    """A generation whose overlap is over since the day before yesterday."""
    return generation("a", 0, **{"spec": SPEC, "revoke_at": NOW - 2 * DAY, **parts})


def project(*origins: str) -> DesiredProject:
    return DesiredProject("projects.web", "toy", "web", origins, SourceRef("keys.yaml", ("projects", "web")))


def holding(kind: str) -> Holdings:
    return Holdings({place("a"): Found(kind)})


OLD_IN_USE = live_of(old(), last_used_at=NOW - DAY)


def held_by(**rotation: timedelta) -> dict[str, Any]:
    """A key whose old generation, replaced four days ago, was used yesterday."""
    return {
        "keys": (want(rotation=replace(TESTS, **rotation)),),
        "records": (record(deposed=(old(replaced_at=NOW - 4 * DAY),)),),
        "live": {"toy": (live(), OLD_IN_USE)},
    }


FAR = NOW - 200 * DAY
AGED = {"created_at": FAR, "spec": {"expires_at": None}}
WIDE = Kind("secret", hint="Take a read key.", hint_words=("dashboard",))
PUBLIC = Kind("secret", origins=REQUIRED)
ACCOUNT = Kind("secret", hint="A key of one project is enough.")
CATALOGUE = {"read": "", "write": ""}
SAME = Whereabouts({"toy": "here"}, dict.fromkeys(("local", "twin"), "vault address=https://v"))
UNSAID = Whereabouts({"toy": "here"}, dict.fromkeys(("local", "twin"), "exec"))
TWO = {"keys": (want(), want("b")), "live": {"toy": (live(), live("b"))}}


def two(**b: Any) -> dict[str, Any]:
    """Two keys, the second one with these parts."""
    return {
        "keys": (want(), want("b", **b)),
        "records": (record(), record("b")),
        "live": {"toy": (live(), live("b"))},
    }


def unseen_since(moment: Any, **parts: Any) -> dict[str, Any]:
    """A key minted 200 days ago."""
    made: dict[str, Any] = {
        "records": (record(**AGED),),
        "live": {"toy": (live(spec={"expires_at": None}, created_at=FAR, last_used_at=moment),)},
    }
    return {**made, **parts}


def declared(**parts: Any) -> dict[str, Any]:
    """A key that is declared and not minted yet."""
    return {"keys": (want(**parts),), "records": (), "live": {}}


Case = tuple[str, str, dict[str, Any], str]
"""Rule, what the case is, the parts of the scene, words of the message."""

TRIPS: tuple[Case, ...] = (
    ("KF001", "a key of nobody", {"extra": (stranger(),)}, 'id-x ("Old CI") is active at toy'),
    (
        "KF001",
        "with its last use",
        {"extra": (stranger(last_used_at=NOW),)},
        "last used: 2026-11-20T12:00:00Z",
    ),
    (
        "KF001",
        "a stray of this state",
        {"extra": (stranger(label=f"{LINEAGE}/m"),)},
        "the label of this state",
    ),
    ("KF002", "never used", unseen_since(None), "never been used since it was minted 2026-05-04T12:00:00Z"),
    ("KF002", "used by keyform's own proof", unseen_since(FAR + timedelta(minutes=1)), "never been used"),
    ("KF003", "last used long ago", unseen_since(NOW - 91 * DAY), "last used 2026-08-21T12:00:00Z, 90d ago"),
    ("KF004", "no expiry", declared(expires_in=None), "although keys of Toy can"),
    ("KF005", "no rotation", declared(rotation=None), "so its users stop when it expires after 90d"),
    ("KF005", "an overlap alone", declared(rotation=Rotation(overlap=DAY)), "nothing rotates it"),
    ("KF005", "no rotation, no expiry", declared(rotation=None, expires_in=None), "nothing rotates it"),
    (
        "KF005",
        "no rotation, and no expiry to be had",
        {**declared(rotation=None, expires_in=None), "profile": toy(expiry=ExpiryRule(settable=False))},
        "and keyform knows of no way to let keys of Toy expire",
    ),
    (
        "KF006",
        "no scopes, which means all",
        {
            **declared(spec={"scopes": ()}),
            "profile": toy(kinds={"secret": Kind("secret", unscoped_is_all=True)}),
        },
        "names no scopes",
    ),
    (
        "KF006",
        "the whole catalogue",
        {**declared(spec={"scopes": ("read", "write")}), "profile": toy(scopes=CATALOGUE)},
        "every one of the 2 scopes",
    ),
    ("KF006", "a star", declared(spec={"scopes": ("*",)}), "`*` means everything"),
    ("KF006", "stars", declared(spec={"scopes": ("*:*", "read")}), "`*:*` means everything"),
    (
        "KF006",
        "everything, granted behind the declaration",
        {"live": {"toy": (live(spec={"scopes": ("*",)}),)}},
        "means everything, as toy shows it",
    ),
    ("KF007", "a wildcard", declared(spec={"scopes": ("orders.*",)}), "`orders.*`"),
    (
        "KF008",
        "its words ask for less",
        {**declared(tags=("dashboard",)), "profile": toy(kinds={"secret": WIDE})},
        'its words say "dashboard". Take a read key.',
    ),
    (
        "KF008",
        "a kind that reaches far",
        {**declared(), "profile": toy(kinds={"secret": ACCOUNT})},
        "reach far",
    ),
    ("KF009", "one place", two(places=(place("a"),)), "`local:a` is also a place of keys.a"),
    ("KF009", "one place but for its case", two(places=(place("A"),)), "`local:a`"),
    ("KF009", "a field and the whole entry", two(places=(Place("local", "a", "f"),)), "`local:a`"),
    (
        "KF009",
        "two names of one store",
        {**two(places=(place("a", "twin"),)), "where": SAME},
        "the stores 'twin' and 'local' are both vault address=https://v",
    ),
    (
        "KF009",
        "a recorded place of a key that is no longer declared",
        {"keys": (want(places=(place("b"),)),), "records": (record("b"), record()), "live": None},
        "`local:b` is also a place of keys.a",
    ),
    ("KF010", "nothing is there", {"stores": holding(MISSING)}, "local:a no longer holds its secret"),
    ("KF010", "something else is there", {"stores": holding(OTHER)}, "another value"),
    ("KF011", "its tag", declared(tags=("staging",)), 'its tag `staging` says "staging"'),
    ("KF011", "its place", declared(places=(place("dev/key"),)), 'its secret `local:dev/key` says "dev"'),
    ("KF011", "the store", declared(places=(place("key", "qa-vault"),)), 'says "qa"'),
    ("KF011", "its project", declared(spec={"project": "web-test"}), 'its project `web-test` says "test"'),
    ("KF011", "the file", declared(source=SourceRef("staging.yaml", ("keys", "a"))), "the file `staging`"),
    ("KF011", "the folder", {**declared(), "names": (("the folder", "e2e"),)}, 'the folder `e2e` says "e2e"'),
    (
        "KF011",
        "an environment that the profile calls production",
        {**declared(tags=("qa",), spec={"environment": "main"}), "profile": toy(power=PowerRule(("main",)))},
        'its environment is `main`, and its tag `qa` says "qa"',
    ),
    (
        "KF011",
        "its address",
        {"keys": (replace(want(), address='keys.a["uat"]'),), "records": (), "live": {}},
        'its address `a["uat"]` says "uat"',
    ),
    (
        "KF012",
        "on a key",
        declared(spec={"allowed_origins": ("https://*.example.com",)}),
        "https://*.example.com",
    ),
    ("KF012", "on a project", {"projects": (project("https://*.example.com"),)}, "https://*.example.com"),
    (
        "KF012",
        "allowed behind the declaration",
        {"projects": (project(),), "live_projects": (LiveProject("web", ("*",)),)},
        "`*` covers hosts that nobody has named, as toy shows it",
    ),
    ("KF013", "http", declared(spec={"allowed_origins": ("http://a.example",)}), "not encrypted"),
    ("KF013", "http on a project", {"projects": (project("http://a.example"),)}, "not encrypted"),
    (
        "KF014",
        "on a live key",
        declared(spec={"allowed_origins": ("http://localhost:3000",)}),
        "localhost:3000",
    ),
    ("KF014", "an address", declared(spec={"allowed_origins": ("https://127.0.0.1",)}), "127.0.0.1"),
    ("KF014", "IPv6", declared(spec={"allowed_origins": ("http://[::1]:80",)}), "[::1]"),
    ("KF014", "on a project of nobody", {"projects": (project("http://localhost"),)}, "http://localhost"),
    (
        "KF015",
        "due since yesterday",
        {"keys": (want(rotation=Rotation(every=9 * DAY)),)},
        "due since 2026-11-19T12:00:00Z: every 9d",
    ),
    (
        "KF015",
        "due for longer than the schedule",
        {
            "keys": (want(rotation=Rotation(every=10 * DAY - timedelta(hours=6))),),
            "schedule": timedelta(hours=6),
        },
        "due since 2026-11-20T06:00:00Z",
    ),
    (
        "KF016",
        "soon, and nothing rotates it",
        {
            "keys": (want(rotation=None),),
            "records": (record(spec={"expires_at": NOW + 10 * DAY}),),
            "live": {"toy": (live(spec={"expires_at": NOW + 10 * DAY}),)},
        },
        "it expires 2026-11-30T12:00:00Z, and nothing rotates it before",
    ),
    (
        "KF016",
        "soon, and the rotation comes too late",
        {
            "keys": (want(rotation=Rotation(every=30 * DAY)),),
            "live": {"toy": (live(spec={"expires_at": NOW + DAY}),)},
        },
        "nothing rotates it before",
    ),
    ("KF016", "expired", {"live": {"toy": (live(status=EXPIRED),)}}, "has been expired since"),
    (
        "KF016",
        "expired, and its rotation was not carried out",
        {
            "keys": (want(rotation=Rotation(every=5 * DAY)),),
            "live": {"toy": (live(status=EXPIRED, spec={"expires_at": NOW - DAY}),)},
        },
        "and no run has done it",
    ),
    (
        "KF017",
        "an old generation",
        {"records": (record(deposed=(old(),)),), "live": {"toy": (live(), OLD_IN_USE)}},
        "generation 0 (id-a-0) still works at toy; its overlap was over 2026-11-18T12:00:00Z",
    ),
    (
        "KF017",
        "one that its gate holds",
        {**held_by(revoke_when_unused_for=2 * DAY)},
        "2026-11-18T12:00:00Z; held: used 24 hours ago (2026-11-19T12:00:00Z)",
    ),
    (
        "KF017",
        "one that its gate held for long enough",
        {**held_by(revoke_when_unused_for=2 * DAY, revoke_within=3 * DAY)},
        "its time is up, though: used 24 hours ago",
    ),
    ("KF018", "adopted", {"records": (record(fingerprint=None, marker=None, places=()),)}, "it was adopted"),
    ("KF018", "lost", {"records": (record(fingerprint=None, places=()),)}, "lost in an interrupted apply"),
    ("KF019", "disabled", {"live": {"toy": (live(status=DISABLED),)}}, "id-a-1 is disabled at toy"),
    ("KF020", "revoked", {"live": {"toy": (live(status=REVOKED),)}}, "revoked, or gone"),
    ("KF020", "gone", {"live": {"toy": ()}}, "revoked, or gone"),
    (
        "KF021",
        "a doubt",
        {"state": {"doubts": (Doubt("m", "keys.a", "toy", "here", SPEC, NOW),)}},
        "may have been minted at toy on 2026-11-20T12:00:00Z",
    ),
    (
        "KF022",
        "run out, and still found",
        {**declared(rotation=None), "accepted": (Acceptance("KF005", "r", NOW, "keys.a"),)},
        "KF005 of keys.a was accepted until 2026-11-20T12:00:00Z, and the finding counts again",
    ),
    (
        "KF022",
        "run out, and mended",
        {"accepted": (Acceptance("KF005", "r", NOW, "keys.a"),)},
        "nothing of it was found any more",
    ),
    (
        "KF023",
        "about nothing",
        {"accepted": (Acceptance("KF005", "r", NOW + DAY, "keys.a"),)},
        "KF005 of keys.a is accepted, and was not found",
    ),
    (
        "KF023",
        "about a key that is gone",
        {"accepted": (Acceptance("KF001", "r", NOW + DAY, None, "toy", "id-x"),)},
        "KF001 of id-x at toy is accepted, and was not found",
    ),
)

QUIET: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("KF001", "a revoked one", {"extra": (stranger(status=REVOKED),)}),
    ("KF001", "a disabled one", {"extra": (stranger(status=DISABLED),)}),
    ("KF001", "keyform's own", {"extra": (stranger(),), "own_key": "id-x"}),
    ("KF001", "one of another state", {"extra": (stranger(label="lineage-2/m"),)}),
    (
        "KF001",
        "one that is to be adopted",
        {"extra": (stranger(),), "desired": {"imports": (Import("keys.b", "id-x"),)}},
    ),
    ("KF001", "one of a run under way", {"extra": (stranger(),), "pending": frozenset({"id-x"})}),
    (
        "KF001",
        "one that another name of the service owns",
        {"services": ("toy", "alias"), "live": {"toy": (live(),), "alias": (live(),)}},
    ),
    ("KF002", "used", unseen_since(NOW - DAY)),
    ("KF002", "young", {"live": {"toy": (live(last_used_at=None),)}}),
    ("KF002", "where nobody can tell", unseen_since(None, profile=toy(shows_last_used=False))),
    (
        "KF002",
        "within what the service lags behind",
        unseen_since(None, profile=toy(last_used_lag=120 * DAY)),
    ),
    ("KF003", "never used", unseen_since(None)),
    ("KF003", "used in time", unseen_since(NOW - 89 * DAY)),
    (
        "KF003",
        "disabled",
        {**unseen_since(NOW - 91 * DAY), "live": {"toy": (live(status=DISABLED, created_at=FAR),)}},
    ),
    ("KF004", "a moment", declared(expires_in=None, spec={"expires_at": NOW + 90 * DAY})),
    (
        "KF004",
        "no expiry to be had",
        {**declared(expires_in=None), "profile": toy(expiry=ExpiryRule(settable=False))},
    ),
    ("KF004", "a public key", {**declared(expires_in=None), "profile": toy(kinds={"secret": PUBLIC})}),
    ("KF005", "a public key", {**declared(rotation=None), "profile": toy(kinds={"secret": PUBLIC})}),
    ("KF005", "ahead of its expiry", declared(rotation=Rotation(before_expiry=DAY))),
    (
        "KF005",
        "one that ends for good",
        declared(rotation=None, expires_in=None, spec={"expires_at": NOW + DAY}),
    ),
    ("KF006", "no scopes, which means none", declared(spec={"scopes": ()})),
    ("KF006", "a part of the catalogue", {**declared(), "profile": toy(scopes=CATALOGUE)}),
    ("KF006", "a catalogue of one", {**declared(), "profile": toy(scopes={"read": ""})}),
    ("KF006", "a wildcard for a part", declared(spec={"scopes": ("orders.*",)})),
    ("KF007", "none", declared()),
    ("KF007", "everything", declared(spec={"scopes": ("*",)})),
    ("KF008", "other words", {**declared(tags=("mcp",)), "profile": toy(kinds={"secret": WIDE})}),
    ("KF008", "another kind", {**declared(spec={"kind": "read"}), "profile": toy(kinds={"secret": WIDE})}),
    ("KF009", "two places", two()),
    (
        "KF009",
        "two fields",
        {
            "keys": (want(places=(Place("local", "p", "a"),)), want("b", places=(Place("local", "p", "b"),))),
            "records": (),
            "live": {},
        },
    ),
    (
        "KF009",
        "one path in two stores",
        {
            **two(places=(place("a", "twin"),)),
            "where": replace(SAME, stores={"local": "vault address=a", "twin": "vault address=b"}),
        },
    ),
    (
        "KF009",
        "two stores of which nobody knows where they are",
        {**two(places=(place("a", "twin"),)), "where": UNSAID},
    ),
    (
        "KF009",
        "an old generation of the same key",
        {"records": (record(deposed=(old(revoke_at=NOW + DAY),)),)},
    ),
    ("KF010", "its secret", {"stores": holding("held")}),
    ("KF010", "nobody could look", {}),
    ("KF011", "a test environment", declared(tags=("staging",), spec={"environment": "test"})),
    ("KF011", "no environment", declared(tags=("staging",), spec={"environment": None})),
    ("KF011", "words that only hold one", declared(tags=("latest", "contest", "device"))),
    ("KF011", "a place that says live too", declared(places=(place("prod/ab-test"),))),
    ("KF011", "an owner", declared(owner="dev")),
    ("KF011", "free text", declared(spec={"name": "Test", "description": "a test"})),
    ("KF012", "a host", declared(spec={"allowed_origins": ("https://a.example",)})),
    ("KF013", "https", declared(spec={"allowed_origins": ("https://a.example",)})),
    ("KF013", "localhost", declared(spec={"allowed_origins": ("http://localhost:3000",)})),
    (
        "KF014",
        "on a test key",
        declared(spec={"environment": "test", "allowed_origins": ("http://localhost",)}),
    ),
    (
        "KF014",
        "on a project of test keys",
        {
            **declared(spec={"environment": "test", "project": "web"}),
            "projects": (project("http://localhost"),),
        },
    ),
    (
        "KF014",
        "a host that begins like it",
        declared(spec={"allowed_origins": ("https://localhost.example",)}),
    ),
    ("KF014", "what is no URL", declared(spec={"allowed_origins": ("http://[",)})),
    ("KF015", "due since today", {"keys": (want(rotation=Rotation(every=10 * DAY)),)}),
    ("KF015", "not due", {}),
    (
        "KF015",
        "due for less than the schedule",
        {"keys": (want(rotation=Rotation(every=8 * DAY)),), "schedule": 7 * DAY},
    ),
    ("KF016", "later", {"keys": (want(rotation=None),)}),
    ("KF016", "rotated before", {"live": {"toy": (live(spec={"expires_at": NOW + 10 * DAY}),)}}),
    (
        "KF016",
        "meant to end",
        {
            "keys": (want(rotation=None, expires_in=None, spec={"expires_at": NOW + DAY}),),
            "live": {"toy": (live(spec={"expires_at": NOW + DAY}),)},
        },
    ),
    ("KF017", "in its overlap", {"records": (record(deposed=(old(revoke_at=NOW + DAY),)),), "live": None}),
    ("KF017", "over since today", {"records": (record(deposed=(old(revoke_at=NOW),)),), "live": None}),
    ("KF017", "revoked", {"records": (record(deposed=(old(),)),)}),
    ("KF018", "stored", {}),
    (
        "KF018",
        "adopted, and gone",
        {"records": (record(fingerprint=None, marker=None),), "live": {"toy": ()}},
    ),
    ("KF019", "active", {}),
    ("KF020", "missing from a listing that is not whole", {"live": {"toy": ()}, "incomplete": ("toy",)}),
    ("KF020", "where nothing is listed", {"live": {"toy": ()}, "profile": toy(lists=False)}),
    ("KF020", "no longer declared", {"keys": (), "live": {"toy": ()}}),
    ("KF021", "none", {}),
    (
        "KF022",
        "in force",
        {**declared(rotation=None), "accepted": (Acceptance("KF005", "r", NOW + DAY, "keys.a"),)},
    ),
    (
        "KF023",
        "in force",
        {**declared(rotation=None), "accepted": (Acceptance("KF005", "r", NOW + DAY, "keys.a"),)},
    ),
    (
        "KF023",
        "about a place that could not be looked at",
        {
            "stores": Holdings(unseen={"local": error("e", "no route")}),
            "accepted": (Acceptance("KF010", "r", NOW + DAY, "keys.a"),),
        },
    ),
    (
        "KF023",
        "about what could not be read",
        {"incomplete": ("toy",), "accepted": (Acceptance("KF003", "r", NOW + DAY, "keys.a"),)},
    ),
)


def audited(parts: dict[str, Any]) -> Audit:
    beside = {name: parts[name] for name in ("accepted", "names") if name in parts}
    given = {name: parts[name] for name in ("stores", "schedule") if name in parts}
    left = {name: value for name, value in parts.items() if name not in beside | given}
    return audit(replace(scene(**left).sight(), **given), **beside)


def codes(found: Audit) -> list[str]:
    return [finding.rule.code for finding in found.outstanding]


def named(case: tuple[Any, ...]) -> str:
    return f"{case[0]} {case[1]}"


@pytest.mark.parametrize("case", TRIPS, ids=named)
def test_it_trips(case: Case) -> None:
    code, _, parts, words = case
    messages = [finding.message for finding in audited(parts).outstanding if finding.rule.code == code]
    assert len(messages) == 1, messages
    assert words in messages[0]


@pytest.mark.parametrize("case", QUIET, ids=named)
def test_it_does_not_trip(case: tuple[str, str, dict[str, Any]]) -> None:
    code, _, parts = case
    assert code not in codes(audited(parts))


def test_every_rule_has_a_case_that_trips_it_and_one_that_does_not() -> None:
    rules = {rule.code for rule in RULES}
    assert {case[0] for case in TRIPS} == rules == {case[0] for case in QUIET}


def test_what_is_all_right_trips_nothing() -> None:
    found = audited({})
    assert found.findings == () and found.complete and found.diagnostics == ()
    assert found.summary == {"error": 0, "warning": 0, "note": 0, "accepted": 0}


def test_codes_and_names_are_there_once_and_in_order() -> None:
    assert [rule.code for rule in RULES] == [f"KF{number:03}" for number in range(1, len(RULES) + 1)]
    assert len({rule.name for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule.severity in SEVERITIES and rule.why.endswith(".") and rule.do.endswith(".")


def test_the_worst_comes_first() -> None:
    found = audited({**declared(rotation=None, spec={"scopes": ("*",), "allowed_origins": ("https://*.x",)})})
    assert codes(found) == ["KF012", "KF005", "KF006"]
    assert [found.fails_on(level) for level in ("error", "warning", "note", "never")] == [
        True,
        True,
        True,
        False,
    ]
    noted = audited({**declared(), "profile": toy(kinds={"secret": ACCOUNT})})
    assert [noted.fails_on(level) for level in ("error", "warning", "note")] == [False, False, True]


def test_a_generation_that_its_gate_holds_is_a_note() -> None:
    gate = timedelta(days=2)
    levels = [
        [finding.severity for finding in audited(parts).outstanding]
        for parts in (held_by(), held_by(revoke_when_unused_for=gate), held_by(revoke_when_unused_for=DAY))
    ]
    assert levels == [["warning"], ["note"], ["warning"]]


def test_a_finding_stands_at_the_field_that_says_it() -> None:
    (one,) = audited(declared(source=SOURCE, spec={"scopes": ("orders.*",)})).outstanding
    assert one.source == SourceRef("keys.yaml", ("keys", "a", "scopes", 0))
    assert one.subject == "keys.a" and one.about == "orders.*"


def test_findings_about_projects_and_doubts_stand_where_those_are_declared() -> None:
    (one,) = audited({"projects": (project("http://a.example"),)}).outstanding
    assert one.source == SourceRef("keys.yaml", ("projects", "web", "allowed_origins"))
    doubts = tuple(Doubt("m", address, "toy", "here", SPEC, NOW) for address in ("keys.a", "keys.gone"))
    found = audited({"keys": (want(source=SOURCE),), "state": {"doubts": doubts}}).outstanding
    assert [(finding.address, finding.source) for finding in found] == [
        ("keys.a", SOURCE),
        ("keys.gone", None),
    ]


def test_two_findings_of_one_rule_have_two_fingerprints() -> None:
    strangers = tuple(replace(stranger(), id=name) for name in ("x", "y"))
    unmanaged = audited({"extra": strangers}).outstanding
    unrotated = audited({**two(), "keys": (want(rotation=None), want("b", rotation=None))}).outstanding
    assert len({finding.fingerprint for finding in (*unmanaged, *unrotated)}) == 4


def test_a_fingerprint_stays_when_lines_move_and_words_change() -> None:
    def only(**parts: Any) -> Finding:
        (one,) = audited({"extra": (stranger(**parts),)}).outstanding
        return one

    assert only().fingerprint == only(last_used_at=NOW).fingerprint
    two_origins = audited(
        declared(spec={"allowed_origins": ("http://a.example", "http://b.example")})
    ).outstanding
    assert len({finding.fingerprint for finding in two_origins}) == 2


def test_an_acceptance_covers_one_rule_and_one_subject_until_its_end() -> None:
    entry = Acceptance("KF005", "the vendor's app", NOW + timedelta(seconds=1), "keys.a")
    found = audited({**declared(rotation=None, spec={"scopes": ("*",)}), "accepted": (entry,)})
    assert codes(found) == ["KF006"]
    (accepted,) = [finding for finding in found.findings if finding.accepted]
    assert accepted.rule.code == "KF005" and accepted.accepted == entry
    assert found.summary["accepted"] == 1


def test_the_bare_address_of_a_for_each_covers_all_of_its_keys() -> None:
    keys = tuple(
        replace(want(rotation=None, places=(place(each),)), address=f'keys.a["{each}"]')
        for each in ("x", "y")
    )
    parts: dict[str, Any] = {"keys": keys, "records": (), "live": {}}
    for address, left in (("keys.a", 0), ('keys.a["x"]', 1)):
        found = audited({**parts, "accepted": (Acceptance("KF005", "r", NOW + DAY, address),)})
        assert codes(found) == ["KF005"] * left


def test_an_unmanaged_key_is_accepted_by_service_and_id() -> None:
    entry = Acceptance("KF001", "r", NOW + DAY, None, "toy", "id-x")
    assert codes(audited({"extra": (stranger(),), "accepted": (entry,)})) == []
    other = replace(entry, service="alias")
    assert codes(audited({"extra": (stranger(),), "accepted": (other,)})) == ["KF001", "KF023"]


def test_of_two_acceptances_the_one_in_force_counts() -> None:
    over = Acceptance("KF005", "then", NOW - DAY, "keys.a")
    found = audited({**declared(rotation=None), "accepted": (over, replace(over, until=NOW + DAY))})
    assert codes(found) == ["KF022"]
    assert codes(audited({**declared(rotation=None), "accepted": (replace(over, until=NOW),)})) == [
        "KF005",
        "KF022",
    ]


def test_a_service_that_could_not_be_read_makes_the_audit_incomplete() -> None:
    found = audited({"incomplete": ("toy",)})
    assert not found.complete
    (told,) = found.diagnostics
    assert told.code == "incomplete-listing" and "toy could not be read whole" in told.summary


def test_a_store_that_could_not_be_looked_at_does_too() -> None:
    unseen = Holdings(unseen={"local": error("store-unreachable", "no route", "Look at the network.")})
    found = audited({"stores": unseen})
    assert not found.complete
    assert [told.code for told in found.diagnostics] == ["store-unseen"]
    assert "no route" in found.diagnostics[0].summary


def test_keys_of_a_service_that_is_not_declared_are_named() -> None:
    found = audited({"keys": (), "services": ()})
    assert not found.complete and "1 key at the service 'toy'" in found.diagnostics[0].summary


def test_what_can_never_be_seen_is_a_note_and_the_audit_is_complete() -> None:
    found = audited({"profile": toy(lists=False), "live": {}})
    assert found.complete and [told.code for told in found.diagnostics] == ["no-listing"]
    found = audited({"profile": toy(shows_last_used=False)})
    assert found.complete and [told.code for told in found.diagnostics] == ["no-last-use"]


def test_keys_of_other_states_are_counted() -> None:
    found = audited({"extra": (stranger(label="lineage-2/m"),)})
    assert codes(found) == [] and found.complete
    assert "1 key carries the label of another keyform state at toy" in found.diagnostics[0].summary


@pytest.mark.parametrize("text", ["test", "web-test", "TEST_runner", "a.dev.b", "team/staging/key", "x:qa#f"])
def test_texts_that_say_test(text: str) -> None:
    assert says_test(text)


@pytest.mark.parametrize(
    "text", ["", "latest", "attest", "developer", "prod/test", "live-dev", "ci", "local:a"]
)
def test_texts_that_do_not(text: str) -> None:
    assert says_test(text) is None


def test_sight_is_all_that_it_needs() -> None:
    sight = scene().sight()
    assert isinstance(sight, Sight) and audit(sight) == audit(sight)
