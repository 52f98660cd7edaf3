"""A real Secret Service: gnome-keyring on a bus of its own. Debian's packages gnome-keyring and dbus."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def secret_service() -> Iterator[str]:
    """The address of a session bus with an unlocked keyring, while the block runs."""
    home = tempfile.mkdtemp(prefix="kf-", dir="/tmp")
    env = {"PATH": os.environ["PATH"], "HOME": home, "XDG_RUNTIME_DIR": home}
    bus_command = ["dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address=1"]
    with subprocess.Popen(
        [*bus_command, f"--address=unix:path={home}/bus"], env=env, stdout=subprocess.PIPE, text=True
    ) as bus:
        assert bus.stdout
        address = bus.stdout.readline().strip()
        env["DBUS_SESSION_BUS_ADDRESS"] = address
        with subprocess.Popen(
            ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"],
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as daemon:
            assert daemon.stdin
            assert daemon.stdout
            daemon.stdin.write("a password of the tests")
            daemon.stdin.close()
            daemon.stdout.readline()  # it says where its socket is when it is ready
            try:
                yield address
            finally:
                daemon.terminate()
                bus.terminate()
    shutil.rmtree(home, ignore_errors=True)
