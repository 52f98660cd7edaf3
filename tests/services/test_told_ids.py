"""Whose credential and whose secret it is, as an answer says it: by a text, by a number, or not at all."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from keyform.errors import ServiceError
from keyform.model import KeySpec, LiveKey, Secret
from tests.services.speaking import profile_text, speaking

PROFILE = profile_text(
    "key: {id: {at: id, number: true}}",
    "  own_key: {backing: documented, path: /me, id: token_id}\n"
    "  prove: {backing: documented, path: /me, id: token_id}",
)
KEY = LiveKey("105", KeySpec())


def naming(answer: dict[str, Any]) -> Any:
    return speaking(PROFILE, lambda request: httpx.Response(200, json=answer))


@pytest.mark.parametrize("told", ["105", 105])
def test_an_id_may_be_a_text_or_a_number(told: object) -> None:
    service = naming({"token_id": told})
    assert service.own_key() == "105"
    assert service.prove(Secret("acme_1"), KEY) == "105"


@pytest.mark.parametrize("told", [True, 1.5, "", "a\nb", ["105"], {"id": "105"}])
def test_what_is_no_id_is_not_taken_for_another_key(told: object) -> None:
    service = naming({"token_id": told})
    for call in (service.own_key, lambda: service.prove(Secret("acme_1"), KEY)):
        with pytest.raises(ServiceError) as refused:
            call()
        assert "something else than an id" in refused.value.diagnostics[0].summary
        assert ".id` of the profile" in refused.value.diagnostics[0].detail


def test_a_credential_may_be_no_key_but_a_proof_names_one() -> None:
    service = naming({"token_id": None})
    assert service.own_key() is None
    with pytest.raises(ServiceError) as refused:
        service.prove(Secret("acme_1"), KEY)
    assert "does not say whose secret it is" in refused.value.diagnostics[0].summary
