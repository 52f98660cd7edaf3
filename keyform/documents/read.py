"""The bytes of a file as text."""

from __future__ import annotations

import stat
from pathlib import Path

from keyform.documents.problems import Problems, Spot

LARGEST = 16 * 1024 * 1024
"""The largest file that is read, in bytes."""


class _Unreadable(Exception):
    """Why a file cannot be used: code, summary, detail, line, column."""


def read_text(path: Path, name: str, problems: Problems, largest: int = LARGEST) -> str | None:
    """The text of a file, or None after recording why it cannot be had.

    ``name`` is what messages call the file, and ``largest`` its greatest size in bytes. A byte order mark is
    dropped. The size is checked before anything is read, and only regular files are opened, so that a pipe
    cannot block.
    """
    try:
        return _decoded(_bytes(path, name, largest), name)
    except _Unreadable as reason:
        _record(reason, name, problems)
        return None


def decode(data: bytes, name: str, problems: Problems) -> str | None:
    """The text that the bytes of a file are, like :func:`read_text`."""
    try:
        return _decoded(data, name)
    except _Unreadable as reason:
        _record(reason, name, problems)
        return None


def _record(reason: _Unreadable, name: str, problems: Problems) -> None:
    code, summary, detail, line, column = reason.args
    problems.error(code, Spot(name, line, column), summary, detail)
    problems.broken_files.add(name)


def _bytes(path: Path, name: str, largest: int) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _Unreadable("unreadable-file", f"{name} is not a regular file", "", 1, 1)
        if status.st_size <= largest:
            with path.open("rb") as file:
                data = file.read(largest + 1)
            if len(data) <= largest:
                return data
    except OSError as failure:
        raise _Unreadable("unreadable-file", f"cannot read {name}: {failure.strerror}", "", 1, 1) from None
    raise _Unreadable(
        "file-too-large",
        f"{name} has {status.st_size / 1048576:.0f} MiB; at most {largest // 1048576} MiB are read",
        "Split it into several *.yaml files in the same folder." if largest == LARGEST else "",
        1,
        1,
    )


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        # The codec counts from behind the byte order mark.
        start = failure.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        before = data[:start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        raise _Unreadable(
            "not-utf-8",
            f"{name} is not UTF-8: byte 0x{data[start]:02x} at offset {start}",
            "The file looks like UTF-16. Save it as UTF-8." if utf16 else "Save the file as UTF-8.",
            before.count(b"\n") + 1,
            column,
        ) from None
