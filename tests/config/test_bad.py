"""The catalogue of bad configurations: each gets its error at its place, in words that help."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keyform.diagnostics import Diagnostic

Refuser = Callable[..., tuple[Diagnostic, ...]]

HEAD = """version: 1
services: {app: {type: embedded}, win: {type: windows}, plain: {type: plain}}
"""
"""Two lines; the texts below start at line 3."""


def key(fields: str, name: str = "k") -> str:
    """A key of the embedded service, one field a line from line 4 on, after service and secret (5 and 6)."""
    lines = [
        f"  {name}:",
        "    service: app",
        f"    secret: {name}/path",
        *(f"    {line}" for line in fields.split("\n")),
    ]
    return "keys:\n" + "\n".join(lines) + "\n"


SECRET = "kind: secret\nenvironment: live\n"

# text after HEAD, code, line:column, words that the summary and detail must hold
CASES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "duplicate name": (
        "keys:\n  a: {service: app, secret: a, kind: read, environment: live}\n"
        "  a: {service: app, secret: b, kind: read, environment: live}\n",
        "duplicate-name",
        "5:3",
        ("`a` is written twice", "keyform.yaml:4:3"),
    ),
    "duplicate field": (
        key(SECRET + "owner: a\nowner: b"),
        "duplicate-name",
        "10:5",
        ("`owner`", "keyform.yaml:9:5"),
    ),
    "a store with one field too many": (
        "stores:\n  s: {type: github-actions, repository: acme/web, organization: acme}\n",
        "conflicting-fields",
        "4:3",
        ("store `s` has `repository` and `organization`", "Keep one"),
    ),
    "a store without either of two fields": (
        "stores:\n  s: {type: github-actions}\n",
        "missing-field",
        "4:3",
        ("store `s` has neither `repository` nor `organization`", "Add one of them: `repository: "),
    ),
    "commands that cannot read": (
        'stores:\n  s: {type: exec, put: [./s, w, "{path}"], delete: [./s, d, "{path}"]}\n',
        "missing-field",
        "4:3",
        (
            "store `s` has neither `get` nor `look`",
            'Add one of them, or both: `get: [./secrets, read, "{path}"]` or `look: [./secrets,',
        ),
    ),
    "a command that is missing": (
        'stores:\n  s: {type: exec, put: [./s, w, "{path}"], get: [./s, r, "{path}"]}\n',
        "missing-field",
        "4:3",
        ("store `s` has no `delete`", 'Add `delete: [./secrets, remove, "{path}"]`'),
    ),
    "a command that is no list": (
        'stores:\n  s: {type: exec, put: "./s w {path}", get: [g], delete: [d]}\n',
        "wrong-type",
        "4:24",
        ("`put` of store `s` must be", 'Write `put: [./s, w, "{path}"]`'),
    ),
    "a script that is no list": (
        "stores:\n  s: {type: exec, put: \"sh -c 'cat > {path}'\", get: [g], delete: [d]}\n",
        "wrong-type",
        "4:24",
        ('Write `put: [sh, -c, cat > "$KEYFORM_PATH"]`',),
    ),
    "a server without a scheme": (
        'stores:\n  s: {type: vault, address: "127.0.0.1:8200"}\n',
        "bad-value",
        "4:29",
        (
            "`127.0.0.1:8200`: it has no scheme",
            "`address: https://127.0.0.1:8200`",
            "http:// on this machine",
        ),
    ),
    "tab indentation": ("keys:\n\ta: 1\n", "yaml-syntax", "4:1", ("tab", "spaces")),
    "bad syntax": ("keys: {a: [1, 2}\n", "yaml-syntax", "3:16", ("not valid YAML",)),
    "bracket never closed": (
        key(SECRET + "scopes: [events:read\nname: n"),
        "yaml-syntax",
        "9:13",
        ("`[` is not closed before line 10", "`]`"),
    ),
    "brace never closed": ("stores: {a: {type: age}\nkeys: {}\n", "yaml-syntax", "3:9", ("`{`", "`}`")),
    "quote never closed": (key(SECRET + 'name: "n\nowner: o'), "yaml-syntax", "9:11", ("quote is never",)),
    "quote closed too late": (
        key(SECRET + 'name: "n\nowner: "o"'),
        "yaml-syntax",
        "9:11",
        ("closed only on line 10",),
    ),
    "field without a colon": (key(SECRET + "name n\nowner: o"), "yaml-syntax", "9:5", ("no `:` after",)),
    "first field without a colon": (
        "keys:\n  k:\n    service app\n    secret: x\n",
        "yaml-syntax",
        "5:5",
        ("no `:` after",),
    ),
    "two colons in a line": (key(SECRET + "name: a: b"), "yaml-syntax", "9:12", ("quotes around",)),
    "indented too far": (key(SECRET + "name: a\n  owner: b"), "yaml-syntax", "10:12", ("indented further",)),
    "text after a quote": (key(SECRET + 'name: "a" b'), "yaml-syntax", "9:15", ("inside the quotes",)),
    "at sign": (key(SECRET + "owner: @me"), "yaml-syntax", "9:12", ("quotes around",)),
    "keys as a list": ("keys: [{service: app}]\n", "wrong-type", "3:1", ("`keys: {worker: {service:",)),
    "rate limit as a number": (
        key(SECRET + "rate_limit: 100"),
        "wrong-type",
        "9:17",
        ("`rate_limit: {limit: 600, per: 1m}`",),
    ),
    "rotation as a span": (key(SECRET + "rotation: 60d"), "wrong-type", "9:15", ("`rotation: {every: 60d,",)),
    "owner as a list": (key(SECRET + "owner: [a]"), "wrong-type", "9:5", ("`owner: payments-team`",)),
    "metadata in metadata": (
        key(SECRET + "metadata: {a: {b: c}}"),
        "wrong-type",
        "9:16",
        ("`a: payments`",),
    ),
    "text as a move": ("moved: [a]\n", "wrong-type", "3:9", ("`{from: old-name, to: checkout}`",)),
    "store on the key": (
        key(SECRET + "store: a"),
        "unknown-field",
        "9:5",
        ("under `secret`, like `secret: {",),
    ),
    "on_revoke on the key": (key(SECRET + "on_revoke: keep"), "unknown-field", "9:5", ("under `secret`",)),
    "every on the key": (key(SECRET + "every: 1d"), "unknown-field", "9:5", ("under `rotation`",)),
    "a day without quotes": (
        key(SECRET + "expires_at: 2030-01-01"),
        "bad-time",
        "9:17",
        ("a day, not a time", "`2030-01-01T00:00:00Z`"),
    ),
    "a time too far away": (
        key(SECRET + "expires_at: 9999-12-31T23:59:59Z"),
        "bad-time",
        "9:17",
        ("`expires_in: never`",),
    ),
    "tag on a path": ("state: {path: !!binary aGk=}\n", "tag", "3:15", ("tags are not supported",)),
    "invisible in a path": (
        'keys: {k: {service: plain, secret: "a\\u200bb"}}\n',
        "bad-path",
        "3:36",
        ("U+200B",),
    ),
    "reordered path": ('keys: {k: {service: plain, secret: "a\\u202eb"}}\n', "bad-path", "3:36", ("U+202E",)),
    "same options": (
        "stores: {a: {type: vault, mount: x}, b: {mount: x, type: vault}}\n",
        "same-store",
        "3:38",
        ("`a` and `b`", "keyform.yaml:3:10"),
    ),
    "for_each moved twice": (
        """moved: [{from: a, to: r}, {from: 'a["x"]', to: k}]\n"""
        + key(SECRET)
        + "  r: {service: plain, secret: '${each.key}', for_each: [x, y]}\n",
        "bad-move",
        "3:34",
        ('keys.a["x"] is moved twice',),
    ),
    "for_each moved away and declared": (
        "moved: [{from: r, to: k}]\n"
        + key(SECRET)
        + "  r: {service: plain, secret: '${each.key}', for_each: [x, y]}\n",
        "bad-move",
        "3:16",
        ("still declared",),
    ),
    "one key moved to a for_each": (
        """moved: [{from: 'a["x"]', to: r}]\n"""
        "keys: {r: {service: plain, secret: '${each.key}', for_each: [x, y]}}\n",
        "undeclared-key",
        "3:30",
        ('like `keys.r["x"]`',),
    ),
    "template without quotes": (
        "stores: {s: {type: vault, address: ${env:A}}}\n",
        "yaml-syntax",
        "3:37",
        ("quotes",),
    ),
    "second document": ("---\nversion: 1\n", "several-documents", "3:1", ("second YAML document",)),
    "python tag": ("keys: !!python/object/apply:os.system [ls]\n", "tag", "3:7", ("tags are not supported",)),
    "own tag": (key(SECRET + "owner: !mine x"), "tag", "9:12", ("!mine",)),
    "recursive alias": ("keys: &a {k: *a}\n", "recursive-alias", "3:14", ("`*a`",)),
    "unknown alias": ("keys: *a\n", "unknown-alias", "3:7", ("`&a`",)),
    "list as a name": ("keys: {[a]: 1}\n", "bad-name", "3:8", ("must be text",)),
    "number as a name": (key(SECRET + "metadata: {1: x}"), "bad-name", "9:16", ("`1` is not text", '"1"')),
    "switch as a name": (key(SECRET + "metadata: {on: x}"), "ambiguous-value", "9:16", ("`on`", '"on"')),
    "merge of text": (key(SECRET + "<<: x"), "bad-merge", "9:9", ("mapping",)),
    "Norway": (
        key(SECRET + "tags: [no]"),
        "ambiguous-value",
        "9:12",
        ("`no`", "true or false", '"no"', "`false`"),
    ),
    "sexagesimal": (key(SECRET + "name: 1:30"), "ambiguous-value", "9:11", ("base 60", '"1:30"')),
    "date": (key(SECRET + "name: 2027-01-01"), "ambiguous-value", "9:11", ("a date",)),
    "octal": (key(SECRET + "name: 010"), "ambiguous-value", "9:11", ("a number", '"010"')),
    "a number that is too large": (
        key(SECRET + "credits: {remaining: 99999999999999999999}"),
        "bad-value",
        "9:26",
        ("at most 9,007,199,254,740,991",),
    ),
    "exponent": (key(SECRET + "name: 1e3"), "ambiguous-value", "9:11", ("a number",)),
    "huge number": (key(SECRET + "name: " + "9" * 5000), "ambiguous-value", "9:11", ("a number",)),
    "unknown section": ("kees: {}\n", "unknown-field", "3:1", ("`kees`", "`keys`")),
    "unknown field": (
        key(SECRET + "scops: [events:read]"),
        "unknown-field",
        "9:5",
        ("`scops` in key `k`", "`scopes`"),
    ),
    "nested unknown field": (
        key(SECRET + "rotation: {evry: 1d}"),
        "unknown-field",
        "9:16",
        ("`rotation` of key `k`", "`every`"),
    ),
    "wrong type": (
        key(SECRET + "scopes: events:read"),
        "wrong-type",
        "9:13",
        ("must be a list, not text", "[events:read]"),
    ),
    "number for text": (key(SECRET + "name: 7"), "wrong-type", "9:11", ("must be text, not a number", '"7"')),
    "number in metadata": (
        key(SECRET + "metadata: {n: 7}"),
        "wrong-type",
        "9:19",
        ("`metadata.n` of key `k`", '"7"'),
    ),
    "text for a boolean": (key(SECRET + 'protect: "true"'), "wrong-type", "9:14", ("true", "without quotes")),
    "empty field": (key(SECRET + "name:"), "wrong-type", "9:10", ("must be text, not empty",)),
    "bare duration number": (key(SECRET + "expires_in: 90"), "wrong-type", "9:17", ("`90d`",)),
    "missing secret": (
        "keys: {k: {service: app, kind: read, environment: live}}\n",
        "missing-field",
        "3:8",
        ("`secret`", "keys/k"),
    ),
    "missing type": ("stores: {s: {path: x}}\n", "missing-field", "3:10", ("store `s` has no `type`",)),
    "missing revoke": (
        "removed: [{key: old}]\n",
        "missing-field",
        "3:11",
        ("`revoke: true`", "`revoke: false`"),
    ),
    "bad key name": (
        "keys: {1a: {service: app, secret: x}}\n",
        "bad-name",
        "3:8",
        ("`1a` cannot name a key",),
    ),
    "empty scopes": (key(SECRET + "scopes: []"), "empty", "9:5", ("`scopes` of key `k` is empty",)),
    "bad enum": (
        key(SECRET).replace("secret: k/path", "secret: {path: p, on_revoke: kep}"),
        "bad-value",
        "6:34",
        ("`kep`", "`keep`"),
    ),
    "credits below zero": (key(SECRET + "credits: {remaining: -1}"), "bad-value", "9:26", ("at least 0",)),
    "credits without a number": (key(SECRET + "credits: {}"), "missing-field", "9:5", ("no `remaining`",)),
    "credits as a number": (
        key(SECRET + "credits: 100"),
        "wrong-type",
        "9:14",
        ("`credits: {remaining: 1000}`",),
    ),
    "refill of nothing": (
        key(SECRET + "credits: {remaining: 1, refill: {amount: 0, interval: daily}}"),
        "bad-value",
        "9:46",
        ("at least 1",),
    ),
    "refill every week": (
        key(SECRET + "credits: {remaining: 1, refill: {amount: 1, interval: weekly}}"),
        "bad-value",
        "9:59",
        ("cannot be `weekly`", "daily"),
    ),
    "refill on a day that no month has": (
        key(SECRET + "credits: {remaining: 1, refill: {amount: 1, interval: monthly, refill_day: 32}}"),
        "bad-value",
        "9:80",
        ("at most 31",),
    ),
    "monthly refill without its day": (
        key(SECRET + "credits: {remaining: 1, refill: {amount: 1, interval: monthly}}"),
        "bad-value",
        "9:29",
        ("a monthly refill needs a `refill_day`",),
    ),
    "daily refill with a day": (
        key(SECRET + "credits: {remaining: 1, refill: {amount: 1, interval: daily, refill_day: 1}}"),
        "bad-value",
        "9:29",
        ("a daily refill takes no `refill_day`", "Remove it."),
    ),
    "limit of zero": (key(SECRET + "rate_limit: {limit: 0, per: 1m}"), "bad-value", "9:25", ("at least 1",)),
    "unknown service": (
        key(SECRET).replace("service: app", "service: ap"),
        "unknown-service",
        "5:14",
        ("`ap`", "`app`"),
    ),
    "unknown service type": (
        "stores: {}\n".replace("stores: {}", "projects: {}") + key("").replace("keys:", "keys:"),
        "missing-kind",
        "5:3",
        ("need a `kind`",),
    ),
    "unknown store": (
        key(SECRET).replace("secret: k/path", "secret: {store: lcal, path: p}"),
        "unknown-store",
        "6:21",
        ("`lcal`", "`local`"),
    ),
    "unknown default store": ("defaults: {store: lokal}\n", "unknown-store", "3:19", ("`local`",)),
    "unknown option of a store": (
        "stores: {s: {type: age, pth: secrets}}\n",
        "unknown-field",
        "3:25",
        ("`pth` in store `s`", "`path`"),
    ),
    "option of a store that is no list": (
        "stores: {s: {type: age, recipients: age1abc}}\n",
        "wrong-type",
        "3:37",
        ("a list",),
    ),
    "unknown store type": ("stores: {s: {type: vaul}}\n", "unknown-type", "3:20", ("`vaul`", "`vault`")),
    "unknown backend": ("state: {backend: s4}\n", "unknown-backend", "3:18", ("`s4`", "local and s3")),
    "no kind": (key("environment: live"), "missing-kind", "4:3", ("public, secret, read and account",)),
    "unknown kind": (key("kind: secrets\nenvironment: live"), "unknown-kind", "7:11", ("`secret`",)),
    "no environment": (key("kind: read"), "missing-environment", "4:3", ("live and test",)),
    "unknown environment": (
        key("kind: read\nenvironment: prod"),
        "unknown-environment",
        "8:18",
        ("`prod`", "live and test"),
    ),
    "unknown scope": (
        key(SECRET + "scopes: [event:write]"),
        "unknown-scope",
        "9:14",
        ("`event:write`", "`events:write`"),
    ),
    "unknown scope of an unknown kind": (
        key("kind: sekret\nenvironment: live\nscopes: [event:write]"),
        "unknown-scope",
        "9:14",
        ("`events:write`",),
    ),
    "scope not for the kind": (
        key(SECRET + "scopes: [keys:manage]"),
        "scope-not-allowed",
        "9:14",
        ("secret keys", "account"),
    ),
    "unsupported field": (
        "keys: {k: {service: plain, secret: x, environment: live}}\n",
        "unsupported-field",
        "3:39",
        ("plain keys take no `environment`", "allowed_origins, name and scopes"),
    ),
    "moment where only spans": (
        'keys: {k: {service: win, kind: sk, secret: x, expires_at: "2027-01-01T00:00:00Z"}}\n',
        "unsupported-field",
        "3:47",
        ("windows keys", "`expires_in`"),
    ),
    "expiry outside the windows": (
        "keys: {k: {service: win, kind: sk, secret: x, expires_in: 60d}}\n",
        "unsupported-expiry",
        "3:59",
        ("`60d`", "30d, 90d and never"),
    ),
    "default expiry outside the windows": (
        "defaults: {expires_in: 60d}\nkeys: {k: {service: win, kind: sk, secret: x}}\n",
        "unsupported-expiry",
        "3:24",
        ("`60d`", "30d, 90d and never"),
    ),
    "duration without a unit": (
        key(SECRET + 'expires_in: "90"'),
        "bad-duration",
        "9:17",
        ("no unit", "`90d`"),
    ),
    "negative duration": (key(SECRET + "expires_in: -90d"), "bad-duration", "9:17", ("negative",)),
    "zero duration": (key(SECRET + "expires_in: 0d"), "bad-duration", "9:17", ("no time at all",)),
    "endless duration": (key(SECRET + "expires_in: 101y"), "bad-duration", "9:17", ("100 years", "`never`")),
    "unknown unit": (
        key(SECRET + "expires_in: 3w"),
        "bad-duration",
        "9:17",
        ("`3w`", "30s, 15m, 72h, 90d or 1y"),
    ),
    "expiry without a zone": (
        key(SECRET + "expires_at: 2027-01-01T00:00:00"),
        "bad-time",
        "9:17",
        ("no time zone", "Z"),
    ),
    "no time": (key(SECRET + "expires_at: soon"), "bad-time", "9:17", ("`soon` is not a time",)),
    "two expiries": (
        key(SECRET + "expires_in: 1d\nexpires_at: 2027-01-01T00:00:00Z"),
        "two-expiries",
        "10:5",
        ("exclude",),
    ),
    "rotation before no expiry": (
        key(SECRET + "rotation: {before_expiry: 1d}"),
        "bad-rotation",
        "9:31",
        ("needs a key that expires",),
    ),
    "rotation before a fixed moment": (
        key(SECRET + "expires_at: 2027-01-01T00:00:00Z\nrotation: {before_expiry: 1d}"),
        "bad-rotation",
        "10:31",
        ("same moment", "`expires_in`"),
    ),
    "rotation earlier than birth": (
        key(SECRET + "expires_in: 1d\nrotation: {before_expiry: 1d}"),
        "bad-rotation",
        "10:31",
        ("not shorter",),
    ),
    "schedule without every": ("schedule: 24h\n", "bad-value", "3:11", ("`24h`", "`schedule: every 24h`")),
    "schedule as a number": ("schedule: 24\n", "wrong-type", "3:11", ("a number", "`schedule: every 24h`")),
    "schedule without a unit": ("schedule: every 24\n", "bad-value", "3:11", ("`every 24`",)),
    "schedule beyond measure": ("schedule: every 999y\n", "bad-duration", "3:11", ("100 years",)),
    "an end without a gate": (
        key(SECRET + "rotation: {revoke_within: 14d}"),
        "bad-rotation",
        "9:31",
        ("`revoke_within` needs `revoke_when_unused_for`",),
    ),
    "an end inside the overlap": (
        key(SECRET + "rotation: {overlap: 3d, revoke_when_unused_for: 1d, revoke_within: 2d}"),
        "bad-rotation",
        "9:72",
        ("`revoke_within` is shorter than `overlap`",),
    ),
    "overlap too long": (
        key(SECRET + "rotation: {every: 1d, overlap: 24h}"),
        "bad-rotation",
        "9:36",
        ("`overlap`", "`every`"),
    ),
    "overlap for ever": (
        key(SECRET + "rotation: {overlap: never}"),
        "bad-duration",
        "9:25",
        ("cannot be `never`",),
    ),
    "rate per never": (
        key(SECRET + "rate_limit: {limit: 1, per: never}"),
        "bad-duration",
        "9:33",
        ("cannot be `never`",),
    ),
    "reserved metadata": (key(SECRET + "metadata: {keyform: x}"), "reserved-metadata", "9:16", ("reserved",)),
    "long name": (key(SECRET + "name: " + "x" * 201), "too-long", "9:11", ("201", "200")),
    "line break in a name": (key(SECRET + 'name: "a\\nb"'), "bad-value", "9:11", ("line break",)),
    "control character": (key(SECRET + 'description: "a\\x07b"'), "control-character", "9:18", ("U+0007",)),
    "climbing path": (key(SECRET).replace("k/path", "../up"), "bad-path", "6:13", ("`../up`", "climbs out")),
    "climbing in the middle": (
        key(SECRET).replace("k/path", "a/../../b"),
        "bad-path",
        "6:13",
        ("climbs out",),
    ),
    "absolute path": (key(SECRET).replace("k/path", "/etc/x"), "bad-path", "6:13", ("absolute", "`etc/x`")),
    "empty segment": (key(SECRET).replace("k/path", "a//b/./c"), "bad-path", "6:13", ("segment", "`a/b/c`")),
    "backslash": (key(SECRET).replace("k/path", "a\\b"), "bad-path", "6:13", ("backslash", "`a/b`")),
    "long path": (key(SECRET).replace("k/path", "a" * 513), "bad-path", "6:13", ("513", "512")),
    "same place": (
        "keys:\n  a: {service: app, secret: x/y, kind: read, environment: live}\n"
        "  b: {service: app, secret: x/y, kind: read, environment: live}\n",
        "same-place",
        "5:29",
        ("keys.b and keys.a", "`local:x/y`", "keyform.yaml:4:21"),
    ),
    "same place but for case": (
        "keys:\n  a: {service: app, secret: x/y, kind: read, environment: live}\n"
        "  b: {service: app, secret: X/Y, kind: read, environment: live}\n",
        "same-place",
        "5:29",
        ("case", "keyform.yaml:4:21"),
    ),
    "same place but for Unicode form": (
        "keys:\n  a: {service: app, secret: caf\u00e9, kind: read, environment: live}\n"
        "  b: {service: app, secret: cafe\u0301, kind: read, environment: live}\n",
        "same-place",
        "5:29",
        ("keyform.yaml:4:21",),
    ),
    "entry and field": (
        "keys:\n  a: {service: app, secret: x, kind: read, environment: live}\n"
        "  b: {service: app, secret: {path: x, field: f}, kind: read, environment: live}\n",
        "same-place",
        "5:21",
        ("overlap", "`local:x#f`", "keyform.yaml:4:21"),
    ),
    "a place twice": (
        key(SECRET).replace("k/path", "[k/path, {store: local, path: k/path}]"),
        "same-place",
        "6:22",
        ("twice", "`local:k/path`", "keyform.yaml:6:14"),
    ),
    "a place of another key in a list": (
        "keys:\n  a: {service: app, secret: [x, y], kind: read, environment: live}\n"
        "  b: {service: app, secret: [z, y], kind: read, environment: live}\n",
        "same-place",
        "5:33",
        ("keys.b and keys.a", "`local:y`", "keyform.yaml:4:33"),
    ),
    "a list of no places": (key(SECRET).replace("k/path", "[]"), "empty", "6:5", ("`secret`",)),
    "a bad path in a list": (key(SECRET).replace("k/path", "[a, ../b]"), "bad-path", "6:17", ("climbs",)),
    "an unknown store in a list": (
        key(SECRET).replace("k/path", "[a, {store: lcal, path: p}]"),
        "unknown-store",
        "6:25",
        ("`local`",),
    ),
    "for_each with one path": (key(SECRET + "for_each: [x, y]"), "same-place", "6:13", ("${each.key}",)),
    "for_each twice the same": (
        key(SECRET + "for_each: [x, x]").replace("k/path", '"${each.key}"'),
        "bad-for-each",
        "9:19",
        ("twice",),
    ),
    "for_each of nothing": (
        key(SECRET + 'for_each: [""]').replace("k/path", '"p/${each.key}"'),
        "bad-for-each",
        "9:16",
        ("empty",),
    ),
    "for_each of numbers": (key(SECRET + "for_each: [1]"), "wrong-type", "9:16", ('"1"',)),
    "each elsewhere": (key(SECRET + 'name: "${each.key}"'), "bad-template", "9:11", ("`for_each`",)),
    "no such field of an entry": (
        key(SECRET + 'for_each: {x: {team: t}}\nname: "${each.value.taem}"'),
        "bad-template",
        "10:11",
        ("`taem`", "`team`"),
    ),
    "unknown template": (
        key(SECRET + 'name: "${HOME}"'),
        "bad-template",
        "9:11",
        ("`${HOME}`", "${env:HOME}"),
    ),
    "open template": (key(SECRET + 'name: "${env:HOME"'), "bad-template", "9:11", ("never closed",)),
    "unset environment": (
        key(SECRET + 'name: "${env:NOPE}"'),
        "unset-environment",
        "9:11",
        ("NOPE", "export"),
    ),
    "unknown variable": (
        "variables: {region: eu}\n" + key(SECRET + 'name: "${var.regoin}"'),
        "unknown-variable",
        "10:11",
        ("`regoin`", "`region`"),
    ),
    "variable without a value": (
        "variables: {region: {description: x}}\n",
        "missing-variable",
        "3:13",
        ("--var region=",),
    ),
    "variables in a circle": (
        'variables: {a: "${var.b}", b: "x${var.c}", c: "${var.a}"}\n',
        "variable-cycle",
        "3:16",
        ("a -> b -> c -> a",),
    ),
    "credential in clear text": (
        "stores: {s: {type: vault, token: abc}}\n",
        "clear-text-credential",
        "3:34",
        ("`token`", "${env:NAME}"),
    ),
    "option of another login": (
        "stores: {s: {type: vault, auth: {method: approle, role: x, role_id: y}}}\n",
        "unknown-field",
        "3:51",
        ("`role`", "`role_id`"),
    ),
    "credential of two parts": (
        'stores: {s: {type: acme, auth: {clientSecret: "a${env:B}"}}}\n',
        "clear-text-credential",
        "3:47",
        ("`clientSecret`",),
    ),
    "password in a URL": (
        "stores: {s: {type: vault, address: 'https://u:pw12345@h'}}\n",
        "clear-text-credential",
        "3:36",
        ("password",),
    ),
    "misspelt service field": ("stores: {}\n", "unknown-field", "2:27", ("`credentail`", "`credential`")),
    "origins on a kind without": (
        key(SECRET + 'allowed_origins: ["https://a.example"]'),
        "misplaced-origins",
        "9:5",
        ("secret keys", "public"),
    ),
    "origins on the key": (
        "projects: {web: {service: win}}\n"
        'keys: {k: {service: win, kind: pk, project: web, secret: x, allowed_origins: ["https://a.example"]}}\n',
        "misplaced-origins",
        "4:61",
        ("`projects.web.allowed_origins`",),
    ),
    "origins on the project": (
        'projects: {web: {service: plain, allowed_origins: ["https://a.example"]}}\n',
        "unsupported-field",
        "3:12",
        ("no projects",),
    ),
    "no origins": (
        key("kind: public\nenvironment: live"),
        "missing-origins",
        "4:3",
        ("on the key or", "on its project"),
    ),
    "origins of the project that are none": (
        'projects: {web: {service: win, allowed_origins: ["https://a.example/x"]}}\n'
        "keys: {k: {service: win, kind: pk, project: web, secret: x}}\n",
        "bad-origin",
        "3:50",
        ("Write `https://a.example`",),
    ),
    "no project": (
        "keys: {k: {service: win, kind: pk, secret: x}}\n",
        "missing-project",
        "3:8",
        ("pk keys need a `project`",),
    ),
    "project of a kind without": (
        "projects: {web: {service: app}}\n" + key("kind: account\nenvironment: live\nproject: web"),
        "misplaced-project",
        "10:5",
        ("account keys belong to no project",),
    ),
    "unknown project": (
        "projects: {web: {service: app}}\n" + key(SECRET + "project: wbe"),
        "unknown-project",
        "10:14",
        ("`wbe`", "`web`"),
    ),
    "project at another service": (
        "projects: {web: {service: win}}\n" + key(SECRET + "project: web"),
        "foreign-project",
        "10:14",
        ("at `win`", "at `app`", "keyform.yaml:3:12"),
    ),
    "two projects of one id": (
        "projects:\n  a: {service: app, id: x}\n  b: {service: app, id: x}\n",
        "same-project",
        "5:25",
        ("keyform.yaml:4:3",),
    ),
    "unused default": (
        "defaults: {environment: live}\nkeys: {k: {service: plain, secret: x}}\n",
        "unused-default",
        "3:12",
        ("`environment`",),
    ),
    "several stores": (
        "stores: {a: {type: vault}, b: {type: age}}\n" + key(SECRET),
        "missing-store",
        "7:13",
        ("`defaults.store`",),
    ),
    "import of nothing": (
        "imports: [{key: cehckout, id: x}]\n" + key(SECRET, "checkout"),
        "undeclared-key",
        "3:17",
        ("keys.cehckout", "`checkout`"),
    ),
    "import of all of a for_each": (
        "imports: [{key: k, id: x}]\n" + key(SECRET + "for_each: [a]").replace("k/path", '"${each.key}"'),
        "undeclared-key",
        "3:17",
        ('keys.k["a"]',),
    ),
    "import of one id twice": (
        "imports: [{key: 'k[\"a\"]', id: x}, {key: 'k[\"b\"]', id: x}]\n"
        + key(SECRET + "for_each: [a, b]").replace("k/path", '"${each.key}"'),
        "duplicate-change",
        "3:55",
        ("`x` is imported twice", "keyform.yaml:3:27"),
    ),
    "import into one key twice": (
        "imports: [{key: k, id: x}, {key: k, id: y}]\n" + key(SECRET),
        "duplicate-change",
        "3:34",
        ("keys.k is imported twice",),
    ),
    "address of a project": (
        "imports: [{key: projects.web, id: x}]\n",
        "bad-address",
        "3:17",
        ("`projects.web`",),
    ),
    "move to nothing": ("moved: [{from: a, to: b}]\n", "undeclared-key", "3:23", ("keys.b",)),
    "move in a circle": (
        "moved: [{from: a, to: b}, {from: b, to: a}]\n",
        "bad-move",
        "3:16",
        ("keys.a -> keys.b -> keys.a",),
    ),
    "move to itself": (
        "moved: [{from: k, to: k}]\n" + key(SECRET),
        "bad-move",
        "3:16",
        ("keys.k -> keys.k",),
    ),
    "two moves from one": (
        "moved: [{from: a, to: k}, {from: a, to: b}]\n" + key(SECRET),
        "bad-move",
        "3:34",
        ("twice", "keyform.yaml:3:10"),
    ),
    "two moves to one": (
        "moved: [{from: a, to: k}, {from: b, to: k}]\n" + key(SECRET),
        "duplicate-change",
        "3:41",
        ("two keys move to keys.k",),
    ),
    "move of a declared key": (
        "moved: [{from: k, to: m}]\n" + key(SECRET) + key(SECRET, "m").removeprefix("keys:\n"),
        "bad-move",
        "3:16",
        ("still declared",),
    ),
    "removed and declared": (
        "removed: [{key: k, revoke: true}]\n" + key(SECRET),
        "removed-but-declared",
        "3:17",
        ("keys.k",),
    ),
    "removed and moved": (
        "moved: [{from: a, to: k}]\nremoved: [{key: a, revoke: true}]\n" + key(SECRET),
        "bad-removal",
        "4:17",
        ("keyform.yaml:3:10",),
    ),
    "removed twice": (
        "removed: [{key: a, revoke: true}, {key: a, revoke: true}]\n",
        "duplicate-change",
        "3:41",
        ("removed twice",),
    ),
    "bad endpoint": ("stores: {}\n", "bad-endpoint", "2:37", ("`keys.example`", "https://")),
}
CASES["misspelt service field"] = ("", "unknown-field", "3:23", ("`credentail`", "`credential`"))
OWN_SERVICES = {
    "misspelt service field": "version: 1\nservices:\n  x: {type: embedded, credentail: a}\n",
    "bad endpoint": "version: 1\nservices:\n  x: {type: embedded, endpoint: keys.example}\n",
    "unknown service type": "version: 1\nservices:\n  x: {type: embeded}\n",
    "unknown profile file": "version: 1\nservices:\n  x: {type: ./acme.yaml}\n",
    "unknown mode": "version: 1\nservices:\n  x: {type: embedded, mode: asisted}\n",
}
CASES["bad endpoint"] = ("", "bad-endpoint", "3:33", ("`keys.example`", "https://"))
CASES["unknown service type"] = ("", "unknown-type", "3:13", ("`embeded`", "`embedded`"))
CASES["unknown profile file"] = ("", "unknown-type", "3:13", ("`./acme.yaml`", "relative to the folder"))
CASES["unknown mode"] = ("", "bad-value", "3:29", ("`asisted`", "`assisted`"))
OTHERS_TOO = {
    "python tag",
    "huge number",
    "bad key name",
    "unknown scope of an unknown kind",
    "no project",
}
"""Cases whose text is wrong in a second way as well. In all others one mistake makes one error."""


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_one_clear_error_at_its_place(case: str, refused: Refuser) -> None:
    text, code, place, words = CASES[case]
    found = refused(OWN_SERVICES.get(case) or HEAD + text)
    shown = "\n".join(f"{d.code} {d.location}: {d.summary} | {d.explanation}" for d in found)
    matching = [d for d in found if d.code == code and str(d.location) == f"keyform.yaml:{place}"]
    assert len(matching) == 1, shown
    assert len(found) == 1 or case in OTHERS_TOO, shown
    told = f"{matching[0].summary} {matching[0].explanation}"
    for word in words:
        assert word in told, shown
    line = (OWN_SERVICES.get(case) or HEAD + text).split("\n")[matching[0].location.line - 1]
    assert matching[0].snippet is not None
    assert len(matching[0].snippet) == min(len(line), 400)
