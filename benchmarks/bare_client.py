"""The least that an apply can be: the same HTTP calls from a bare httpx loop. Run as a program.

``python -m benchmarks.bare_client COUNT THREADS [STORE]``; with STORE each secret is also kept and read back,
as keyform does, which shows what the stores cost. STORE is ``vault``, or the folder of an age store.
"""

from __future__ import annotations

import os
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from benchmarks.bare_vault import KEEPERS, Keep


def main(count: int, threads: int, store: str | None) -> None:
    """List, create ``count`` keys and prove each one. Raises ``httpx.HTTPError`` if a call fails."""
    token = os.environ["KEYFORM_BENCH_TOKEN"]
    limits = httpx.Limits(max_connections=threads, max_keepalive_connections=threads)
    with httpx.Client(
        base_url=os.environ["KEYFORM_BENCH_ENDPOINT"], limits=limits, trust_env=False, verify=False
    ) as client:
        authorized = {"Authorization": f"Bearer {token}"}
        for path in ("/v1/keys?limit=1000", "/v1/projects?limit=1000", "/v1/whoami"):
            client.get(path, headers=authorized).raise_for_status()
        lineage = str(uuid.uuid4())
        keep: Keep | None = None
        if store is not None:
            keep = KEEPERS["httpx"](f"bench/{lineage}") if store == "vault" else _age_store(Path(store))

        def one(number: int) -> None:
            marker = uuid.uuid4().hex
            answer = client.post(
                "/v1/keys",
                json=_body(number, f"{lineage}/{marker}"),
                headers={**authorized, "Idempotency-Key": marker},
            )
            secret = answer.raise_for_status().json()["secret"]
            client.post("/v1/verify", json={"key": secret}).raise_for_status().json()
            if keep is not None:
                keep(number, secret)

        with ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(one, range(count)):
                pass


def _body(number: int, label: str) -> dict[str, object]:
    return {
        "kind": "secret",
        "environment": "live",
        "project": None,
        "name": f"Backend service {number:05}",
        "description": f"Writes events for team {number % 50:02}",
        "scopes": ["events:read", "events:write"],
        "allowed_origins": [],
        "expires_at": (datetime.now(UTC) + timedelta(days=90)).isoformat(timespec="milliseconds"),
        "metadata": {"cost-centre": f"{number:05}", "keyform": label},
        "rate_limit": None,
    }


def _age_store(folder: Path) -> Keep:
    from keyform.model import Place, Secret
    from keyform.stores.age import AgeStore

    store = AgeStore("bench", folder / "secrets", identity=folder / "identity")
    store.probe()

    def keep(number: int, text: str) -> None:
        place, secret = Place("bench", f"team-{number % 50:02}/service-{number:05}"), Secret(text)
        store.put(place, secret, {})
        if store.get(place) != secret:
            raise RuntimeError(f"{place} does not read back")

    return keep


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
