"""What `keyform services check` says of a profile that is wrong: what, where, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from keyform.services import profiles
from keyform.services.check import check_profile

SOUND = """\
version: 1
title: Acme
base_url: https://api.acme.example
options: {team: {required: true}}
auth: {header: X-Key, value: "{credential}"}
marker: metadata
kinds: {full: {prefix: f_, scopes: [a]}, read: {prefix: r_}}
default_kind: full
environments: [live]
scopes: {a: one, b: two}
fields: [kind, environment, name, scopes, metadata, expires_in]
mutable: [name]
shown: [kind, name, scopes, expires_at, metadata]
expiry: {windows: [30d]}
names: {windows: {30d: THIRTY}, statuses: {revoked: disabled}}
key:
  id: id
  kind: {at: start, by: prefix}
  name: name
  scopes: "grants[].slug"
  expires_at: ends
  metadata: labels
operations:
  list:
    backing: documented
    path: /keys
    query: {after: "{cursor}"}
    items: data
    paging: {by: cursor, next: next}
  create:
    backing: documented
    path: /teams/{options.team}/keys
    body: {k: "{kind}", v: "{environment}", n: "{name}", s: "{scopes}", m: "{metadata}", e: "{expiry_window}"}
    key: key
    secret: secret
  update:
    backing: documented
    path: /keys/{id}
    fields: {name: {name: "{name}"}}
  revoke: {backing: documented, method: DELETE, path: "/keys/{id}"}
  prove: {backing: documented, path: /me}
"""


def said(text: str) -> list[str]:
    found = check_profile(text.encode(), "acme.yaml")
    assert all(diagnostic.severity == "error" and diagnostic.location for diagnostic in found)
    return [f"{d.location.line}:{d.location.column} {d.summary}" for d in found]  # type: ignore[union-attr]


def test_a_sound_profile_has_nothing_wrong() -> None:
    assert said(SOUND) == []


@pytest.mark.parametrize(
    "file", sorted((Path(profiles.__file__).parent / "profiles").glob("*.yaml")), ids=lambda f: f.stem
)
def test_the_built_in_profiles_have_nothing_wrong(file: Path) -> None:
    assert check_profile(file.read_bytes(), file.name) == ()


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("title: Acme", "tilte: Acme", "tilte: there is no `tilte` here"),
        ("by: cursor", "by: cursr", "`cursr` is none of the words that fit here"),
        (
            "[name]\nshown",
            "[name, scopes]\nshown",
            "mutable.1: nothing says how a change of `scopes` is sent",
        ),
        ("mutable: [name]", "mutable: [description]", "is no field that keys have"),
        ("title: Acme", "title: Acme\nlimits: {scopes.roles: 5}", "`scopes.roles` has no length or count"),
        ("title: Acme", "title: Acme\ntexts: {name: {longest: 5}}", "`name` has no length or count"),
        ("title: Acme", "title: Acme\ntexts: {scope: {pattern: '['}}", "pattern: this pattern is not one"),
        ("title: Acme", "title: Acme\ntexts: {options.tema: {longest: 5}}", "`options.tema` has no length"),
        ("  expires_at: ends", "  expires_at: ends\n  credits: {at: c, refill: {at: 'r[x]'}}", "is no path"),
        ("fields: [kind, ", "fields: [credits, kind, ", "`credits`, and `create` does not send it"),
        ("windows: [", "latest: tomorrow, windows: [", "this is no time"),
        (
            "shown: [kind",
            "shown: [environment",
            "`environment` is shown by the listing and `key` does not say where",
        ),
        ("shown: [kind", "shown: [project", "is no field that keys have"),
        ("default_kind: full", "default_kind: fool", "there is no kind `fool`"),
        ("fields: [kind, ", "fields: [", "keys have no `kind`"),
        ("scopes: [a]", "scopes: [z]", "there is no scope `z`"),
        ("prefix: r_", "prefix: f_", "begin in the same way"),
        ("read: {prefix: r_}", "read: {}", "`read` has none"),
        ("https://api.acme.example", "api.acme.example", "not the address of a service"),
        ('value: "{credential}"', "value: Bearer", "credential stands nowhere"),
        ("{30d: THIRTY}", "{60d: SIXTY}", "is none of the profile's windows"),
        ("revoked: disabled", "gone: disabled", "is none of the profile's statuses"),
        ("  id: id\n", "", "where the id of a key stands"),
        ("grants[].slug", "grants[x].slug", "is no path"),
        ("/teams/{options.team}/keys", "/teams/{options.tema}/keys", "`{options.tema}` has no value here"),
        ('n: "{name}", s', 'n: "{nmae}", s', "`{nmae}` has no value here"),
        ('e: "{expiry_window}"', "e: 1", "`expires_in`, and `create` does not send it"),
        (', m: "{metadata}"', "", "keyform's label travels in the metadata, and `create` does not send it"),
        ("    secret: secret\n", "", "where the secret of a new key stands"),
        ("    key: key\n", "", "where the id of a new key stands"),
        ('path: "/keys/{id}"}', "path: /keys}", "nothing says which key to revoke"),
        ('path: "/keys/{id}"}', 'path: "/keys/{id}", accept: [404]}', "a wrong address answers 404 too"),
        ("path: /me", 'path: "/me/{secret}"', "an address ends up in logs"),
        ("path: /me", "path: me", "a path begins with one /"),
        ("path: /me", "path: //evil.example/me", "a path begins with one /"),
        ("path: /me", "path: /me, auth: none", "nothing shows the new key"),
        (", path: /me", "", "needs a `path`"),
        (
            '    query: {after: "{cursor}"}\n',
            "",
            "pages are named by their cursor, which the call does not send",
        ),
        ("by: cursor, next: next", "by: cursor", "where the cursor of the next page stands"),
        ("    path: /keys/{id}\n", "    path: /keys/{id}\n    send: merged\n", "there is no `read`"),
        ("title: Acme\n", "title: Acme\ntitle: Acme\n", "`title` is written twice"),
        ("title: Acme\n", "title: Acme\nkey_format: '('\n", "key_format: this pattern is not one"),
        ("title: Acme\n", "title: Acme\nlimits: {nmae: 3}\n", "has no length or count"),
        ("options: {", "options: {mode: {}, ", "`mode` is a field of every service"),
        ("options: {", "options: {x: {type: text, default: 3}, ", "the default is no text"),
        ("options: {", "options: {x: {choices: [a], default: b}, ", "the default is none of the choices"),
        ("options: {", "options: {x: {type: number, choices: [a]}, ", "only a text has choices"),
        ("title: Acme\n", "title: [Acme\n", "this is not valid YAML"),
        ("title: Acme\n", "title: Acme\non: 1\n", "`on` is ambiguous"),
        ("path: /me", "path: /me, expect: {off: true}", "`off` is ambiguous"),
        ("  prove: {", "  set_origins: {backing: documented, add: {path: /o}}\n  prove: {", "by a call each"),
        (
            "  prove: {",
            "  get_origins: {backing: documented, path: /o}\n  prove: {",
            "where projects and their origins stand",
        ),
        (
            "/keys/{id}\n    fields: {name",
            "/keys/{id}\n    fields: {scopes: {s: 1}, name",
            "which does not change in place",
        ),
        ("title: Acme", "title: Acme\nimplementation: nosuch", "implementation: `nosuch` is not installed"),
        ("auth: {h", "errors: {failed_if: {ok: false}}\nauth: {h", "nothing says where such an answer tells"),
        ("auth: {h", "errors: {code: ['a..b']}\nauth: {h", "is no path"),
        ('/{id}"}', '/{id}", accept: [200 gone]}', "an answer 200 gone is no refusal"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(before: str, after: str, what: str) -> None:
    text = SOUND.replace(before, after, 1)
    assert text != SOUND
    found = said(text)
    assert [line for line in found if what in line], found
    assert len(found) <= 3


def test_the_place_is_the_line_and_column() -> None:
    text = SOUND.replace('{name: {name: "{name}"}}', '{name: {name: "{nmae}"}}')
    (found,) = check_profile(text.encode(), "acme.yaml")
    line = text.splitlines()[found.location.line - 1]  # type: ignore[union-attr]
    assert line == found.snippet == '    fields: {name: {name: "{nmae}"}}'
    assert line[found.location.column - 1 :].startswith("fields")  # type: ignore[union-attr]
    assert found.detail.startswith("update takes: ")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"7",
        b"a: &a [*a]",
        b"\xff\xfe",
        b"? [1]\n: 2",
        b"x: !!python/object:os.system {}",
        b"{" * 5000,
        b"a: " + b"[" * 5000,
    ],
    ids=lambda data: repr(data[:12]),
)
def test_whatever_is_in_a_file_it_is_an_error_and_no_crash(data: bytes) -> None:
    assert check_profile(data, "acme.yaml")


@pytest.mark.parametrize(
    ("before", "after", "what", "hint"),
    [
        ('"grants[].slug"', "{at: g, splitt: x}", "key.scopes.splitt: there is no `splitt` here", "`split`?"),
        ('"grants[].slug"', "7", "key.scopes: must be text or a mapping, and is a number", ""),
        ('"grants[].slug"', "{at: [g]}", "key.scopes.at: must be text, and is a list", ""),
        ("marker: metadata", "marker: metadate", "marker: `metadate` is none of the words", "`metadata`?"),
        ("marker: metadata", "marker: {inn: name}", "marker.inn: there is no `inn` here", "`in`?"),
        ("marker: metadata", "marker: [name]", "marker: must be one of the words metadata, tags", ""),
        ("fields: [kind,", "fields: [kind, colour,", "fields.1: `colour` is none of the words", "Known:"),
        ("title: Acme", "title: ''", "title: is empty", "leave it out"),
        ("version: 1", "version: 2", "version: must be 1", "Write 1."),
        ("kinds: {", "kinds: {'a b': {}, ", "kinds.a b: `a b` cannot be a name here", ""),
        ("windows: [30d]", "windows: [30d, 30d]", "expiry.windows: holds something twice", "Remove"),
        ("windows: [30d]", "windows: [month]", "expiry.windows.0: is not written as it has to be", ""),
        ("title: Acme", "title: Acme\nlimits: {name: -1}", "limits.name: must be at least 0", ""),
    ],
)
def test_the_form_is_explained_in_sentences(before: str, after: str, what: str, hint: str) -> None:
    text = SOUND.replace(before, after, 1)
    assert text != SOUND
    found = [d for d in check_profile(text.encode(), "acme.yaml") if what in d.summary]
    assert found, said(text)
    assert hint in found[0].detail
    assert not [d for d in found if "anyOf" in d.summary or "schema" in d.summary]


@pytest.mark.parametrize("text", ["", "\n# nothing yet\n", "---\n", "null\n"])
def test_an_empty_profile_is_called_empty(text: str) -> None:
    (found,) = check_profile(text.encode(), "acme.yaml")
    assert found.summary == "the profile acme.yaml is empty"
    assert "docs/profiles.md" in found.detail


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (
            "privilege: {production: [real]}",
            "1:26 profile acme.yaml: privilege.production.0: there is no envi",
        ),
        ('privilege: {dangerous: "("}', "1:24 profile acme.yaml: privilege.dangerous: this pattern"),
        (
            'privilege: {scope_form: "{verb}"}',
            "1:25 profile acme.yaml: privilege.scope_form: a scope is read",
        ),
    ],
)
def test_what_is_said_of_privilege_makes_sense(rule: str, problem: str) -> None:
    (found,) = said(f"{rule}\n{SOUND}")
    assert found.startswith(problem)


def test_a_kind_that_needs_a_project_cannot_be_without_one() -> None:
    (found,) = said(SOUND.replace("{prefix: r_}", "{prefix: r_, project: required, no_project: all}"))
    assert "kinds.read.no_project: read keys always belong to a project" in found


@pytest.mark.parametrize(
    ("field", "mend"),
    [("tags", "keyform changes no `tags` of a key"), ("expires_in", "Name it `expires_at`")],
)
def test_what_cannot_be_mutable_is_not_advised(field: str, mend: str) -> None:
    text = SOUND.replace("fields: {name: {", f"fields: {{{field}: {{t: 1}}, name: {{")
    (found,) = check_profile(text.encode(), "acme.yaml")
    assert mend in found.detail
    assert "Add" not in found.detail
