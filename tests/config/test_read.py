"""Files as they come: encodings, sizes, pipes, bombs, and bytes of every kind."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from keyform.config import Config
from keyform.diagnostics import Diagnostic
from keyform.errors import ConfigError

Loader = Callable[..., Config]
Refuser = Callable[..., tuple[Diagnostic, ...]]


def codes(found: tuple[Diagnostic, ...]) -> list[tuple[str, str]]:
    return [(d.code, str(d.location)) for d in found]


def test_an_empty_folder_points_at_init(refused: Refuser) -> None:
    (found,) = refused({})
    assert (found.code, "keyform init" in found.detail) == ("no-config", True)


@pytest.mark.parametrize("text", ["", "# only words\n", "---\n", "null\n"])
def test_an_empty_configuration_points_at_init(text: str, refused: Refuser) -> None:
    (found,) = refused(text)
    assert (found.code, "keyform init" in found.detail) == ("no-config", True)


def test_a_folder_that_is_not_there(tmp_path: Path, load_folder: Loader) -> None:
    with pytest.raises(ConfigError, match="cannot read the folder"):
        load_folder(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file, not a folder"):
        load_folder(tmp_path / "file")


def test_a_version_is_asked_for(refused: Refuser) -> None:
    assert codes(refused("keys: {}\n")) == [("missing-version", "keyform.yaml:1:1")]
    assert codes(refused("version: 2\n")) == [("bad-version", "keyform.yaml:1:10")]


def test_bytes_that_are_not_utf_8_are_named_by_offset_and_place(refused: Refuser) -> None:
    (found,) = refused(b"version: 1\n# caf\xc3\xa9 \xe9\n")
    assert (found.code, str(found.location)) == ("not-utf-8", "keyform.yaml:2:8")
    assert "0xe9 at offset 19" in found.summary
    (found,) = refused("version: 1\n".encode("utf-16"))
    assert (found.code, "UTF-16" in found.detail) == ("not-utf-8", True)


def test_a_byte_order_mark_and_windows_line_ends_are_fine(config: Loader, refused: Refuser) -> None:
    assert config(b"\xef\xbb\xbfversion: 1\r\nkeys:\r\n").desired.keys == ()
    assert codes(refused(b"\xef\xbb\xbfversion: 1\r\nkees: {}\r\n")) == [
        ("unknown-field", "keyform.yaml:2:1")
    ]


def test_a_large_file_is_refused_unread(tmp_path: Path, refused: Refuser) -> None:
    with (tmp_path / "big.yaml").open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    (found,) = refused({})
    assert (found.code, "50 MiB" in found.summary) == ("file-too-large", True)


def test_a_pipe_does_not_block_and_a_folder_is_passed_over(tmp_path: Path, refused: Refuser) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    assert codes(refused("version: 1\n")) == [
        ("unreadable-file", "dangling.yaml:1:1"),
        ("unreadable-file", "pipe.yaml:1:1"),
    ]


def test_an_alias_bomb_is_refused_unexpanded(refused: Refuser) -> None:
    lines = ["version: 1", "variables:", "  a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    (found,) = refused("\n".join(lines))
    assert (found.code, found.location and found.location.line) == ("too-many-nodes", 9)


def test_doubling_variables_are_refused(refused: Refuser) -> None:
    doubled = "".join(f'  v{i}: "${{var.v{i - 1}}}${{var.v{i - 1}}}"\n' for i in range(1, 60))
    assert "too-long" in {
        d.code for d in refused("version: 1\nvariables:\n  v0: xxxxxxxxxxxxxxxx\n" + doubled)
    }


def test_deep_nesting_is_refused(refused: Refuser) -> None:
    for text in ("[" * 100_000, "- " * 100_000, "{a: " * 50_000):
        assert [d.code for d in refused(text)] == ["too-deep"]


def test_so_many_errors_that_nobody_reads_them(refused: Refuser) -> None:
    found = refused("version: 1\n" + "".join(f"x{i}: 1\n" for i in range(12_000)))
    assert (len(found), found[-1].code) == (10_001, "too-many-errors")


def test_the_collector_is_left_as_it_was(config: Loader) -> None:
    assert gc.isenabled()
    config("version: 1\n")
    assert gc.isenabled()


def test_the_pure_parser_reads_the_same(
    monkeypatch: pytest.MonkeyPatch, config: Loader, refused: Refuser
) -> None:
    text = "version: 1\nstores: {s: &s {type: vault, address: 'https://x'}, t: {<<: *s, mount: y}}\n"
    with_libyaml = config(text).digest
    monkeypatch.setattr("keyform.documents.parse.Loader", yaml.SafeLoader)
    monkeypatch.setattr("keyform.documents.locate.Loader", yaml.SafeLoader)
    assert config(text).digest == with_libyaml
    assert codes(refused("version: 1\nkees: {}\n")) == [("unknown-field", "keyform.yaml:2:1")]
    assert codes(refused("version: 1\nkeys:\n\ta: 1\n")) == [("yaml-syntax", "keyform.yaml:3:1")]


# Words of the format, so that the fuzzer gets past the front door.
_WORDS = st.sampled_from(
    [
        "version: 1\n",
        "keys:\n",
        "services: {a: {type: embedded}}\n",
        "  k:\n",
        "    service: a\n",
        "    kind: read\n",
        "    secret: x\n",
        "    secret: {path: x, store: local}\n",
        "    environment: live\n",
        "variables:\n",
        "  v: 1\n",
        "    for_each: [x, y]\n",
        "${var.v}",
        "${env:A}",
        "${each.key}",
        "$${",
        "${",
        "&a ",
        "*a",
        "<<: ",
        "- ",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "\n",
        "  ",
        "\t",
        '"',
        "'",
        "|\n",
        ">\n",
        "!!str ",
        "?",
        "#",
        "imports:\n",
        "  - {key: k, id: x}\n",
        "moved: [{from: a, to: k}]\n",
        "removed: [{key: a, revoke: true}]\n",
        "defaults: {expires_in: 90d}\n",
        "    rotation: {every: 1d}\n",
        "no",
        "1:30",
        "\x85",
        "\u2028",
    ]
)
_SETTINGS = settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


def settle(config: Loader, content: bytes) -> None:
    """Load; anything but a Config or a ConfigError with located, presentable diagnostics is a failure."""
    try:
        config(content, env={"A": "from-env"})
    except ConfigError as failure:
        assert failure.diagnostics
        for d in failure.diagnostics:
            assert d.summary.isprintable(), d
            assert d.location is None or (d.location.line >= 1 and d.location.column >= 1), d


@_SETTINGS
@given(st.binary(max_size=200))
@example(b"\x00")
@example(b"\xef\xbb\xbf")
@example(b'"\\ud800": 1')
def test_no_bytes_break_it(config: Loader, content: bytes) -> None:
    settle(config, content)


@_SETTINGS
@given(st.lists(st.one_of(_WORDS, st.text(max_size=6)), max_size=40))
def test_no_text_breaks_it(config: Loader, parts: list[str]) -> None:
    settle(config, "".join(parts).encode("utf-8", "surrogatepass"))


_JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=12),
        st.sampled_from(
            [
                "a",
                "k",
                "read",
                "live",
                "90d",
                "never",
                "${var.v}",
                "${each.value.x}",
                "https://a.example",
                "local",
            ]
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(
                st.text(max_size=5),
                st.sampled_from(
                    [
                        "service",
                        "kind",
                        "secret",
                        "scopes",
                        "path",
                        "store",
                        "type",
                        "a",
                        "k",
                        "for_each",
                        "rotation",
                        "every",
                        "metadata",
                        "expires_at",
                        "expires_in",
                        "rate_limit",
                        "default",
                        "key",
                        "id",
                        "from",
                        "to",
                        "revoke",
                        "project",
                        "environment",
                        "credential",
                        "endpoint",
                        "allowed_origins",
                        "protect",
                        "tags",
                    ]
                ),
            ),
            inner,
            max_size=5,
        ),
    ),
    max_leaves=20,
)


@_SETTINGS
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "version",
                "keys",
                "services",
                "stores",
                "state",
                "defaults",
                "variables",
                "projects",
                "imports",
                "moved",
                "removed",
            ]
        ),
        _JSON,
    )
)
def test_no_tree_breaks_it(config: Loader, tree: dict[str, object]) -> None:
    settle(config, yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass"))


PROFILE = """\
version: 1
title: Acme
fields: [name]
operations:
  create: {backing: contract, next_steps: {404: Ask Acme.}}
  revoke: {backing: contract}
"""


def test_a_profile_that_no_service_names_is_told_of_once(refused: Refuser) -> None:
    (found,) = refused({"acme.yaml": PROFILE, "main.yaml": "version: 1\n"})
    assert (found.code, str(found.location)) == ("unused-profile", "acme.yaml:1:1")
    assert found.detail == "Write `type: ./acme.yaml` in a service, or move the file to another folder."
