"""Where age identities come from, which are refused, and whom secrets are written for."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pyrage
import pytest

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.stores.age import AgeStore, open_store

PLACE = Place("local", "prod/checkout")
VALUE = Secret("sk_live_value")


def works(store: AgeStore) -> bool:
    store.probe()
    store.put(PLACE, VALUE, {})
    return store.get(PLACE) == VALUE


def message(raised: pytest.ExceptionInfo[StoreError]) -> str:
    [diagnostic] = raised.value.diagnostics
    assert diagnostic.detail
    assert "AGE-SECRET-KEY-1" not in diagnostic.summary.replace("AGE-SECRET-KEY-1,", "")
    return f"{diagnostic.summary}\n{diagnostic.detail}"


def new_identity() -> tuple[str, str]:
    """An identity and its public key."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity), str(identity.to_public())


def write_identity(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return path


def test_the_first_use_makes_an_identity_in_the_configuration_folder(tmp_path: Path) -> None:
    store = open_store("local", {}, tmp_path / "project", {"XDG_CONFIG_HOME": str(tmp_path / "config")})
    assert not (tmp_path / "config").exists()
    assert works(store)
    identity = tmp_path / "config/keyform/age-identity.txt"
    created, public, secret = identity.read_text().splitlines()
    assert created.startswith("# created: 20")
    assert public == f"# public key: {pyrage.x25519.Identity.from_str(secret).to_public()}"
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600
    assert stat.S_IMODE(identity.parent.stat().st_mode) == 0o700
    assert [p.name for p in identity.parent.iterdir()] == ["age-identity.txt"]
    assert (tmp_path / "project/.keyform/secrets/prod/checkout.age").is_file()


@pytest.mark.parametrize("extra", [{}, {"XDG_CONFIG_HOME": ""}, {"XDG_CONFIG_HOME": "relative"}])
def test_without_a_configuration_folder_it_is_below_home(tmp_path: Path, extra: dict[str, str]) -> None:
    assert works(open_store("local", {}, tmp_path / "project", {"HOME": str(tmp_path), **extra}))
    assert (tmp_path / ".config/keyform/age-identity.txt").is_file()


def test_the_environment_names_the_identity(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path / "home"), "KEYFORM_AGE_IDENTITY": str(tmp_path / "ci/id.txt")}
    assert works(open_store("local", {}, tmp_path / "project", env))
    assert (tmp_path / "ci/id.txt").is_file()
    assert not (tmp_path / "home").exists()


def test_the_option_beats_the_environment(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path / "home"), "KEYFORM_AGE_IDENTITY": str(tmp_path / "ci/id.txt")}
    assert works(open_store("local", {"identity": "~/id.txt", "path": "s"}, tmp_path / "project", env))
    assert (tmp_path / "home/id.txt").is_file()
    assert (tmp_path / "project/s/prod/checkout.age").is_file()
    assert not (tmp_path / "ci").exists()


def test_it_lies_beside_the_secrets_only_on_purpose(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path)}
    with pytest.raises(StoreError) as raised:
        open_store("local", {"path": "~/"}, tmp_path / "project", env)
    assert "beside the secrets" in message(raised)
    assert works(open_store("local", {"identity": ".keyform/secrets/id.txt"}, tmp_path / "project", env))


@pytest.mark.parametrize("where", ["environment", "option", "recipient"])
def test_an_identity_given_as_text_is_refused_unseen(tmp_path: Path, where: str) -> None:
    secret, _ = new_identity()
    env = {"HOME": str(tmp_path), **({"KEYFORM_AGE_IDENTITY": secret} if where == "environment" else {})}
    options = {"option": {"identity": secret}, "recipient": {"recipients": [secret]}}.get(where, {})
    with pytest.raises(StoreError) as raised:
        open_store("local", options, tmp_path, env)
    assert secret not in message(raised)


def test_processes_that_start_at_once_share_one_identity(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from keyform.model import Place, Secret\n"
        "from keyform.stores.age import AgeStore\n"
        "store = AgeStore('local', Path(sys.argv[1]), identity=Path(sys.argv[2]))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "store.put(Place('local', sys.argv[3]), Secret('value ' + sys.argv[3]), {})\n"
    )
    folder, identity = tmp_path / "secrets", tmp_path / "config/id.txt"
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, folder, identity, str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.communicate("go\n")
        assert child.returncode == 0
    store = AgeStore("local", folder, identity=identity)
    for number in range(6):
        assert store.get(Place("local", str(number))) == Secret(f"value {number}")
    assert [p.name for p in identity.parent.iterdir()] == ["id.txt"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_an_identity_open_to_others_is_refused_with_the_command(tmp_path: Path, mode: int) -> None:
    path = write_identity(tmp_path / "id.txt", new_identity()[0])
    path.chmod(mode)
    with pytest.raises(StoreError) as raised:
        AgeStore("local", tmp_path / "s", identity=path).probe()
    assert f"chmod 600 {path}" in message(raised)


def test_a_file_with_several_identities_and_comments(tmp_path: Path) -> None:
    (first, first_public), (second, _) = new_identity(), new_identity()
    path = write_identity(tmp_path / "id.txt", "# old", first, "", "# new", second)
    assert works(AgeStore("local", tmp_path / "s", identity=path))
    only_first = AgeStore("first", tmp_path / "s1", identity=path, recipients=(first_public,))
    assert works(only_first)
    for identity in (first, second):
        alone = write_identity(tmp_path / "alone.txt", identity)
        assert AgeStore("local", tmp_path / "s", identity=alone).get(PLACE) == VALUE


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "holds no identity"),
        ("# only a comment\n", "holds no identity"),
        ("# fine\nAGE-SECRET-KEY-1BROKEN\n", "Line 2"),
        ("AGE-PLUGIN-YUBIKEY-1ABC\n", "Line 1"),
        ("age-encryption.org/v1\n-> scrypt x 18\n", "passphrase"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nbroken\n", "SSH key"),
    ],
)
def test_a_file_that_holds_no_usable_identity(tmp_path: Path, content: str, part: str) -> None:
    path = write_identity(tmp_path / "id.txt", content)
    with pytest.raises(StoreError) as raised:
        AgeStore("local", tmp_path / "s", identity=path).probe()
    assert part in message(raised)
    assert str(path) in message(raised)
    assert "BROKEN" not in message(raised)


def test_an_ssh_key_is_an_identity(tmp_path: Path) -> None:
    key = tmp_path / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    assert works(AgeStore("local", tmp_path / "s", identity=key))
    public = key.with_name("id_ed25519.pub")
    text = public.read_text()
    public.unlink()
    with pytest.raises(StoreError) as raised:
        AgeStore("local", tmp_path / "s", identity=key).probe()
    assert str(public) in message(raised)
    assert works(AgeStore("local", tmp_path / "s", identity=key, recipients=(text,)))


def test_an_ssh_key_with_a_passphrase_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "id_ed25519"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", key], check=True)
    with pytest.raises(StoreError) as raised:
        AgeStore("local", tmp_path / "s", identity=key).probe()
    assert "passphrase" in message(raised)


def test_secrets_are_written_for_every_recipient(tmp_path: Path) -> None:
    (mine, my_public), (other, other_public), (third, third_public) = (new_identity() for _ in range(3))
    listed = tmp_path / "team.txt"
    listed.write_text(f"# the team\n\n{other_public}\n{third_public}\n")
    store = open_store(
        "local",
        {"identity": "id.txt", "recipients": [my_public], "recipients_files": ["team.txt"], "path": "s"},
        tmp_path,
        {"HOME": str(tmp_path)},
    )
    for identity in (mine, other, third):
        write_identity(tmp_path / "id.txt", identity)
        assert works(
            AgeStore(
                "local",
                tmp_path / "s",
                identity=tmp_path / "id.txt",
                recipients=(my_public, other_public, third_public),
            )
        )
    assert works(store)


def test_recipients_without_an_identity_can_only_write(tmp_path: Path) -> None:
    secret, public = new_identity()
    store = AgeStore("local", tmp_path / "s", identity=tmp_path / "id.txt", recipients=(public,))
    with pytest.raises(StoreError) as raised:
        store.probe()
    assert str(tmp_path / "id.txt") in message(raised)
    assert "read secrets back" in message(raised)
    assert not (tmp_path / "s").exists()
    assert not (tmp_path / "id.txt").exists(), "a new identity could read nothing"
    store.put(PLACE, VALUE, {})
    write_identity(tmp_path / "id.txt", secret)
    assert store.get(PLACE) == VALUE


def test_an_identity_that_is_no_recipient_is_found_out_by_the_probe(tmp_path: Path) -> None:
    path = write_identity(tmp_path / "id.txt", new_identity()[0])
    store = AgeStore("local", tmp_path / "s", identity=path, recipients=(new_identity()[1],))
    with pytest.raises(StoreError) as raised:
        store.probe()
    assert str(path) in message(raised)
    assert "recipients" in message(raised)
    assert list((tmp_path / "s").iterdir()) == [], "the canary is gone"


def test_a_wrong_identity_names_the_place_and_itself(tmp_path: Path) -> None:
    assert works(AgeStore("local", tmp_path / "s", identity=tmp_path / "one.txt"))
    path = write_identity(tmp_path / "two.txt", new_identity()[0])
    with pytest.raises(StoreError) as raised:
        AgeStore("local", tmp_path / "s", identity=path).get(PLACE)
    assert "local:prod/checkout" in message(raised)
    assert str(path) in message(raised)


def test_a_missing_identity_is_not_made_anew_over_existing_secrets(tmp_path: Path) -> None:
    path = tmp_path / "id.txt"
    assert works(AgeStore("local", tmp_path / "s", identity=path))
    path.unlink()
    for act in (
        lambda s: s.put(Place("local", "another"), VALUE, {}),
        lambda s: s.probe(),
        lambda s: s.get(PLACE),
    ):
        with pytest.raises(StoreError) as raised:
            act(AgeStore("local", tmp_path / "s", identity=path))
        assert str(path) in message(raised)
    assert not path.exists()


@pytest.mark.parametrize("text", ["age1nonsense", "", "ssh-dss AAAA", "github:someone"])
def test_a_bad_recipient_is_told_at_once(tmp_path: Path, text: str) -> None:
    with pytest.raises(StoreError) as raised:
        open_store("local", {"recipients": [text]}, tmp_path, {"HOME": str(tmp_path)})
    assert "'local'" in message(raised)


def test_a_recipients_file_is_told_by_line(tmp_path: Path) -> None:
    (tmp_path / "team.txt").write_text(f"{new_identity()[1]}\nage1nonsense\n")
    for name, part in (("team.txt", "team.txt:2"), ("absent.txt", "absent.txt")):
        with pytest.raises(StoreError) as raised:
            open_store("local", {"recipients_files": [name]}, tmp_path, {"HOME": str(tmp_path)})
        assert part in message(raised)


def test_an_identity_that_cannot_be_created_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError) as raised:
        AgeStore("local", tmp_path / "s", identity=tmp_path / "file/id.txt").probe()
    assert "KEYFORM_AGE_IDENTITY" in message(raised)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError) as raised:
        AgeStore("local", tmp_path / "s", identity=tmp_path / "dangling").probe()
    assert "symbolic link" in message(raised)
