"""What lies in the data folder, and many clients on it at once."""

from __future__ import annotations

import json
import logging
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from keyform.reference.app import create_app, root_token

from .conftest import Service

Starter = Callable[..., Service]


def check(data: Path, keys: int) -> None:
    """The database is whole and holds this many keys, none of them twice."""
    with sqlite3.connect(data / "keys.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        count = (
            "SELECT count(*), count(DISTINCT id), count(DISTINCT lookup), count(DISTINCT digest) FROM keys"
        )
        assert connection.execute(count).fetchone() == (keys,) * 4
    connection.close()


def everything_in(data: Path) -> bytes:
    return b"".join(path.read_bytes() for path in data.rglob("*") if path.is_file())


def test_the_data_folder_is_private_while_in_use(tmp_path: Path) -> None:
    data = tmp_path / "deep" / "data"
    application = create_app(data)
    Service(application, data).client(root_token(data)).put("/v1/projects/web", json={"allowed_origins": []})
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()}
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert {"keys.sqlite3", "keys.sqlite3-wal", "keys.sqlite3-shm", "pepper", "root-token"} <= set(files)
    assert set(files.values()) == {0o600}
    application.close()


def test_secrets_are_kept_as_hashes_only(start: Starter, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service = start()
    secrets = []
    for n in range(20):
        key, secret = service.minted(name=f"canary {n}")
        service.verify(secret)
        service.http.get(f"/v1/keys/{secret}")  # a slip that must not end in an answer or a log
        assert secret not in service.http.get(f"/v1/keys/{secret}").text
        secrets.append((key["start"], secret))
    assert (service.data / "keys.sqlite3-wal").stat().st_size > 0
    kept = everything_in(service.data)
    service.application.close()
    kept += everything_in(service.data)
    for begin, secret in secrets:
        assert begin.encode() in kept  # so the search does look where keys are
        assert secret.removeprefix(begin + "_").encode() not in kept
        # The client's own log of addresses quotes the slip above; the service's must not.
        assert not [r for r in caplog.records if r.name.startswith("keyform") and secret in r.getMessage()]


def test_each_hash_has_a_salt_of_its_own_and_depends_on_it(start: Starter) -> None:
    service = start()
    for _ in range(5):
        _, secret = service.minted()
    with sqlite3.connect(service.data / "keys.sqlite3") as connection:
        salts = {row[0] for row in connection.execute("SELECT salt FROM keys")}
        assert len(salts) == 5
        assert {len(salt) for salt in salts} == {16}
        assert service.verify(secret).status_code == 200
        connection.execute("UPDATE keys SET salt = zeroblob(16)")
    connection.close()
    assert service.verify(secret).status_code == 401


def test_without_the_pepper_no_key_can_be_verified(start: Starter) -> None:
    service = start()
    _, secret = service.minted()
    assert start().verify(secret).status_code == 200
    (service.data / "pepper").write_bytes(bytes(32))
    assert start().verify(secret).status_code == 401


def test_a_lost_pepper_is_told_and_not_replaced_while_keys_need_it(start: Starter) -> None:
    service = start()
    start()
    pepper = service.data / "pepper"
    pepper.unlink()
    start()
    service.minted()
    kept = pepper.rename(service.data / "away").read_bytes()
    with pytest.raises(OSError, match="pepper is missing, without which"):
        start()
    assert not pepper.exists()
    pepper.write_bytes(kept)
    start()


def test_a_service_in_memory_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, other = (Service(create_app(None, root_token="root_of_the_tests"), tmp_path) for _ in range(2))
    key, secret = first.minted()
    with ThreadPoolExecutor(4) as pool:
        listings = list(pool.map(lambda _: first.http.get("/v1/keys").json()["data"], range(20)))
    assert listings == [[key]] * 20
    assert first.verify(secret).status_code == 200
    assert other.http.get("/v1/keys").json()["data"] == []
    for service in (first, other):
        service.application.close()
    assert list(tmp_path.iterdir()) == []


def test_the_root_token_is_made_once_and_kept(tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = root_token(data)
    assert root_token(data) == token
    assert token != root_token(tmp_path / "other")
    application = create_app(data)
    client = Service(application, data).client(token)
    assert client.get("/v1/whoami").json()["key_id"] is None
    application.close()


def test_a_root_token_that_is_given_is_not_written_down(start: Starter) -> None:
    service = start(root_token="root_from_elsewhere")
    assert not (service.data / "root-token").exists()
    assert b"root_from_elsewhere" not in everything_in(service.data)


def test_keys_outlive_the_application(start: Starter) -> None:
    service = start()
    key, secret = service.minted()
    service.application.close()
    again = start()
    assert again.http.get("/v1/keys").json()["data"] == [key]
    assert again.verify(secret).status_code == 200


def test_sixteen_threads_create_and_list_without_losing_or_doubling(start: Starter) -> None:
    service = start()

    def work(thread: int) -> list[str]:
        ids = []
        for n in range(40):
            # Every marker is sent twice, each time by another thread.
            answer = service.create(f"marker-{(thread // 2) * 40 + n}", name=f"key {n} of pair {thread // 2}")
            ids.append(answer.json()["key"]["id"])
            assert answer.status_code in (200, 201)
            assert service.http.get("/v1/keys?limit=10").status_code == 200
        return ids

    with ThreadPoolExecutor(16) as pool:
        ids = [key_id for made in pool.map(work, range(16)) for key_id in made]
    assert len(ids) == 640
    assert len(set(ids)) == 320
    check(service.data, 320)


def test_many_may_open_a_new_folder_at_the_same_moment(tmp_path: Path) -> None:
    for n in range(20):
        data = tmp_path / str(n)
        barrier = threading.Barrier(6)

        def open_one(_: int, data: Path = data, barrier: threading.Barrier = barrier) -> Service:
            barrier.wait()
            return Service(create_app(data), data)

        with ThreadPoolExecutor(6) as pool:
            services = list(pool.map(open_one, range(6)))
        for service in services:
            service.http = service.client(root_token(data))
        secrets = [service.minted()[1] for service in services]
        assert {service.verify(secret).status_code for service in services for secret in secrets} == {200}
        for service in services:
            service.application.close()


PROCESS = """
import json, pathlib, sys
import httpx
from keyform.reference.app import create_app, root_token
data, worker = pathlib.Path(sys.argv[1]), sys.argv[2]
sys.stdin.readline()
application = create_app(data)
client = httpx.Client(transport=httpx.WSGITransport(application), base_url="http://service",
                      headers={"Authorization": "Bearer " + root_token(data)})
made = []
for n in range(60):
    for marker in (f"own-{worker}-{n}", f"shared-{n}"):
        fields = {"kind": "read", "environment": "live", "name": marker, "scopes": ["events:read"]}
        answer = client.post("/v1/keys", json=fields, headers={"Idempotency-Key": marker})
        made.append([answer.status_code, answer.json()["key"]["id"], answer.json()["secret"]])
    unmarked = client.post("/v1/keys", json=fields | {"name": "unmarked"})
    made.append([unmarked.status_code, unmarked.json()["key"]["id"], unmarked.json()["secret"]])
    client.patch("/v1/keys/" + made[0][1], json={"description": f"{worker}-{n}"}).raise_for_status()
application.close()
print(json.dumps(made))
"""


def test_four_processes_open_one_folder_at_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(data), str(worker)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for worker in range(4)
    ]
    for process in processes:  # all of them have been started by now, so the folder is new to all
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    made = []
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        made += json.loads(output)
    minted = {key_id: secret for status, key_id, secret in made if status == 201}
    assert len(made) == 720
    assert len(minted) == 4 * (60 + 60) + 60
    assert {key_id for _, key_id, _ in made} == set(minted)
    check(data, 540)
    application = create_app(data)
    service = Service(application, data)
    assert all(service.verify(secret).status_code == 200 for secret in minted.values())
    application.close()


def test_a_folder_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        create_app(tmp_path / "file")
