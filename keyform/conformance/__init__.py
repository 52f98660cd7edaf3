"""One test suite per port, for keyform's own implementations and for plug-ins.

Subclass a suite in a pytest module, give it the fixtures that its docstring names, and run pytest. It
needs pytest; nothing else in keyform does.
"""

import pytest

pytest.register_assert_rewrite(
    "keyform.conformance.service",
    "keyform.conformance.state_backend",
    "keyform.conformance.store",
    "keyform.conformance.store_basics",
    "keyform.conformance.write_only_store",
)
