"""What is written about the command line is what ``--help`` says."""

import re
from pathlib import Path

import pytest

from .reference import FILE, commands, reference

ROOT = Path(__file__).parents[2]


def test_the_reference_is_up_to_date() -> None:
    assert FILE.read_text(encoding="utf-8") == reference(), "run: python tests/cli/reference.py"


def test_help_has_every_option_of_the_reference() -> None:
    text = reference()
    for _, command, context in commands():
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", command.get_help(context)):
            assert option in text or option == "--help"


@pytest.mark.parametrize("file", ["README.md", "docs/cli.md", "CONTRIBUTING.md"])
def test_documents_name_only_verbs_and_options_that_exist(file: str) -> None:
    known = {name: command for name, command, _ in commands()}
    options = {
        name: {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for name, command in known.items()
    }
    everywhere = options["keyform"] | {"--help", "-h"}
    path = ROOT / file
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for line in lines:
        for found in re.finditer(r"(?:^|[`$ ])keyform((?: -C \S+)?(?: [^`|;#&)]+)?)", line):
            words = re.sub(r"^ -C \S+", "", found[1]).split()
            if not words or not re.fullmatch("[a-z]+", words[0]) or f"keyform {words[0]}" not in known:
                continue
            name = f"keyform {words[0]}"
            if len(words) > 1 and f"{name} {words[1]}" in known:
                name = f"{name} {words[1]}"
            for word in words:
                option = word.strip("[],.").partition("=")[0]
                if option.startswith("--"):
                    assert option in options[name] | everywhere, f"{file}: {line}"
