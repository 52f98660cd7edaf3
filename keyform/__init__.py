"""keyform: declare API keys in YAML, plan, apply; every secret goes straight to a secrets manager."""

__version__ = "0.1.0"
