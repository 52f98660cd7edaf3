"""Which files make up a configuration."""

from __future__ import annotations

from pathlib import Path

from keyform.documents.problems import Problems


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
