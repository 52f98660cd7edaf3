"""A credential that somebody wrote in clear text, or that came from the environment, is never shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from keyform.diagnostics import Diagnostic

Refuser = Callable[..., tuple[Diagnostic, ...]]
CANARY = "hunter2canary"

TEXTS = {
    "on its line": f"version: 1\nservices: {{a: {{type: embedded, credential: {CANARY}, endpiont: x}}}}\n",
    "next to another error": f"version: 1\nservices: {{a: {{type: embeded, credential: {CANARY}}}}}\n",
    "not text": f"version: 1\nstores: {{a: {{type: vault, token: [{CANARY}, b], x: 1}}}}\n",
    "a number": "version: 1\nstores: {a: {type: vault, token: 0777123456}}\n",
    "a block": f"version: 1\nstores:\n  a:\n    type: valt\n    token: |\n      {CANARY}\n",
    "folded over lines": f'version: 1\nstores: {{a: {{type: vault, password: "x\n  {CANARY}", tpye: 1}}}}\n',
    "in a URL": f"version: 1\nservices: {{a: {{type: embeded, endpoint: 'https://u:{CANARY}@h.example/'}}}}\n",
    "in a URL of a list": f"version: 1\nstores: {{a: {{type: vaul, hosts: ['https://u:{CANARY}@h.example/']}}}}\n",
    "in a URL before a syntax error": (
        f"version: 1\nservices: {{a: {{endpoint: 'https://u:{CANARY}@h.example/', type: embeded, b: : 1}}}}\n"
    ),
    "before a syntax error": f"version: 1\nstores: {{a: {{type: vault, token: {CANARY}]\n",
    "in a block with a syntax error": f"version: 1\nstores:\n  a:\n    token: >\n      {CANARY}\n     : [\n",
    "around a syntax error": f"version: 1\nstores:\n  a:\n    token: 'x'{CANARY}\n",
    "in JSON": '{"version": 1, "services": {"a": {"type": "embeded", "credential": "'
    + CANARY
    + '", "x": }}}\n',
    "with a prefix": f'version: 1\nservices: {{a: {{type: embedded, credential: "{CANARY}${{env:A}}"}}}}\n',
    "twice": f"version: 1\nservices: {{a: {{type: embedded, credential: {CANARY}, credential: {CANARY}}}}}\n",
    "in the state": f"version: 1\nstate: {{backend: s4, secret_access_key: {CANARY}}}\n",
    "camel case": f"version: 1\nstores: {{a: {{type: valt, clientSecret: {CANARY}}}}}\n",
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_credential_in_clear_text_is_never_shown(case: str, refused: Refuser) -> None:
    found = refused(TEXTS[case], env={"A": "x"})
    shown = "\n".join(f"{d.summary}\n{d.explanation}\n{d.snippet}" for d in found)
    assert CANARY not in shown
    assert "0777123456" not in shown


ENVIRONMENT = {
    "a duration": 'expires_in: "${env:LEAK}"',
    "a scope": 'scopes: ["${env:LEAK}"]',
    "an origin": 'allowed_origins: ["https://${env:LEAK}/x"]',
    "a kind": 'kind: "${env:LEAK}"',
    "a path": 'secret: "../${env:LEAK}"',
    "a time": 'expires_at: "${env:LEAK}"',
}


@pytest.mark.parametrize("case", ENVIRONMENT)
def test_a_value_from_the_environment_is_never_shown(case: str, refused: Refuser) -> None:
    fields = ("service: app", "kind: public", "environment: live", "secret: x", ENVIRONMENT[case])
    name = ENVIRONMENT[case].partition(":")[0]
    lines = [f for f in fields if f == ENVIRONMENT[case] or not f.startswith(name + ":")]
    text = "version: 1\nservices: {app: {type: embedded}}\nkeys:\n  k:\n" + "".join(
        f"    {line}\n" for line in lines
    )
    found = refused(text, env={"LEAK": "Hunter2Canary"})
    shown = "\n".join(f"{d.summary}\n{d.explanation}\n{d.snippet}" for d in found)
    assert "hunter2canary" not in shown.lower()
    assert "${env:LEAK}" in shown


@pytest.mark.parametrize("value", ["", " token-1", "token\n", "tok\x00en"])
def test_a_credential_that_cannot_be_one_is_refused_unshown(value: str, refused: Refuser) -> None:
    text = 'version: 1\nservices: {a: {type: embedded, credential: "${env:TOKEN}"}}\n'
    (found,) = refused(text, env={"TOKEN": value})
    assert (found.code, str(found.location)) == ("bad-credential", "keyform.yaml:2:44")
    assert "TOKEN" in found.summary
    assert "token-1" not in found.summary
