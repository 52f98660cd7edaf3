"""What a security engineer would ask about the keys, answered from what is declared, recorded and live."""

from keyform.engine.audit.audit import Audit, audit
from keyform.engine.audit.finding import Finding
from keyform.engine.audit.rules import RULES, Rule

__all__ = ["RULES", "Audit", "Finding", "Rule", "audit"]
