"""Backends as somebody may have them; not of keyring's own class, so that it finds none by itself."""

from __future__ import annotations

import threading


class Hanging:
    """Waits for a person who never comes."""

    priority = 5

    def get_password(self, service: str, username: str) -> str | None:
        threading.Event().wait()
        return None

    set_password = delete_password = get_password


class Telling:
    """Fails, and repeats what it was given."""

    priority = 5

    def get_password(self, service: str, username: str) -> str | None:
        return None

    def set_password(self, service: str, username: str, password: str) -> None:
        raise RuntimeError(f"cannot keep {password}, {password.encode()!r}")


class Forgetting(Telling):
    """Takes everything and keeps nothing."""

    def set_password(self, service: str, username: str, password: str) -> None:
        pass
