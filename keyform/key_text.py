"""What the text of a key has to look like, by its profile."""

from __future__ import annotations

from keyform import patterns
from keyform.model import KeySpec, Secret
from keyform.profile import Profile


def misfit(profile: Profile, spec: KeySpec, secret: Secret) -> str | None:
    """Why the text cannot be that of a key as ``spec`` has it, by the prefix and the format of its kind, or
    None. The words never hold any of it."""
    text, kind = secret.reveal(), profile.kinds.get(spec.kind or "")
    prefix = kind.prefix if kind is not None else ""
    pattern = (kind.key_format if kind is not None else "") or profile.key_format
    if prefix and not text.startswith(prefix):
        other = next((k for k in profile.kinds.values() if k.prefix and text.startswith(k.prefix)), None)
        named = f"this looks like a key of kind {other.name}; " if other else ""
        return f"{named}a {profile.title} key of kind {spec.kind} begins with {prefix}"
    if pattern and not patterns.matches(pattern, text):
        return f"a {profile.title} key looks like {pattern} (a regular expression)"
    return None
