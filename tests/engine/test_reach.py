"""What a key gains and loses when it becomes another, by what each profile knows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keyform.engine.plan import MOVES, NARROWS, WIDENS
from keyform.engine.reach import compare, origin_turns, whole
from keyform.engine.turns import Reach, direction, in_words
from keyform.model import DAILY, MONTHLY, Credits, KeySpec, RateLimit, Refill
from keyform.profile import Kind, PowerRule, Profile
from keyform.services.profiles import known_types, load_profile

NOW = datetime(2026, 11, 20, tzinfo=UTC)
T27, T28 = datetime(2027, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SITE, NEW = "https://site.example", "https://new.example"

BACK = {WIDENS: NARROWS, NARROWS: WIDENS, MOVES: MOVES, None: None}


def profile_of(name: str) -> Profile:
    found = load_profile(name, Path())
    assert found is not None
    return found


def reach(origins: tuple[str, ...] = (), expires_in: timedelta | None = None, **spec: Any) -> Reach:
    return Reach(KeySpec(**spec), expires_in, origins)


CASES = [
    # Revenium: the kind is the scope
    ("revenium", reach(kind="metering-only"), reach(kind="write"), WIDENS, "can now create and modify"),
    ("revenium", reach(kind="read-only"), reach(kind="write"), WIDENS, "can now send metering events"),
    ("revenium", reach(kind="metering-only"), reach(kind="read-only"), MOVES, "can now read Revenium data"),
    ("revenium", reach(kind="read-only", name="a"), reach(kind="read-only", name="b"), None, ""),
    # RevKeen: scopes with a catalogue, and two environments
    (
        "revkeen",
        reach(environment="sandbox", scopes=("payments:read",)),
        reach(environment="live", scopes=("payments:read",)),
        WIDENS,
        "was sandbox, is live now",
    ),
    (
        "revkeen",
        reach(environment="live", scopes=("payments:read",)),
        reach(environment="live", scopes=("payments:read", "payments:write")),
        WIDENS,
        "powerful: can now process refunds (payments:write)",
    ),
    (
        "revkeen",
        reach(environment="live", scopes=("payments:read",)),
        reach(environment="sandbox", scopes=("payments:read", "payments:write")),
        MOVES,
        "was live, is sandbox now",
    ),
    # Millimetric: kinds by what they can do, where from, and in which projects
    (
        "millimetric",
        reach((SITE,), kind="pk", project="web"),
        reach((SITE,), kind="sk", project="web"),
        WIDENS,
        f"powerful: can now be used from anywhere, and not from {SITE} alone",
    ),
    (
        "millimetric",
        reach(kind="sk", project="web"),
        reach(kind="rk", project="web"),
        MOVES,
        "can no longer send events",
    ),
    (
        "millimetric",
        reach(kind="rk", project="web"),
        reach(kind="ak"),
        MOVES,
        "works in every project now, and not in web alone",
    ),
    (
        "millimetric",
        reach(kind="rk", project="web"),
        reach(kind="rk", project="shop"),
        MOVES,
        "works in the project shop, and no longer in web",
    ),
    # CLIMeter
    (
        "climeter",
        reach(scopes=("events:write",)),
        reach(scopes=("events:write", "keys:manage")),
        WIDENS,
        "powerful: can now create and revoke API keys (keys:manage)",
    ),
    (
        "climeter",
        reach(scopes=("events:write", "tools:read")),
        reach(scopes=("events:write",)),
        NARROWS,
        "can no longer list and read tool configurations (tools:read)",
    ),
    # DevTune: no scopes are all scopes
    (
        "devtune",
        reach(kind="key", project="p", scopes=("visibility.read",)),
        reach(kind="key", project="p"),
        WIDENS,
        "powerful: can now do everything",
    ),
    (
        "devtune",
        reach(kind="key", project="p"),
        reach(kind="key", project="p", scopes=("actions.write", "visibility.read")),
        NARROWS,
        "can no longer do everything: only actions.write, visibility.read",
    ),
    (
        "devtune",
        reach(kind="key", scopes=("visibility.read",)),
        reach(kind="key", scopes=("visibility.read", "actions.write")),
        WIDENS,
        "powerful: can now write actions (actions.write)",
    ),
    ("devtune", reach(expires_in=30 * DAY, expires_at=T27), reach(), WIDENS, "never expires"),
    # Unkey: permissions are free text, and a * in one is a character
    (
        "unkey",
        reach(scopes=("documents.read",)),
        reach(scopes=("documents.*",)),
        MOVES,
        "powerful: can now do what documents.* allows",
    ),
    (
        "unkey",
        reach(scopes=("a",)),
        reach(scopes=("a", "role:admin")),
        WIDENS,
        "powerful: can now do what role:admin allows",
    ),
    ("unkey", reach(credits=Credits(5)), reach(), WIDENS, "without end"),
    (
        "unkey",
        reach(credits=Credits(5)),
        reach(credits=Credits(4)),
        NARROWS,
        "can now be used 4 times, was 5",
    ),
    (
        "unkey",
        reach(credits=Credits(5)),
        reach(credits=Credits(5, Refill(3, DAILY))),
        WIDENS,
        "5 times and 3 more daily",
    ),
    (
        "unkey",
        reach(credits=Credits(5, Refill(9, DAILY))),
        reach(credits=Credits(5, Refill(10, MONTHLY, 1))),
        MOVES,
        "10 more monthly, was 5 times and 9 more daily",
    ),
    (
        "unkey",
        reach(credits=Credits(5, Refill(9, MONTHLY, 1))),
        reach(credits=Credits(5, Refill(9, MONTHLY, 2))),
        None,
        "",
    ),
    (
        "unkey",
        reach(rate_limit=RateLimit(100, 60)),
        reach(rate_limit=RateLimit(200, 60)),
        WIDENS,
        "can now be used 200 times in 1m, was 100 times in 1m",
    ),
    (
        "unkey",
        reach(rate_limit=RateLimit(10, 1)),
        reach(rate_limit=RateLimit(100, 3600)),
        MOVES,
        "100 times in 1h",
    ),
    ("unkey", reach(rate_limit=RateLimit(1, 1)), reach(rate_limit=RateLimit(60, 60)), WIDENS, "60 times"),
    ("unkey", reach(), reach(rate_limit=RateLimit(1, 1)), NARROWS, "had no rate limit of its own"),
    # RevKeen's cart keys: nothing says what each can do
    (
        "revkeen-cart",
        reach(kind="publishable"),
        reach(kind="secret"),
        MOVES,
        "from kind publishable to secret; the profile does not say which can do more",
    ),
    # the embedded service
    (
        "embedded",
        reach(kind="secret", environment="test", scopes=("events:write",)),
        reach(kind="secret", environment="live", scopes=("events:write",)),
        WIDENS,
        "powerful: was test, is live now",
    ),
    (
        "embedded",
        reach(kind="public", allowed_origins=(SITE,)),
        reach(kind="public", allowed_origins=(NEW, SITE)),
        WIDENS,
        f"can now be used from {NEW}",
    ),
    (
        "embedded",
        reach((SITE, NEW), kind="public", project="web", allowed_origins=(SITE,)),
        reach((SITE, NEW), kind="public", project="web"),
        WIDENS,
        f"can now be used from {NEW}",
    ),
    (
        "embedded",
        reach(kind="public", project="web", allowed_origins=(SITE,)),
        reach(kind="public", project="web"),
        MOVES,
        f"is held to other origins: {SITE}, now the origins of its project; the profile does not say",
    ),
    (
        "embedded",
        reach(kind="secret", project="web"),
        reach(kind="secret"),
        WIDENS,
        "works in every project now, and not in web alone",
    ),
    ("embedded", reach(kind="secret", scopes=("a",)), reach(kind="account", scopes=("a",)), None, ""),
    # an end that changes in place
    ("embedded", reach(expires_at=T27), reach(), WIDENS, "(2027-01-01T00:00:00Z): never expires"),
    ("embedded", reach(expires_at=T27), reach(expires_at=T28), WIDENS, "lives longer: ends 2028"),
    ("embedded", reach(expires_at=T28), reach(expires_at=T27), NARROWS, "lives shorter"),
    ("embedded", reach(), reach(expires_at=T27), NARROWS, "it never expired before"),
    (
        "embedded",
        reach(expires_in=30 * DAY, expires_at=T27),
        reach(expires_in=90 * DAY, expires_at=T27),
        WIDENS,
        "ends 90d after it is minted, was 30d after it is minted",
    ),
    ("embedded", reach(description="a", metadata=(("a", "b"),)), reach(), None, ""),
]


@pytest.mark.parametrize(("service", "before", "after", "way", "words"), CASES)
def test_each_change_has_its_direction_and_words(
    service: str, before: Reach, after: Reach, way: str | None, words: str
) -> None:
    turns = compare(before, after, profile_of(service), NOW)
    assert direction(turns) == way
    assert words in "; ".join(in_words(turns))
    back = compare(after, before, profile_of(service), NOW)
    assert direction(back) == BACK[way]


def test_the_table_is_about_every_profile() -> None:
    assert {case[0] for case in CASES} == set(known_types())


RENEWED = [
    (reach(expires_in=30 * DAY, expires_at=T27), reach(expires_in=30 * DAY), None),
    (reach(expires_in=30 * DAY, expires_at=T27), reach(expires_in=90 * DAY), WIDENS),
    (reach(expires_in=90 * DAY, expires_at=T28), reach(expires_in=30 * DAY), NARROWS),
    (reach(), reach(expires_in=30 * DAY), NARROWS),
    (reach(expires_in=30 * DAY, expires_at=T27), reach(), WIDENS),
    (reach(expires_at=T27), reach(expires_at=T28), WIDENS),
    (reach(expires_at=T27), reach(expires_at=T27), None),
    (reach(expires_at=T27), reach(expires_in=365 * DAY), WIDENS),
    (reach(expires_at=T28), reach(expires_in=30 * DAY), NARROWS),
    (reach(), reach(), None),
]


@pytest.mark.parametrize(("before", "after", "way"), RENEWED)
def test_a_new_generation_lives_longer_only_by_another_policy(
    before: Reach, after: Reach, way: str | None
) -> None:
    assert direction(compare(before, after, profile_of("embedded"), NOW, renewed=True)) == way


WILD = Profile("wild", "Wild", fields=frozenset({"scopes"}), power=PowerRule(wildcards=True))


@pytest.mark.parametrize(
    ("before", "after", "way"),
    [
        (("api.read",), ("api.*",), WIDENS),
        (("api.*",), ("api.*", "api.read"), None),
        (("api.*",), ("api.read",), NARROWS),
        (("*",), ("api.*", "web.*"), NARROWS),
        (("api.*.read",), ("api.keys.read",), NARROWS),
        (("api.*.read",), ("api.keys.*",), MOVES),
        (("api.*",), ("api",), MOVES),
        (("api[a].*",), ("apia.read",), MOVES),
        (("api.?.*",), ("api.x.y",), MOVES),
        (("*",), ("api.*",), NARROWS),
    ],
)
def test_a_wildcard_holds_what_it_stands_for(
    before: tuple[str, ...], after: tuple[str, ...], way: str | None
) -> None:
    assert direction(compare(reach(scopes=before), reach(scopes=after), WILD, NOW)) == way
    plain = replace(WILD, power=PowerRule())
    assert direction(compare(reach(scopes=before), reach(scopes=after), plain, NOW)) in (MOVES, WIDENS)


def test_what_is_powerful_is_told_first_and_many_scopes_are_counted() -> None:
    scopes = ("a.read", *(f"thing{at}.read" for at in range(20)), "zoo.write")
    before, after = reach(kind="key", scopes=("a.read",)), reach(kind="key", scopes=scopes)
    words = in_words(compare(before, after, profile_of("devtune"), NOW))
    assert words[0] == "powerful: can now write zoo (zoo.write)"
    assert words[-1] == "can now use 13 more scopes"
    assert len(words) == 9


def test_many_origins_are_counted() -> None:
    many = tuple(f"https://{at:02}.example" for at in range(12))
    words = in_words(origin_turns((), (*many, "https://*.org")))
    assert words[0] == "powerful: its keys can now be used from https://*.org"
    assert words[-1] == "its keys can now be used from 5 more origins"
    assert len(words) == 9
    made = whole(reach(many, kind="public", project="p"), profile_of("embedded"))
    assert any(turn.words.endswith("https://07.example and 4 more") for turn in made)


def test_unknown_kinds_and_environments_stay_unknown() -> None:
    profile = Profile(
        "x", "X", kinds={"a": Kind("a", can=("x",)), "b": Kind("b")}, environments=("one", "two")
    )
    for before, after in (
        (reach(kind="a"), reach(kind="b")),
        (reach(kind="a"), reach(kind="gone")),
        (reach(environment="one"), reach(environment="two")),
        (reach(project="p"), reach()),
    ):
        turns = compare(before, after, profile, NOW)
        assert direction(turns) == MOVES
        assert "the profile does not say which can do more" in in_words(turns)[0]


@pytest.mark.parametrize(
    ("service", "made", "words"),
    [
        ("revenium", reach(kind="read-only"), ("can read Revenium data",)),
        (
            "millimetric",
            reach((SITE,), kind="pk", environment="live", project="web"),
            (
                "can send events",
                "works in live",
                "works in the project web",
                f"can be used from {SITE}",
            ),
        ),
        (
            "devtune",
            reach(kind="key", project="p", expires_in=30 * DAY),
            (
                "powerful: can do everything: no scopes are named",
                "works in the project p",
                "ends 30d after it is minted",
            ),
        ),
        (
            "unkey",
            reach(credits=Credits(5), rate_limit=RateLimit(1, 60), expires_at=T27),
            (
                "works without any scope",
                "ends 2027-01-01T00:00:00Z",
                "can be used 1 time in 1m",
                "can be used 5 times",
            ),
        ),
        (
            "revkeen-cart",
            reach(kind="secret"),
            ("is a secret key; the profile does not say what it can do",),
        ),
        (
            "embedded",
            reach(kind="account", scopes=("keys:manage",)),
            (
                "powerful: can list, mint, change and revoke keys, granting no scope that it lacks "
                "(keys:manage)",
                "works in every project",
                "never expires",
            ),
        ),
    ],
)
def test_a_new_key_is_summed_up(service: str, made: Reach, words: tuple[str, ...]) -> None:
    turns = whole(made, profile_of(service))
    assert in_words(turns) == words
    assert direction(turns) == WIDENS


def test_an_allowlist_with_a_wildcard_holds_what_it_stands_for() -> None:
    wide = ("https://*.example",)
    assert direction(origin_turns(wide, (SITE,))) == NARROWS
    assert direction(origin_turns((SITE,), wide)) == WIDENS
    assert direction(origin_turns((SITE,), (NEW,))) == MOVES
    assert direction(origin_turns((), ())) is None


# properties


def reaches(profile: Profile) -> st.SearchStrategy[Reach]:
    kinds = [*profile.kinds] or [None]
    scopes = [*(profile.scopes or ("a.read", "a.write", "b.read", "a.*", "*"))]
    spec = st.builds(
        KeySpec,
        kind=st.sampled_from(kinds),
        environment=st.sampled_from([*profile.environments, None]),
        project=st.sampled_from([None, "p", "q"]),
        scopes=st.sets(st.sampled_from(scopes)).map(lambda chosen: tuple(sorted(chosen))),
        allowed_origins=st.sampled_from([(), (SITE,), (NEW, SITE)]),
        expires_at=st.sampled_from([None, T27, T28]),
        rate_limit=st.none() | st.builds(RateLimit, st.integers(1, 3), st.integers(1, 3)),
        credits=st.none()
        | st.builds(
            Credits,
            st.integers(0, 2),
            st.none() | st.builds(Refill, st.integers(1, 2), st.sampled_from([DAILY, MONTHLY])),
        ),
    )
    spans = st.sampled_from([None, 30 * DAY, 90 * DAY])
    return st.builds(Reach, spec, spans, st.sampled_from([(), (SITE,), (NEW,)]))


WILD_KINDS = replace(WILD, kinds={"all": Kind("all", unscoped_is_all=True), "none": Kind("none")})
PROFILES = [*map(profile_of, known_types()), WILD, WILD_KINDS]
each_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.type)


@each_profile
@settings(max_examples=20, deadline=None)
@given(data=st.data(), renewed=st.booleans())
def test_what_widens_one_way_narrows_the_other(profile: Profile, data: st.DataObject, renewed: bool) -> None:
    before, after = data.draw(reaches(profile)), data.draw(reaches(profile))
    weigh = partial(compare, profile=profile, now=NOW, renewed=renewed)
    assert direction(weigh(after, before)) == BACK[direction(weigh(before, after))]
    assert weigh(before, before) == ()


@each_profile
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_further_scope_never_narrows(profile: Profile, data: st.DataObject) -> None:
    before = data.draw(reaches(profile).filter(lambda found: found.spec.scopes))
    more = data.draw(reaches(profile)).spec.scopes
    scopes = tuple(sorted({*before.spec.scopes, *more}))
    after = replace(before, spec=replace(before.spec, scopes=scopes))
    assert direction(compare(before, after, profile, NOW)) in (WIDENS, None)


@each_profile
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_what_only_widens_twice_widens_as_a_whole(profile: Profile, data: st.DataObject) -> None:
    first, second, third = (data.draw(reaches(profile)) for _ in range(3))
    ways = {direction(compare(a, b, profile, NOW)) for a, b in ((first, second), (second, third))}
    if ways <= {WIDENS, None}:
        assert direction(compare(first, third, profile, NOW)) in (WIDENS, None)


@pytest.mark.parametrize(
    ("before", "after", "way"), [(None, 30, NARROWS), (30, None, WIDENS), (90, 30, NARROWS)]
)
def test_a_span_given_or_taken_away_is_an_end_or_none(
    before: int | None, after: int | None, way: str
) -> None:
    """Found by the property above: from never to 30 days was taken for nothing."""
    profile = profile_of("revenium")
    first, second = (
        Reach(KeySpec(kind="metering-only"), timedelta(days=days) if days else None)
        for days in (before, after)
    )
    assert direction(compare(first, second, profile, NOW)) == way
