"""Programs that stores call: without a shell, in a small environment, and never for longer than agreed."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from keyform import files
from keyform.errors import StoreError
from keyform.stores.turns import Turn

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
    doing: str,
    command: Sequence[str],
    stdin: bytes,
    env: Mapping[str, str],
    folder: Path,
    timeout: float,
    turn: Turn = (),
) -> Ended:
    """Run a program with ``stdin`` and wait for its end, ``timeout`` seconds at most. It has a session of its
    own, so that Ctrl-C leaves it to finish, and inherits the descriptors of ``turn``, so that the turn
    (:mod:`keyform.stores.turns`) is not over before the program is. Raises ``StoreError``, which ``doing``
    begins, where it cannot be started, takes too long or talks too much; a code other than 0 is the caller's
    to judge."""
    try:
        child = subprocess.Popen(  # noqa: S603 -- what to run is the user's own configuration; there is no shell
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(env),
            cwd=folder,
            start_new_session=True,
            pass_fds=turn,
        )
    except OSError as problem:
        raise StoreError(
            f"{doing}: the program {command[0]} cannot be run: {files.reason(problem)}",
            "Install it, or check its name and that it is in PATH and executable.",
        ) from None
    output, told = bytearray(), bytearray()
    with child:
        try:
            late = not _communicate(child, stdin, output, told, time.monotonic() + timeout)
        except BaseException:
            _stop(child)
            raise
        if late or len(output) > LARGEST:
            _stop(child)
    if len(output) > LARGEST:
        raise StoreError(
            f"{doing}: {command[0]} gave more than {LARGEST:,} bytes, and was stopped",
            "No secret is so long; see what it prints.",
        )
    if late:
        raise StoreError(
            f"{doing}: {command[0]} was not done within {timeout:g} s, and was stopped",
            "Find out what it waits for: a question or a dialog, a lock, the network.",
        )
    return Ended(child.returncode, bytes(output), told[-LARGEST:].decode(errors="replace"))


def _communicate(
    child: subprocess.Popen[bytes], stdin: bytes, output: bytearray, told: bytearray, end: float
) -> bool:
    """Pass ``stdin`` on and take what comes until all is said and the child has ended; False at the time
    ``end``. Stops early once ``output`` is past ``LARGEST``; of ``told``, the last so many bytes are kept."""
    left = memoryview(stdin)
    with selectors.DefaultSelector() as open_pipes:
        pipes = {}
        for pipe, into in ((child.stdin, None), (child.stdout, output), (child.stderr, told)):
            if pipe is not None:  # as none of them is
                pipes[pipe.fileno()] = pipe
                os.set_blocking(pipe.fileno(), False)
                open_pipes.register(
                    pipe, selectors.EVENT_WRITE if into is None else selectors.EVENT_READ, into
                )
        while open_pipes.get_map():
            ready = open_pipes.select(max(0.0, end - time.monotonic()))
            if not ready or time.monotonic() > end:
                return False
            for key, _ in ready:
                if key.data is None:
                    try:
                        left = left[os.write(key.fd, left) :]
                    except BrokenPipeError:  # a program need not read
                        left = left[:0]
                    done = not left
                else:
                    came = os.read(key.fd, 1 << 16)
                    key.data.extend(came)
                    done = not came
                if done:
                    open_pipes.unregister(key.fileobj)
                    pipes[key.fd].close()
            if len(output) > LARGEST:
                return True
            if len(told) > 2 * LARGEST:
                del told[:-LARGEST]
    try:
        child.wait(max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True


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
