"""What a credential may do with Secrets, as the cluster itself tells it."""

from __future__ import annotations

from collections.abc import Collection

from keyform.stores.kubernetes_client import Cluster
from keyform.stores.kubernetes_secret import CANARY

_VERBS = ("get", "create", "patch", "delete")
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def lacks(cluster: Cluster, doing: str, namespace: str, names: Collection[str]) -> tuple[str, ...]:
    """The rights that are missing in a namespace (empty: in all of them), in words. A role that is bound to
    names has to hold the Secrets ``names`` and the canary; creating cannot be bound to names."""
    where = f"in namespace {namespace}" if namespace else "in all namespaces"
    lacking = []
    for verb in _VERBS:
        if _may(cluster, doing, verb, namespace, ""):
            continue
        one_by_one = (CANARY, *sorted(names)) if names and verb != "create" else ("",)
        denied = [name for name in one_by_one if not name or not _may(cluster, doing, verb, namespace, name)]
        if denied:
            lacking.append(f"{verb} {', '.join(denied)} {where}".replace("  ", " "))
    return tuple(lacking)


def _may(cluster: Cluster, doing: str, verb: str, namespace: str, name: str) -> bool:
    asked = {"verb": verb, "resource": "secrets", "namespace": namespace, "name": name}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    answer = cluster.call(doing, "POST", _REVIEWS, body)
    return (answer.body.get("status") or {}).get("allowed") is True
