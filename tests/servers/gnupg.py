"""gpg with a key of its own, and password stores for it. Debian's packages gnupg and pass."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

USER = "keyform@example.invalid"


@contextmanager
def gnupg(*users: str) -> Iterator[dict[str, str]]:
    """The environment of somebody with a fresh key for each of ``users``, without a passphrase. The folder
    has a short name, since the sockets of gpg's agent are in it."""
    home = tempfile.mkdtemp(prefix="kf-", dir="/tmp")
    env = {
        "PATH": os.environ["PATH"],
        "HOME": home,
        "GNUPGHOME": f"{home}/gpg",
        "XDG_CACHE_HOME": f"{home}/cache",
    }
    Path(env["GNUPGHOME"]).mkdir(mode=0o700)
    try:
        for user in users or (USER,):
            make = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""]
            kind = ["--quick-generate-key", user, "future-default", "default", "never"]
            subprocess.run([*make, *kind], env=env, check=True, capture_output=True)
        yield env
    finally:
        subprocess.run(["gpgconf", "--kill", "all"], env=env, check=False)
        shutil.rmtree(home, ignore_errors=True)


def password_store(folder: Path, env: Mapping[str, str], *users: str, git: bool = False) -> dict[str, str]:
    """``env`` with a new password store in ``folder``."""
    known = {**env, "PASSWORD_STORE_DIR": str(folder)}
    by_pass(known, "init", *(users or (USER,)))
    if git:
        by_pass(known, "git", "init", "-q")
        by_pass(known, "git", "config", "user.email", USER)
        by_pass(known, "git", "config", "user.name", "keyform's tests")
    return known


def by_pass(env: Mapping[str, str], *command: str, stdin: str = "") -> str:
    """What ``pass`` prints."""
    ended = subprocess.run(["pass", *command], env=env, input=stdin.encode(), check=True, capture_output=True)
    return ended.stdout.decode()
