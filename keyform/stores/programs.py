"""Programs that stores call: without a shell, in a small environment, and never for longer than agreed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keyform import files
from keyform.errors import StoreError

LARGEST = 1 << 20
"""Bytes of output that are taken; no secret comes near."""
_BASIC = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")
_GRACE = 2.0  # seconds to clean up in before a program is killed outright


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. ``code`` is negative where a signal ended it; ``told`` is its error output."""

    code: int
    output: bytes
    told: str


def small_environment(env: Mapping[str, str], more: Sequence[str] = ()) -> dict[str, str]:
    """What every program needs, and the variables named in ``more``; a name that ends in ``*`` stands for all
    that start so. Credentials of keyform's own are not among them."""
    prefixes = ("LC_", *(name[:-1] for name in more if name.endswith("*")))
    return {n: v for n, v in env.items() if n in _BASIC or n in more or n.startswith(prefixes)}


def run(
    doing: str, command: Sequence[str], stdin: bytes, env: Mapping[str, str], folder: Path, timeout: float
) -> Ended:
    """Run a program with ``stdin`` and wait for its end, ``timeout`` seconds at most. It has a session of its
    own, so that Ctrl-C leaves it to finish. Raises ``StoreError``, which ``doing`` begins, where it cannot be
    started, takes too long or talks too much; a code other than 0 is the caller's to judge."""
    try:
        child = subprocess.Popen(  # noqa: S603 -- what to run is the user's own configuration; there is no shell
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            cwd=folder,
            start_new_session=True,
        )
    except OSError as problem:
        raise StoreError(
            f"{doing}: the program {command[0]} cannot be run: {files.reason(problem)}",
            "Install it, or check its name and that it is in PATH and executable.",
        ) from None
    with child:
        try:
            output, told = child.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            _stop(child)
            late = True
        except BaseException:
            _stop(child)
            raise
        else:
            late = False
    if late:  # raised out here because the first exception carries what the program gave
        raise StoreError(
            f"{doing}: {command[0]} was not done within {timeout:g} s, and was stopped",
            "Find out what it waits for: a question or a dialog, a lock, the network.",
        )
    if len(output) > LARGEST:
        raise StoreError(
            f"{doing}: {command[0]} gave more than {LARGEST:,} bytes",
            "No secret is so long; see what it prints.",
        )
    return Ended(child.returncode, output, told.decode(errors="replace"))


def _stop(child: subprocess.Popen[bytes]) -> None:
    """End a program and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_GRACE)
        os.killpg(child.pid, signal.SIGKILL)
    for pipe in (child.stdin, child.stdout, child.stderr):
        with contextlib.suppress(OSError):
            if pipe:
                pipe.close()
