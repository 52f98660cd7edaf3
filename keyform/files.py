"""Private files that a crash cannot leave half written: what the age store and the local state share.

Files have mode 0600 and folders 0700 whatever the umask. A write goes to a temporary file in the same
folder, is flushed, takes the name by a rename, and the folder is flushed too. Functions here raise
``OSError``; callers say what it means and use :func:`advice` for what to do.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import shutil
import sys
from pathlib import Path

_PREFIX, _SUFFIX = ".keyform-", ".tmp"

_ADVICE = {
    errno.ENOSPC: "The disk is full. Free some space and run it again.",
    errno.EDQUOT: "The disk quota is used up. Free some space and run it again.",
    errno.EFBIG: "A limit on file sizes is in force (see `ulimit -f`). Raise it and run it again.",
    errno.EROFS: "The file system is read-only. Mount it for writing or choose another path.",
    errno.EACCES: "Check who owns the file and its folders, and their permissions.",
    errno.EPERM: "Check who owns the file and its folders, and their permissions.",
    errno.ENOTDIR: "A file stands where a folder is needed. Move it away or choose another path.",
    errno.EISDIR: "A folder stands where a file is needed. Move it away or choose another path.",
    errno.ELOOP: "A symbolic link stands in the way. Replace it by the real file or folder.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.ENOLCK: "The file system has no working locks. Choose a path on a local disk.",
    errno.ENOTSUP: "The file system lacks what keyform needs. Choose a path on a local disk.",
    errno.EMFILE: "Too many files are open (see `ulimit -n`). Raise the limit or lower --parallelism.",
    errno.EIO: "The disk reports a fault. Check the disk before anything else.",
}


def advice(problem: OSError) -> str:
    """What a user can do about ``problem``, as a sentence."""
    return _ADVICE.get(problem.errno or 0, "Check that the disk is there and that you may write to it.")


def reason(problem: OSError) -> str:
    """The system's own words for ``problem``, without file names."""
    return problem.strerror or type(problem).__name__


LEAST_ROOM = 64 * 1024
"""Bytes that have to be free where secrets are to be written: a block or two for each, and for its folder."""


def check_room(path: Path) -> None:
    """Raise ``OSError`` where the disk of an existing path is full."""
    if shutil.disk_usage(path)[2] < LEAST_ROOM:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def sync(fd: int) -> None:
    """Flush a file or a folder to the disk itself."""
    if sys.platform == "darwin":  # there fsync stops at the drive's cache
        fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
    else:
        os.fsync(fd)


def sync_folder(path: Path) -> None:
    """Flush the names in a folder: files made, renamed or removed there stay so."""
    folder = open_folder(path)
    try:
        sync(folder)
    finally:
        os.close(folder)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte, however few the system takes at once."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_all(fd: int, most: int) -> bytes:
    """The bytes to the end of the file, but no more than ``most``."""
    data = b""
    while len(data) < most and (part := os.read(fd, most - len(data))):
        data += part
    return data


def open_folder(path: Path | str, inside: int | None = None) -> int:
    """A descriptor of a folder. With ``inside`` (a descriptor), ``path`` is one name in that folder,
    and a symbolic link is refused with ``OSError``."""
    nofollow = 0 if inside is None else os.O_NOFOLLOW
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | nofollow, dir_fd=inside)


def make_folder(name: str, inside: int) -> None:
    """Create the folder ``name`` in an open folder, durably. One that exists is left as it is."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=inside)
        os.chmod(name, 0o700, dir_fd=inside)  # the umask may have taken bits away
        sync(inside)


def make_folders(path: Path) -> None:
    """Create a folder and those missing above it, durably. Existing ones are left as they are."""
    if path.is_dir():
        return
    make_folders(path.parent)
    parent = open_folder(path.parent)
    try:
        make_folder(path.name, parent)
    finally:
        os.close(parent)


def _temporary(folder: int, data: bytes) -> tuple[str, int]:
    """A flushed temporary file with ``data``; its name, and its descriptor, which holds a lock that
    tells :func:`sweep` that its writer lives."""
    name = f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        with contextlib.suppress(OSError):  # without locks there is no sweeping either
            fcntl.flock(fd, fcntl.LOCK_EX)
        os.fchmod(fd, 0o600)
        write_all(fd, data)
        sync(fd)
    except BaseException:
        os.close(fd)
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)
        raise
    return name, fd


def replace_file(folder: int, name: str, data: bytes) -> None:
    """Give ``name`` in an open folder new content: readers see the old bytes or the new ones.

    Raises ``FileNotFoundError`` when the folder was removed meanwhile; trying again is safe then.
    """
    temporary, fd = _temporary(folder, data)
    try:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        os.close(fd)
    sync(folder)


def write_private(path: Path, data: bytes) -> None:
    """:func:`replace_file` by path; the folder must exist."""
    folder = open_folder(path.parent)
    try:
        replace_file(folder, path.name, data)
    finally:
        os.close(folder)


def create_file(folder: int, name: str, data: bytes) -> bool:
    """Create a file whole in an open folder; False, and nothing changed, when ``name`` exists there."""
    temporary, fd = _temporary(folder, data)
    try:
        os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:
        return False
    finally:
        os.close(fd)
        os.unlink(temporary, dir_fd=folder)
        sync(folder)
    return True


def create_private(path: Path, data: bytes) -> bool:
    """:func:`create_file` by path; the folder must exist."""
    folder = open_folder(path.parent)
    try:
        return create_file(folder, path.name, data)
    finally:
        os.close(folder)


def sweep(folder: Path) -> None:
    """Remove temporary files in ``folder`` whose writer died. Those of a living writer stay."""
    for entry in [e for e in os.scandir(folder) if e.name.startswith(_PREFIX) and e.name.endswith(_SUFFIX)]:
        with contextlib.suppress(OSError):  # gone already, or its writer lives
            fd = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Path(entry.path).unlink()
            finally:
                os.close(fd)
