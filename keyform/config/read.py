"""Which files make up a configuration, and their bytes as text."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from keyform.config.problems import Problems, Spot

LARGEST = 16 * 1024 * 1024
"""The largest file that is read, in bytes."""


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
    found = [
        entry
        for entry in entries
        if entry.suffix in (".yaml", ".yml") and not entry.name.startswith(".") and not entry.is_dir()
    ]
    if not found:
        problems.error(
            "no-config",
            None,
            f"there is no configuration in {folder}: no *.yaml or *.yml file",
            "Run `keyform init` to write a first one, or give its folder with -C.",
        )
    return found


def read_text(path: Path, name: str, problems: Problems) -> str | None:
    """The text of a file, or None after recording why it cannot be had.

    ``name`` is what messages call the file. A byte order mark is dropped. The size is checked before
    anything is read, and only regular files are opened, so that a pipe cannot block.
    """

    def refuse(code: str, summary: str, detail: str = "", line: int = 1, column: int = 1) -> None:
        problems.error(code, Spot(name, line, column), summary, detail)
        problems.broken_files.add(name)

    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            return refuse("unreadable-file", f"{name} is not a regular file")
        if status.st_size > LARGEST:
            return refuse(
                "file-too-large",
                f"{name} has {status.st_size / 1048576:.0f} MiB; at most {LARGEST // 1048576} MiB are read",
                "Split it into several *.yaml files in the same folder.",
            )
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as failure:
        return refuse("unreadable-file", f"cannot read {name}: {failure.strerror or os.strerror(0)}")
    if len(data) > LARGEST:
        return refuse("file-too-large", f"{name} grew past {LARGEST // 1048576} MiB while it was read")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as failure:
        start = failure.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        before = data[:start]
        line_start = before.rfind(b"\n") + 1
        utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        return refuse(
            "not-utf-8",
            f"{name} is not UTF-8: byte 0x{data[start]:02x} at offset {start}",
            "The file looks like UTF-16. Save it as UTF-8." if utf16 else "Save the file as UTF-8.",
            before.count(b"\n") + 1,
            len(before[line_start:].decode("utf-8", "replace")) + 1,
        )
