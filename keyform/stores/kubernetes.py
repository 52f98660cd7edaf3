"""The Kubernetes store: a field of a Secret, written by server-side apply as the field manager ``keyform``.

Each write names the state of the Secret that it goes out from (``resourceVersion``), so that nobody's write
in between is lost; fields of other managers are not forced, except the very field that is to be replaced.
"""

from __future__ import annotations

import contextlib
import secrets as _random
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keyform.errors import StoreError
from keyform.model import Place, Secret
from keyform.ports import ANYTHING, Held, Over
from keyform.stores.age_identity import home
from keyform.stores.kubernetes_client import CONFLICT, NOT_FOUND, Answer, Cluster, find_access
from keyform.stores.kubernetes_refusals import refuse_contested, refuse_too_large, refuse_unfit
from keyform.stores.kubernetes_rights import lacks
from keyform.stores.kubernetes_secret import (
    CANARY,
    MANAGER,
    Found,
    Spot,
    Wanted,
    created,
    spot,
)
from keyform.stores.over import allow, allow_deletion, taken

_APPLY, _MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
_AS_KEYFORM = ("fieldManager", MANAGER)
_MOVED = (CONFLICT, NOT_FOUND)  # what a write meets that goes out from a state which is no more
_TURNS = 40  # how often a write is tried again after somebody else's came between


def open_store(
    name: str, options: Mapping[str, Any], project_folder: Path, env: Mapping[str, str]
) -> KubernetesStore:
    """The store that a configuration declares. Does no I/O.

    Options: ``kubeconfig`` (a path) and ``context``, by default what kubectl would use; ``namespace`` of
    paths without one; ``field`` of places without one; ``secret_type``, ``labels`` and ``annotations`` of
    the Secrets.
    """
    access = find_access(options.get("kubeconfig"), options.get("context"), project_folder, env, home(env))
    return KubernetesStore(
        name,
        Cluster(name, access),
        namespace=options.get("namespace"),
        field=options.get("field"),
        wanted=Wanted(
            options.get("secret_type"), options.get("labels") or {}, options.get("annotations") or {}
        ),
    )


class KubernetesStore:
    """A :class:`~keyform.ports.Store` over the Secrets of a cluster."""

    readable = True

    def __init__(
        self,
        name: str,
        cluster: Cluster,
        *,
        namespace: str | None = None,
        field: str | None = None,
        wanted: Wanted | None = None,
    ) -> None:
        self.name = name
        self._cluster = cluster
        self._namespace = namespace
        self._field = field
        self._wanted = wanted or Wanted()
        # The Secrets that places were checked for, by namespace: what probe() and access() are about.
        self._checked: defaultdict[str, set[str]] = defaultdict(set)
        # Threads of one run take turns at a Secret, instead of finding that the other was faster.
        self._turns: dict[tuple[str, str], threading.Lock] = {}
        if namespace:
            self._checked[namespace] = set()

    def check(self, place: Place) -> None:
        """See :class:`~keyform.ports.Store`."""
        where = self._spot(place)
        self._checked[where.namespace].add(where.name)

    def access(self) -> str:
        """See :class:`~keyform.ports.Store`. Asks the cluster what the credential may do in the store's
        namespace and in those of the places that were checked."""
        doing = "find out what it may do"
        asked: Mapping[str, set[str]] = self._checked or {"": set()}
        denied = [
            lack
            for within, names in sorted(asked.items())
            for lack in lacks(self._cluster, doing, within, names)
        ]
        known = ", ".join(sorted(self._checked))
        if denied and not known:
            return "the cluster answers; rights are asked for in the namespaces of keys, and none is known"
        if denied:
            raise self._cluster.failed(
                doing,
                f"its credential lacks rights on Secrets: {'; '.join(denied)}",
                "Bind the role that docs/stores/kubernetes.md shows to its user or service account. "
                "Nothing was written.",
            )
        return f"Secrets can be read, created, patched and deleted in {known or 'all namespaces'}"

    def probe(self) -> None:
        """See :class:`~keyform.ports.Store`. Goes through the namespaces that :meth:`access` is about."""
        self.access()
        for namespace in sorted(self._checked):
            place = Place(self.name, f"{namespace}/{CANARY}", _random.token_hex(8))
            where = self._spot(place)
            written = Secret(_random.token_urlsafe(32))
            # Opaque, since other types want certain fields.
            wanted = Wanted(None, self._wanted.labels, self._wanted.annotations)
            try:
                self._write(where, place, written, {}, ANYTHING, wanted)
                found = self._read(where, f"read {place}")
            except StoreError:
                with contextlib.suppress(StoreError):
                    self._erase(where, place)  # the write may have been carried out
                raise
            self._erase(where, place)
            raw = found.raw(where.field) if found else None
            if raw != written.reveal().encode():
                raise self._cluster.failed(
                    f"keep {place}",
                    "the cluster gave back something else than was written",
                    "An admission webhook or a controller may rewrite Secrets there. Ask its operators.",
                )

    def look(self, place: Place) -> Held | None:
        """See :class:`~keyform.ports.Store`."""
        where = self._spot(place)
        found = self._read(where, f"read {place}")
        if found is None or found.raw(where.field) is None:
            return None
        return Held(found.version(where.field), found.labels(where.field))

    def get(self, place: Place, version: str | None = None) -> Secret | None:
        """See :class:`~keyform.ports.Store`. Kubernetes keeps no older versions."""
        where = self._spot(place)
        found = self._read(where, f"read {place}")
        raw = found.raw(where.field) if found else None
        if found is None or raw is None or (version is not None and version != found.version(where.field)):
            return None
        try:
            return Secret(raw.decode())
        except UnicodeDecodeError:
            pass
        raise self._cluster.failed(
            f"read {place}",
            "it does not hold text",
            "Something else wrote it. Choose another field, or take it out of the Secret.",
        )

    def put(self, place: Place, secret: Secret, labels: Mapping[str, str], over: Over = ANYTHING) -> str:
        """See :class:`~keyform.ports.Store`. Creates the Secret where there is none."""
        return self._write(self._spot(place), place, secret, labels, over, self._wanted)

    def delete(self, place: Place, over: Over = ANYTHING) -> None:
        """See :class:`~keyform.ports.Store`. A Secret that keyform made and that is empty then goes too."""
        self._erase(self._spot(place), place, over)

    def forget(self, place: Place, version: str) -> None:
        """See :class:`~keyform.ports.Store`. It keeps none for keyform."""

    def close(self) -> None:
        """See :class:`~keyform.ports.Store`."""
        self._cluster.close()

    # The steps of these

    def _spot(self, place: Place) -> Spot:
        return spot(self.name, place, self._namespace, self._field)

    def _write(
        self,
        where: Spot,
        place: Place,
        secret: Secret,
        labels: Mapping[str, str],
        over: Over,
        wanted: Wanted,
    ) -> str:
        doing, value = f"write {place}", secret.reveal().encode()
        for _ in self._turn(where, doing):
            found = self._read(where, doing)
            refuse_too_large(
                self._cluster, doing, found.size_with(where.field, value) if found else len(value)
            )
            raw = found.raw(where.field) if found else None
            if found and raw == value and over != ANYTHING:
                return found.version(where.field)
            self._allow(place, over, raw)
            if found is None:
                answer = self._create(doing, where, created(where, secret, labels, wanted))
            else:
                refuse_unfit(self._cluster, doing, where, found, wanted)
                tidy = found.as_applied()
                if tidy is not None:
                    answer = self._patch(doing, where, tidy, _MERGE)
                    if answer.status in _MOVED:
                        continue
                    found = Found(answer.body)
                answer = self._apply(doing, where, found.with_field(where, secret, labels, wanted))
            if answer.status not in _MOVED:
                return Found(answer.body).version(where.field)
        raise self._overrun(doing)

    def _create(self, doing: str, where: Spot, body: dict[str, Any]) -> Answer:
        answer = self._cluster.call(doing, "POST", where.collection, body, query=(_AS_KEYFORM,))
        if answer.status == NOT_FOUND:
            raise self._cluster.failed(
                doing,
                f"there is no namespace {where.namespace}",
                f"Create it (`kubectl create namespace {where.namespace}`), or correct the path or "
                "the store's `namespace`.",
            )
        return answer

    def _apply(self, doing: str, where: Spot, body: dict[str, Any]) -> Answer:
        answer = self._patch(doing, where, body, _APPLY)
        if answer.contested:
            refuse_contested(self._cluster, doing, where, answer)
            answer = self._patch(doing, where, body, _APPLY, ("force", "true"))
        return answer

    def _erase(self, where: Spot, place: Place, over: Over = ANYTHING) -> None:
        doing = f"delete {place}"
        for _ in self._turn(where, doing):
            found = self._read(where, doing)
            if found is None or (raw := found.raw(where.field)) is None:
                return
            allow_deletion(self.name, place, over, Secret(raw.decode(errors="surrogateescape")))
            if found.alone(where.field):
                body = {"preconditions": found.preconditions()}
                answer = self._cluster.call(doing, "DELETE", where.path, body)
            else:
                refuse_unfit(self._cluster, doing, where, found, Wanted())
                answer = self._patch(doing, where, found.without_field(where.field), _MERGE)
            if answer.status != CONFLICT:
                return
        raise self._overrun(doing)

    def _turn(self, where: Spot, doing: str) -> Iterator[None]:
        """Again and again, until the caller has come through without another writer in between."""
        with self._turns.setdefault((where.namespace, where.name), threading.Lock()):
            for number in range(_TURNS):
                if number:
                    time.sleep(_random.SystemRandom().uniform(0, 0.01 * min(number, 10)))
                yield

    def _overrun(self, doing: str) -> StoreError:
        return self._cluster.failed(
            doing,
            f"somebody else changed the Secret each time, {_TURNS} times in a row",
            "Nothing was written. A controller may fight over it: its managedFields tell who writes there.",
        )

    def _read(self, where: Spot, doing: str) -> Found | None:
        answer = self._cluster.call(doing, "GET", where.path)
        return None if answer.status == NOT_FOUND else Found(answer.body)

    def _patch(
        self, doing: str, where: Spot, body: dict[str, Any], content: str, *query: tuple[str, str]
    ) -> Answer:
        return self._cluster.call(
            doing, "PATCH", where.path, body, content=content, query=(_AS_KEYFORM, *query)
        )

    def _allow(self, place: Place, over: Over, raw: bytes | None) -> None:
        try:
            present = None if raw is None else Secret(raw.decode())
        except UnicodeDecodeError:
            present = None
            if over is None:
                raise taken(self.name, place) from None
        allow(self.name, place, over, present)
