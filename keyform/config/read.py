"""Which files make up a configuration, and their bytes as text."""

from __future__ import annotations

import stat
from pathlib import Path

from keyform.config.problems import Problems, Spot

LARGEST = 16 * 1024 * 1024
"""The largest file that is read, in bytes."""


def is_config_file(path: Path) -> bool:
    """Whether a file of this name in the folder is part of the configuration."""
    return path.suffix in (".yaml", ".yml") and not path.name.startswith(".") and not path.is_dir()


def config_files(folder: Path, problems: Problems) -> list[Path]:
    """The ``*.yaml`` and ``*.yml`` files directly in ``folder``, sorted; hidden ones and folders are not."""
    try:
        entries = sorted(folder.iterdir())
    except NotADirectoryError:
        problems.error(
            "no-folder",
            None,
            f"{folder} is a file, not a folder",
            "keyform reads every *.yaml file of a folder; give the folder with -C.",
        )
        return []
    except OSError as failure:
        problems.error(
            "no-folder",
            None,
            f"cannot read the folder {folder}: {failure.strerror}",
            "Give the folder that holds the configuration with -C.",
        )
        return []
    found = [entry for entry in entries if is_config_file(entry)]
    if not found:
        problems.error(
            "no-config",
            None,
            f"there is no configuration in {folder}: no *.yaml or *.yml file",
            "Run `keyform init` to write a first one, or give its folder with -C.",
        )
    return found


class _Unreadable(Exception):
    """Why a file cannot be used: code, summary, detail, line, column."""


def read_text(path: Path, name: str, problems: Problems) -> str | None:
    """The text of a file, or None after recording why it cannot be had.

    ``name`` is what messages call the file. A byte order mark is dropped. The size is checked before
    anything is read, and only regular files are opened, so that a pipe cannot block.
    """
    try:
        return _decoded(_bytes(path, name), name)
    except _Unreadable as reason:
        code, summary, detail, line, column = reason.args
        problems.error(code, Spot(name, line, column), summary, detail)
        problems.broken_files.add(name)
        return None


def _bytes(path: Path, name: str) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _Unreadable("unreadable-file", f"{name} is not a regular file", "", 1, 1)
        if status.st_size <= LARGEST:
            with path.open("rb") as file:
                data = file.read(LARGEST + 1)
            if len(data) <= LARGEST:
                return data
    except OSError as failure:
        raise _Unreadable("unreadable-file", f"cannot read {name}: {failure.strerror}", "", 1, 1) from None
    raise _Unreadable(
        "file-too-large",
        f"{name} has {status.st_size / 1048576:.0f} MiB; at most {LARGEST // 1048576} MiB are read",
        "Split it into several *.yaml files in the same folder.",
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
