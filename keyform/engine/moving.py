"""Where the secret of a key is to be, and how it gets there."""

from __future__ import annotations

from keyform.model import Place
from keyform.state import Generation


def relocation(current: Generation, places: tuple[Place, ...]) -> tuple[str, tuple[Place, ...]]:
    """Why the places of a secret change, in words, and where it is copied from; nowhere, if no place is new
    or keyform never saw the secret."""
    new = [place for place in places if place not in current.places]
    gone = [place for place in current.places if place not in places]
    if current.fingerprint is None or not (new or gone):
        return "what is recorded of its secret's place changes", ()
    there, here = ", ".join(map(str, new)), ", ".join(map(str, gone))
    if not new:
        return f"its secret is no longer kept at {here}", ()
    if not gone:
        return f"its secret is copied to {there}", current.places
    return f"its secret moves from {here} to {there}", current.places
