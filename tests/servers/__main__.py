"""``python -m tests.servers``: compile the servers that take minutes, so that no test waits for it."""

from tests.servers.kubernetes import kubernetes_programs
from tests.servers.vault import vault_programs

for programs in (vault_programs, kubernetes_programs):
    print(programs())
