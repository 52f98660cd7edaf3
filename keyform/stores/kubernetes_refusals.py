"""What keyform will not do to a Secret, and the way out."""

from __future__ import annotations

from keyform.stores.kubernetes_client import Answer, Cluster
from keyform.stores.kubernetes_secret import FIELDS, LARGEST, Found, Spot, Wanted


def refuse_too_large(cluster: Cluster, doing: str, size: int) -> None:
    """Refuse (``StoreError``) a Secret whose values would have too many bytes together."""
    if size > LARGEST:
        raise cluster.failed(
            doing,
            f"the Secret would hold {size:,} bytes",
            f"The values of a Secret have room for {LARGEST:,} bytes together. Use another Secret.",
        )


def refuse_unfit(cluster: Cluster, doing: str, where: Spot, found: Found, wanted: Wanted) -> None:
    """Refuse (``StoreError``) to change a Secret that cannot change, or that is not of the wanted type."""
    named = f"-n {where.namespace} {where.name}"
    if found.going:
        raise cluster.failed(
            doing,
            "the Secret is being deleted and waits for a finalizer",
            f"See `kubectl get secret {named} -o yaml`; run this again once it is gone.",
        )
    if found.immutable:
        raise cluster.failed(
            doing,
            "the Secret is immutable",
            f"Its values cannot change. Delete it (`kubectl delete secret {named}`), or let the key's "
            "`secret` name another Secret.",
        )
    if wanted.type and wanted.type != found.type:
        raise cluster.failed(
            doing,
            f"the Secret is of type {found.type}, and the store's are of type {wanted.type}",
            "A Secret cannot change its type. Name another Secret, or correct `secret_type`.",
        )


def refuse_contested(cluster: Cluster, doing: str, where: Spot, answer: Answer) -> None:
    """Refuse (``StoreError``) what a server-side apply would take from other managers, beside the field
    that the caller may replace and keyform's own note."""
    mine = (f".data.{where.field}", f".metadata.annotations.{FIELDS}")
    others = [f"{field} ({said})" for field, said in answer.contested if field not in mine]
    if others:
        raise cluster.failed(
            doing,
            f"others manage what it would change: {'; '.join(others)}",
            "Take it out of `labels` or `annotations` of the store, or let the other manager give it up.",
        )
