"""YAML for live keys, whatever they are called."""

from datetime import UTC, datetime

import pytest
import yaml

from keyform.model import SPEC_FIELDS, KeySpec, LiveKey, LiveProject, RateLimit
from keyform.profile import Kind, Profile
from keyform.report.generate import generated_yaml, scalar

from .hostile import HOSTILE


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_quoted_scalar_reads_back(text: str) -> None:
    if any(0xD800 <= ord(character) < 0xE000 for character in text):
        return  # no YAML can hold a lone surrogate; such keys are left out
    written = scalar(text)
    assert written.isprintable() or "\u3000" in written
    assert yaml.safe_load(written) == text.replace("${", "$${")


PROFILE = Profile(
    "t",
    "T",
    kinds={"secret": Kind("secret", scopes=("a", "b"))},
    fields=frozenset({*SPEC_FIELDS, "expires_in"}),
    shown=frozenset(SPEC_FIELDS),
    origins_on=frozenset({"key", "project"}),
)
NOW = datetime(2027, 1, 1, tzinfo=UTC)


def written(*keys: LiveKey, taken: tuple[str, ...] = ()) -> str:
    return generated_yaml(
        "svc",
        PROFILE,
        keys,
        [LiveProject("p", ("https://a.example",))],
        projects={},
        taken=taken,
        lineage="mine",
        now=NOW,
    )


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_cannot_add_to_the_document(text: str) -> None:
    spec = KeySpec(
        "secret", name=text, description=text, metadata=((text, text),), rate_limit=RateLimit(1, 60)
    )
    document = yaml.safe_load(written(LiveKey("key_1", spec)))
    if document is None:
        return  # left out, and only named in a comment
    (name,) = document["keys"]
    assert document["keys"][name]["name" if text else "secret"] in (text.replace("${", "$${"), f"svc/{name}")
    assert document["imports"] == [{"key": name, "id": "key_1"}]


def test_names_are_valid_and_unique() -> None:
    keys = [
        LiveKey(f"key_{n}", KeySpec("secret", name=text))
        for n, text in enumerate(["Back End!", "back-end", "123", "日本", "no", "", "taken", "x" * 300])
    ]
    document = yaml.safe_load(written(*keys, taken=("taken",)))
    assert list(document["keys"]) == [
        "back-end", "back-end-2", "key-123", "key", "key-no", "secret", "taken-2", "x" * 60,
    ]  # fmt: skip


def test_what_cannot_be_declared_is_named_with_its_reason() -> None:
    text = written(
        LiveKey("key_1", KeySpec("secret", name="gone", expires_at=datetime(2026, 1, 1, tzinfo=UTC))),
        LiveKey("key_2", KeySpec("strange")),
        LiveKey("key_3", KeySpec("secret", scopes=("z",))),
        LiveKey("key_4", KeySpec("secret", name="bell\x07\nkeys: {}")),
        LiveKey("key_5", KeySpec("secret"), status="revoked"),
    )
    assert yaml.safe_load(text) is None
    assert "#   key_1 (gone): it has expired\n" in text
    assert "#   key_2 (): kind strange is unknown\n" in text
    assert "#   key_3 (): scope z is unknown\n" in text
    assert "#   key_4 (bell\\x07\\nkeys: {}): it holds control characters\n" in text
    assert "key_5" not in text


@pytest.mark.parametrize("name", ["a\nb", "a\tb", "a\r\n# b"])
def test_a_name_that_no_configuration_can_write_is_left_out(name: str) -> None:
    text = written(
        LiveKey("key_1", KeySpec("secret", name=name)), LiveKey("key_2", KeySpec("secret", name="ok"))
    )
    assert list(yaml.safe_load(text)["keys"]) == ["ok"]
    assert "key_1" in text
    assert "control characters" in text


def test_keys_of_another_state_are_counted_and_those_of_this_one_written() -> None:
    text = written(
        LiveKey("key_1", KeySpec("secret", name="theirs"), label="other/m1"),
        LiveKey("key_2", KeySpec("secret", name="ours"), label="mine/m2"),
        LiveKey("key_3", KeySpec("secret", name="nobodys")),
    )
    assert list(yaml.safe_load(text)["keys"]) == ["ours", "nobodys"]
    assert "# Left out: 1 key carries the label of another keyform state, which manages it." in text


def test_the_header_tells_what_becomes_of_projects() -> None:
    with_project = written(LiveKey("key_1", KeySpec("secret", name="a", project="p")))
    assert "keyform manages the allowed origins" in with_project
    assert "keyform manages" not in written(LiveKey("key_1", KeySpec("secret", name="a")))


def test_an_expiry_that_no_configuration_can_hold_is_left_out() -> None:
    far = datetime(9999, 12, 31, tzinfo=UTC)
    assert yaml.safe_load(written(LiveKey("key_1", KeySpec("secret", name="a", expires_at=far)))) is None
