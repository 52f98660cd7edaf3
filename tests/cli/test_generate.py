"""What ``generate`` writes is accepted, and plans to imports only."""

from collections.abc import Callable
from pathlib import Path

from .conftest import Keyform

EMPTY = "version: 1\nservices: {sandbox: {type: embedded}}\n"


def test_keys_that_the_state_forgot_are_written_and_imported(
    keyform: Keyform, folder: Path, edit: Callable[[str, str], None]
) -> None:
    keyform("init")
    edit("    name: Backend\n", '    name: "Back $${end: #1 \\"q\\" é"\n    metadata: {"a b": "c: d"}\n')
    edit(
        '    scopes: ["events:write", "events:read"]\n',
        '    scopes: ["events:write"]\n    description: "two\\nlines"\n',
    )
    edit("    expires_in: 30d\n", "    expires_in: never\n    rate_limit: {limit: 7, per: 2m}\n")
    assert keyform("apply", "--auto-approve").code == 0
    declared = keyform("state", "list").out.split()
    keyform("state", "rm", *declared)
    (folder / "keyform.yaml").write_text(EMPTY)

    (folder / "imported.yaml").write_text("")  # as the shell does for `> imported.yaml`
    written = keyform("generate", "sandbox")
    assert written.code == 0
    (folder / "imported.yaml").write_text(written.out)
    assert keyform("validate").code == 0
    planned = keyform("plan")
    assert planned.code == 0, planned.err
    # The project comes along, since its keys name it; its origins are as they were.
    assert planned.out.splitlines()[-1] == "Plan: 1 to update, 5 to import."
    assert "keyform manages its allowed origins from now on" in planned.out
    assert "changed to what is declared" not in planned.out
    assert keyform("apply", "--auto-approve").code == 0
    assert keyform("plan", "--detailed-exitcode").code == 0
    assert "There are none to declare." in keyform("generate", "sandbox").out


def test_an_unknown_service_is_refused(keyform: Keyform, folder: Path) -> None:
    (folder / "keyform.yaml").write_text(EMPTY)
    refused = keyform("generate", "sandbx")
    assert refused.code == 1
    assert "Did you mean `sandbox`?" in refused.err
