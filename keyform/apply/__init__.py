"""The only place that orders effects: reading the world, and carrying a plan out so that a crash at any
point leaves nothing that the next apply cannot finish."""

from keyform.apply.adopt import adopt
from keyform.apply.audit import audit_now
from keyform.apply.now import elsewhere_now, plan_now, sight_now
from keyform.apply.run import Outcome, apply
from keyform.apply.workspace import Workspace, Wrapping

__all__ = [
    "Outcome",
    "Workspace",
    "Wrapping",
    "adopt",
    "apply",
    "audit_now",
    "elsewhere_now",
    "plan_now",
    "sight_now",
]
