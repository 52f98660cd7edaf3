"""What a good configuration means: merging, defaults, templates, for_each, and the digest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from keyform.config import Config
from keyform.diagnostics import Diagnostic
from keyform.model import Credits, Import, Move, Place, RateLimit, Refill, Rotation, Secret, SourceRef

Loader = Callable[..., Config]
Refuser = Callable[..., tuple[Diagnostic, ...]]

HEAD = "version: 1\nservices: {app: {type: embedded}}\n"
READ = "service: app, kind: read, environment: live"


def test_every_field_of_a_key_arrives(config: Loader) -> None:
    loaded = config(
        HEAD
        + """projects: {web: {service: app, id: proj_1, allowed_origins: ["https://B.example:443", "https://a.example"]}}
keys:
  snippet:
    service: app
    kind: public
    environment: test
    project: web
    name: Snippet
    description: "for the\\npage"
    scopes: [events:write, events:write]
    allowed_origins: ["http://localhost:8080", "https://A.example:8443"]
    expires_in: 1y
    rotation: {every: 60d, before_expiry: 14d, overlap: 72h, revoke_when_unused_for: 24h}
    rate_limit: {limit: 600, per: 1m}
    credits: {remaining: 1000, refill: {amount: 500, interval: monthly, refill_day: 31}}
    metadata: {team: web, app: "7"}
    secret: {store: local, path: web/snippet, field: key, on_revoke: keep}
    owner: web-team
    tags: [prod, "1"]
    protect: true
"""
    )
    (project,) = loaded.desired.projects
    assert (project.address, project.service, project.id) == ("projects.web", "app", "proj_1")
    assert project.allowed_origins == ("https://a.example", "https://b.example")
    (key,) = loaded.desired.keys
    spec = key.spec
    assert (key.address, key.service, spec.kind, spec.environment) == (
        "keys.snippet",
        "app",
        "public",
        "test",
    )
    assert (spec.project, spec.name, spec.description) == ("proj_1", "Snippet", "for the\npage")
    assert spec.scopes == ("events:write",)
    assert spec.allowed_origins == ("http://localhost:8080", "https://a.example:8443")
    assert (key.expires_in, spec.expires_at) == (timedelta(days=365), None)
    assert key.rotation == Rotation(
        timedelta(days=60), timedelta(days=14), timedelta(hours=72), timedelta(hours=24)
    )
    assert spec.rate_limit == RateLimit(600, 60)
    assert spec.credits == Credits(1000, Refill(500, "monthly", 31))
    assert spec.metadata == (("app", "7"), ("team", "web"))
    assert key.places == (Place("local", "web/snippet", "key"),)
    assert key.places[0].on_revoke == "keep"
    assert (key.owner, key.tags, key.protect) == ("web-team", ("1", "prod"), True)
    assert key.source == SourceRef("keyform.yaml", ("keys", "snippet"))


def test_what_is_not_written_has_its_default(config: Loader) -> None:
    loaded = config(HEAD + f"keys: {{worker: {{{READ}, secret: a/b}}}}\n")
    (key,) = loaded.desired.keys
    assert (key.spec.name, key.spec.scopes, key.expires_in, key.rotation) == (
        "worker",
        ("events:read",),
        None,
        None,
    )
    assert key.places == (Place("local", "a/b"),)
    assert (loaded.state.backend, dict(loaded.state.options)) == ("local", {"path": ".keyform/state.json"})
    assert {n: (s.type, dict(s.options)) for n, s in loaded.stores.items()} == {
        "local": ("age", {"path": ".keyform/secrets"})
    }
    assert loaded.diagnostics == ()


def test_a_timestamp_is_text_and_becomes_utc(config: Loader) -> None:
    loaded = config(HEAD + f"keys: {{a: {{{READ}, secret: a, expires_at: 2027-01-01T01:00:00+01:00}}}}\n")
    assert loaded.desired.keys[0].spec.expires_at == datetime(2027, 1, 1, tzinfo=UTC)


def test_defaults_reach_the_keys_whose_service_knows_them(config: Loader) -> None:
    loaded = config(
        """version: 1
services: {app: {type: embedded}, plain: {type: plain}}
stores: {vault: {type: vault, address: "https://v.example"}}
defaults:
  environment: live
  expires_in: 90d
  rotation: {every: 60d, overlap: 72h, before_expiry: 7d}
  rate_limit: {limit: 5, per: 1h}
  metadata: {team: core, app: x}
  owner: us
  tags: [t]
  protect: true
keys:
  a: {service: app, kind: read, secret: a, metadata: {app: y}}
  b:
    <<: {service: app, kind: read, secret: b, environment: test, expires_in: never, protect: false}
    rotation: {every: 30d}
  c: {service: plain, secret: c}
  d: {service: app, kind: read, secret: d, expires_at: 2027-05-01T00:00:00Z}
"""
    )
    a, b, c, d = loaded.desired.keys
    assert (a.spec.environment, a.expires_in, a.owner, a.tags, a.protect) == (
        "live",
        timedelta(days=90),
        "us",
        ("t",),
        True,
    )
    assert a.spec.metadata == (("app", "y"), ("team", "core"))
    assert a.spec.rate_limit == RateLimit(5, 3600)
    assert a.places == (Place("vault", "a"),)
    assert a.rotation == Rotation(timedelta(days=60), timedelta(days=7), timedelta(hours=72))
    assert (b.spec.environment, b.expires_in, b.protect) == ("test", None, False)
    assert b.rotation == Rotation(timedelta(days=30), None, timedelta(hours=72))
    assert (c.spec.environment, c.expires_in, c.spec.metadata, c.spec.rate_limit) == (None, None, (), None)
    assert (d.expires_in, d.rotation.before_expiry if d.rotation else None) == (None, None)


def test_files_are_merged_in_any_number(config: Loader) -> None:
    loaded = config(
        {
            "10-services.yaml": HEAD,
            "20-keys.yml": f"keys: {{a: {{{READ}, secret: a}}}}\n",
            "30-more.yaml": f"keys: {{b: {{{READ}, secret: b}}}}\nimports:\n",
            "40-empty.yaml": "# nothing yet\n",
            ".hidden.yaml": "nonsense: [",
            "notes.txt": "nonsense: [",
        }
    )
    assert [key.address for key in loaded.desired.keys] == ["keys.a", "keys.b"]


def test_a_name_in_two_files_shows_both(refused: Refuser) -> None:
    found = refused(
        {
            "a.yaml": HEAD + f"keys:\n  k: {{{READ}, secret: a}}\n",
            "b.yaml": f"keys:\n  k: {{{READ}, secret: b}}\nstate: {{}}\n",
            "c.yaml": "state: {}\n",
        }
    )
    assert [(d.code, str(d.location)) for d in found] == [
        ("duplicate-name", "b.yaml:2:3"),
        ("duplicate-name", "c.yaml:1:1"),
    ]
    assert "a.yaml:4:3" in found[0].explanation
    assert "b.yaml:3:1" in found[1].explanation


def test_all_errors_of_all_files_come_in_one_run(refused: Refuser) -> None:
    found = refused(
        {
            "a.yaml": HEAD
            + "keys:\n  a: {service: app, kind: raed, environment: live, secret: ../x, ownr: me}\n",
            "b.yaml": "keys: {b: [\n",
            "c.yaml": "keys:\n  c: {service: other, kind: read, environment: live, secret: c}\n"
            "  d: {service: app, kind: read, environment: live, secret: d, scopes: [nope]}\n",
        }
    )
    assert [(d.location.file if d.location else "", d.code) for d in found] == [
        ("a.yaml", "unknown-kind"),
        ("a.yaml", "bad-path"),
        ("a.yaml", "unknown-field"),
        ("b.yaml", "yaml-syntax"),
        ("c.yaml", "unknown-scope"),
    ]  # `other` may be declared in the file that cannot be read, so it is not called unknown


def test_merge_keys_and_aliases(config: Loader) -> None:
    loaded = config(
        HEAD
        + """keys:
  a: &base
    service: app
    kind: read
    environment: live
    tags: &tags [x]
    secret: a
  b:
    <<: *base
    secret: b
  c: {<<: [*base, {owner: o}], secret: c, tags: *tags}
"""
    )
    assert [(k.address, k.spec.kind, k.owner, k.tags) for k in loaded.desired.keys] == [
        ("keys.a", "read", None, ("x",)),
        ("keys.b", "read", None, ("x",)),
        ("keys.c", "read", "o", ("x",)),
    ]


def test_for_each_over_a_list(config: Loader) -> None:
    loaded = config(
        HEAD
        + f"""keys:
  reader:
    <<: {{{READ}}}
    for_each: [us-east, "a \\"b\\""]
    description: "${{each.key}}/${{each.value}}"
    secret: "d/${{each.key}}"
"""
    )
    assert [(k.address, k.spec.name, k.spec.description, k.places[0].path) for k in loaded.desired.keys] == [
        ('keys.reader["us-east"]', "reader-us-east", "us-east/us-east", "d/us-east"),
        ('keys.reader["a \\"b\\""]', 'reader-a "b"', 'a "b"/a "b"', 'd/a "b"'),
    ]


def test_for_each_over_a_mapping(config: Loader) -> None:
    loaded = config(
        HEAD
        + f"""keys:
  r:
    <<: {{{READ}}}
    for_each: {{x: {{team: core, size: 3}}, y: {{team: web, size: 4}}}}
    owner: "${{each.value.team}}"
    metadata: {{size: "${{each.value.size}}"}}
    secret: "${{each.key}}"
"""
    )
    assert [(k.owner, k.spec.metadata) for k in loaded.desired.keys] == [
        ("core", (("size", "3"),)),
        ("web", (("size", "4"),)),
    ]


VARIABLES = (
    HEAD
    + f"""variables:
  region: eu
  team: {{default: "t-${{var.region}}", description: who}}
  count: 3
keys:
  k:
    <<: {{{READ}, secret: k}}
    name: "${{var.region}} ${{var.team}} ${{var.count}} $${{var.x}} ${{env:WHO}}"
"""
)


def test_variables_environment_and_escapes(config: Loader) -> None:
    loaded = config(VARIABLES, env={"WHO": "me"})
    assert loaded.desired.keys[0].spec.name == "eu t-eu 3 ${var.x} me"


def test_given_variables_win_over_var_files_over_defaults(
    config: Loader, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("vars")
    (folder / "1.yaml").write_text("region: us\ncount: 4\nteam: a\n")
    (folder / "2.yaml").write_text("count: 5\nteam: b\n")
    loaded = config(
        VARIABLES,
        env={"WHO": "me"},
        variables={"team": "c"},
        var_files=[folder / "1.yaml", folder / "2.yaml"],
    )
    assert loaded.desired.keys[0].spec.name == "us c 5 ${var.x} me"


def test_undeclared_variables_are_refused_wherever_they_are_given(
    refused: Refuser, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("vars") / "v.yaml"
    file.write_text("regoin: us\nteam: [x]\n")
    found = refused(VARIABLES, env={"WHO": "me"}, variables={"tema": "x"}, var_files=[file])
    assert [(d.code, str(d.location)) for d in found] == [
        ("unknown-variable", "None"),
        ("unknown-variable", f"{file}:1:1"),
        ("wrong-type", f"{file}:2:1"),
    ]
    assert "`team`" in found[0].detail
    assert "`region`" in found[1].detail


def test_imports_moves_and_removals(config: Loader) -> None:
    loaded = config(
        HEAD
        + f"""keys:
  k: {{{READ}, secret: k}}
  r: {{{READ}, for_each: [x], secret: "r/${{each.key}}"}}
imports: [{{key: k, id: key_1}}, {{key: 'keys.r["x"]', id: key_2}}]
moved: [{{from: oldest, to: old}}, {{from: old, to: k}}, {{from: other, to: 'r["x"]'}}]
removed: [{{key: legacy, revoke: false}}]
"""
    )
    desired = loaded.desired
    assert [(i.address, i.id) for i in desired.imports] == [("keys.k", "key_1"), ('keys.r["x"]', "key_2")]
    assert [(m.before, m.after) for m in desired.moves] == [
        ("keys.oldest", "keys.k"),
        ("keys.old", "keys.k"),
        ("keys.other", 'keys.r["x"]'),
    ]
    assert [(r.address, r.revoke) for r in desired.removals] == [("keys.legacy", False)]
    assert isinstance(desired.imports[0], Import)
    assert isinstance(desired.moves[0], Move)
    location, line = loaded.locate(desired.imports[1].source or SourceRef("", ()))
    assert (location.line, line.startswith("imports:")) == (6, True)


def test_offline_an_unset_variable_is_a_warning(config: Loader) -> None:
    text = HEAD.replace("embedded", 'embedded, credential: "${env:TOKEN}"')
    loaded = config(text + f"keys: {{k: {{{READ}, secret: k}}}}\n", offline=True)
    assert [(d.severity, d.code) for d in loaded.diagnostics] == [("warning", "unset-environment")]
    assert loaded.services["app"].credential is None


def test_credentials_and_endpoints_arrive(config: Loader) -> None:
    loaded = config(
        """version: 1
services:
  app: {type: embedded, endpoint: "${env:URL}/v1", credential: "${env:TOKEN}", mode: contract, path: x}
stores: {v: {type: acme, address: "https://v", auth: {roles: [a], secret_id: "${env:SID}"}}}
state: {backend: s3, bucket: b, access_key: "${env:AK}"}
""",
        env={"URL": "https://keys.example", "TOKEN": "tok-123456", "SID": "sid-123456", "AK": "ak-123456"},
    )
    app = loaded.services["app"]
    assert (app.endpoint, app.mode, app.credential, dict(app.options)) == (
        "https://keys.example/v1",
        "contract",
        Secret("tok-123456"),
        {"path": "x"},
    )
    assert loaded.stores["v"].options["auth"] == {"roles": ("a",), "secret_id": Secret("sid-123456")}
    assert loaded.state.options["access_key"] == Secret("ak-123456")
    for secret in ("tok-123456", "sid-123456", "ak-123456"):
        assert secret not in repr(loaded)


def test_a_remote_endpoint_without_tls_is_a_warning(config: Loader) -> None:
    loaded = config(
        "version: 1\nservices:\n  a: {type: embedded, endpoint: 'http://keys.example'}\n"
        "  b: {type: embedded, endpoint: 'http://127.0.0.1:8000'}\n"
    )
    assert [(d.severity, d.code, str(d.location)) for d in loaded.diagnostics] == [
        ("warning", "plain-http", "keyform.yaml:3:33")
    ]


def test_a_profile_of_ones_own_beside_the_configuration_is_not_read_as_one(config: Loader) -> None:
    with pytest.raises(Exception, match=r"no service type `\./acme.yaml`$"):
        config(
            {"keyform.yaml": "version: 1\nservices: {a: {type: ./acme.yaml}}\n", "acme.yaml": "type: acme\n"}
        )


class TestDigest:
    TEXT = """version: 1
services: {{app: {{type: embedded, endpoint: "${{env:URL}}", credential: "${{env:TOKEN}}"}}}}
variables: {{who: a}}
keys:
  k:
    <<: {{service: app, kind: read, environment: live}}
    secret: {secret}
    scopes: [{scopes}]
    owner: "${{var.who}}"
"""

    def digest(
        self,
        config: Loader,
        *,
        path: str = "k",
        scopes: str = "events:read, reports:read",
        **options: object,
    ) -> str:
        given: dict[str, object] = {"env": {"URL": "https://a.example", "TOKEN": "token-1"}} | options
        return config(self.TEXT.format(secret=path, scopes=scopes), **given).digest

    def test_it_is_stable_and_knows_no_credential_and_no_order(self, config: Loader) -> None:
        first = self.digest(config)
        assert first == self.digest(config, env={"URL": "https://a.example", "TOKEN": "token-2"})
        assert first == self.digest(config, scopes="reports:read, events:read")

    @pytest.mark.parametrize(
        "change",
        [
            {"env": {"URL": "https://b.example", "TOKEN": "token-1"}},
            {"variables": {"who": "b"}},
            {"path": "j"},
            {"path": "{path: k, on_revoke: keep}"},
            {"scopes": "events:read"},
        ],
    )
    def test_it_changes_with_everything_else(self, config: Loader, change: dict[str, object]) -> None:
        assert self.digest(config) != self.digest(config, **change)


def test_a_rotation_needs_no_overlap(config: Loader) -> None:
    keys = "keys: {{a: {{{read}, secret: a, rotation: {{every: 30d}}}}}}\n"
    loaded = config(HEAD + keys.format(read=READ))
    assert loaded.desired.keys[0].rotation == Rotation(every=timedelta(days=30))
    longer = config(HEAD + keys.format(read=READ).replace("30d", "31d"))
    assert loaded.digest != longer.digest


def test_a_for_each_moves_as_a_whole(config: Loader) -> None:
    loaded = config(
        "version: 1\nservices: {app: {type: plain}}\n"
        "moved: [{from: old, to: r}, {from: oldest, to: old}]\n"
        "keys: {r: {service: app, secret: '${each.key}', for_each: [x, y]}}\n"
    )
    assert [(move.before, move.after) for move in loaded.desired.moves] == [
        ('keys.old["x"]', 'keys.r["x"]'),
        ('keys.old["y"]', 'keys.r["y"]'),
        ('keys.oldest["x"]', 'keys.r["x"]'),
        ('keys.oldest["y"]', 'keys.r["y"]'),
    ]


SCHEDULED = """\
version: 1
schedule: every 24h
services: {{app: {{type: embedded}}}}
keys:
  k: {{service: app, kind: read, environment: live, secret: "k/${{each.key}}", for_each: [a, b], {fields}}}
"""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ("expires_in: 30d", None),
        ("expires_in: never, rotation: {every: 12h}", None),
        ("expires_in: 30d, rotation: {before_expiry: 24h}", None),
        ("expires_in: 30d, rotation: {before_expiry: 23h}", "due 23h ahead, and keyform runs every 1d"),
        ("expires_in: 30d, rotation: {every: 29d, before_expiry: 1h}", None),
        ("expires_in: 10d, rotation: {every: 239h}", "due 1h ahead"),
        ("expires_in: 24h", "lives for 1d, and keyform runs every 1d"),
    ],
)
def test_a_schedule_tells_of_keys_that_can_die_between_two_runs(
    config: Loader, fields: str, words: str | None
) -> None:
    loaded = config(SCHEDULED.format(fields=fields))
    assert loaded.schedule == timedelta(days=1)
    found = [d for d in loaded.diagnostics if d.code == "short-life"]
    assert len(found) == (words is not None)
    assert all(words in d.summary for d in found)


def test_the_digest_covers_the_schedule(config: Loader) -> None:
    text = SCHEDULED.format(fields="expires_in: 30d")
    assert config(text).digest != config(text.replace("24h", "12h")).digest


def test_an_end_that_has_passed_is_a_warning_since_the_key_may_have_lived_until_then(config: Loader) -> None:
    loaded = config(
        "version: 1\nservices: {a: {type: embedded}}\n"
        "keys: {k: {service: a, kind: secret, environment: test, name: K, secret: k, "
        "expires_at: 2026-11-20T00:00:00Z}}\n"
    )
    assert [(d.severity, d.code, d.address) for d in loaded.diagnostics] == [
        ("warning", "past-end", "keys.k")
    ]


@pytest.mark.parametrize(
    ("rotation", "left"),
    [
        ("before_expiry: 2d, overlap: 5d", "2d"),
        ("every: 9d, overlap: 5d", "1d"),
        ("every: 9d, before_expiry: 3d, overlap: 5d", "3d"),
        ("before_expiry: 5d, overlap: 5d", None),
        ("every: 5d, before_expiry: 1d, overlap: 4d", None),
    ],
)
def test_an_overlap_that_an_expiry_cuts_short_is_a_warning(
    config: Loader, rotation: str, left: str | None
) -> None:
    loaded = config(
        "version: 1\nservices: {a: {type: embedded}}\n"
        "keys: {k: {service: a, kind: secret, environment: test, name: K, secret: k, expires_in: 10d, "
        f"rotation: {{{rotation}}}}}}}\n"
    )
    found = [d for d in loaded.diagnostics if d.code == "cut-overlap"]
    assert [f"{left} after" in d.summary for d in found] == ([True] if left else [])
