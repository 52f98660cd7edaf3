"""The least that it takes to keep secrets in Vault: the requests of keyform's store from a bare loop.

Run as a program: ``python -m benchmarks.bare_vault COUNT THREADS hvac|httpx|keyform``, the last through
keyform's own store.
"""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

ADDRESS, TOKEN = "KEYFORM_BENCH_VAULT", "KEYFORM_BENCH_VAULT_TOKEN"

Keep = Callable[[int, str], None]
"""Keeps the secret of a number, labels it, and reads it back."""

_PATCH = {"Content-Type": "application/merge-patch+json"}


def main(count: int, threads: int, library: str) -> None:
    """Keep ``count`` secrets. Raises whatever a request that fails raises."""
    keep = KEEPERS[library](f"bench/{uuid.uuid4().hex}")
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(lambda number: keep(number, f"sk_live_{number:032}"), range(count)):
            pass


def _by_httpx(base: str) -> Keep:
    client = httpx.Client(
        base_url=f"{os.environ[ADDRESS]}/v1/secret/",
        headers={"X-Vault-Token": os.environ[TOKEN], "X-Vault-Request": "true"},
        trust_env=False,
        verify=False,
    )

    def keep(number: int, text: str) -> None:
        path = f"{base}/{number}"
        body = {"data": {"value": text}, "options": {"cas": 0}}
        client.post(f"data/{path}", json=body).raise_for_status()
        labels = {"custom_metadata": _labels(number)}
        client.patch(f"metadata/{path}", json=labels, headers=_PATCH).raise_for_status()
        answer = client.get(f"data/{path}").raise_for_status().json()
        _compare(answer["data"]["data"]["value"], text)

    return keep


def _by_hvac(base: str) -> Keep:
    import hvac

    client = hvac.Client(url=os.environ[ADDRESS], token=os.environ[TOKEN])
    kv = client.secrets.kv.v2

    def keep(number: int, text: str) -> None:
        path = f"{base}/{number}"
        kv.create_or_update_secret(path, {"value": text}, cas=0)
        labels = {"custom_metadata": _labels(number)}
        client.adapter.request("patch", f"/v1/secret/metadata/{path}", headers=dict(_PATCH), json=labels)
        answer = kv.read_secret_version(path, raise_on_deleted_version=False)
        _compare(answer["data"]["data"]["value"], text)

    return keep


def _by_keyform(base: str) -> Keep:
    from keyform.model import Place, Secret
    from keyform.stores.vault import open_store

    env = {"VAULT_ADDR": os.environ[ADDRESS], "VAULT_TOKEN": os.environ[TOKEN]}
    store = open_store("bench", {"prefix": base}, Path(), env)

    def keep(number: int, text: str) -> None:
        place = Place("bench", f"{number}")
        store.put(place, Secret(text), _labels(number), None)
        found = store.get(place)
        _compare(found.reveal() if found else "", text)

    return keep


KEEPERS = {"httpx": _by_httpx, "hvac": _by_hvac, "keyform": _by_keyform}


def _labels(number: int) -> dict[str, str]:
    return {"address": f"keys.service-{number:05}", "key_id": f"key_{number:032}", "generation": "1"}


def _compare(found: str, text: str) -> None:
    if found != text:
        raise RuntimeError("a secret does not read back")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
