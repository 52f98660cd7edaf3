"""The other programs: bare httpx, octoDNS and Terraform, each doing its nearest equal."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.keyform_world import THREADS, served
from benchmarks.process import PYTHON, Failed, Run, run, script

_ROOT = Path(__file__).parent.parent

# As light as octoDNS can have it: one value in each record, and no check of the records' order.
_OCTODNS = """\
providers:
  declared: {class: octodns.provider.yaml.YamlProvider, directory: ./declared, enforce_order: false}
  live: {class: octodns.provider.yaml.YamlProvider, directory: ./live, enforce_order: false}
zones:
  example.com.: {sources: [declared], targets: [live]}
"""
_RECORD = """\
service-{i:05}:
  ttl: 300
  type: A
  value: 192.0.2.{a}
"""
_TERRAFORM = """\
resource "terraform_data" "key" {{
  for_each = toset([for i in range({count}) : format("service-%05d", i)])
  input    = {{ name = each.key, scopes = ["events:read", "events:write"] }}
}}
"""


def bare_creates(work: Path, count: int, *, stores: bool) -> Run:
    """The HTTP calls of an apply of ``count`` creates against a new service; with ``stores`` each secret is
    also stored and read back."""
    argv = [PYTHON, "-m", "benchmarks.bare_client", str(count), str(THREADS)]
    with served(work) as service:
        if not stores:
            return run(argv, folder=_ROOT, env=service.env)
        folder = work / f"bare-{len(list(work.glob('bare-*')))}"
        folder.mkdir()
        return run([*argv, str(folder)], folder=_ROOT, env=service.env)


class OctoDns:
    """A plan of ``count`` records, YAML against the same YAML."""

    def __init__(self, work: Path, count: int) -> None:
        try:
            self.title = f"octoDNS {version('octodns')}"
        except PackageNotFoundError:
            raise Failed("octoDNS is not installed; install with: pip install -e '.[bench]'") from None
        self._folder = work / "octodns"
        zone = "---\n" + "".join(_RECORD.format(i=i, a=i % 250 + 1) for i in range(count))
        for side in ("declared", "live"):
            (self._folder / side).mkdir(parents=True)
            (self._folder / side / "example.com.yaml").write_text(zone)
        (self._folder / "config.yaml").write_text(_OCTODNS)

    def plan(self) -> Run:
        """A plan that finds nothing to do. Raises ``Failed`` if it finds something."""
        done = run([script("octodns-sync"), "--config-file", "config.yaml"], folder=self._folder)
        if "No changes were planned" not in done.output:
            raise Failed("octoDNS did not say that no changes were planned")
        return done


class Terraform:
    """An apply and a plan of ``count`` resources that exist in Terraform's state alone."""

    def __init__(self, work: Path, count: int) -> None:
        self._count = count
        self._folder = work / "terraform"
        self._folder.mkdir()
        (self._folder / "main.tf").write_text(_TERRAFORM.format(count=count))
        self._run("init")

    @staticmethod
    def found() -> str | None:
        """Its name and version where it is on PATH."""
        if shutil.which("terraform") is None:
            return None
        told = re.search(r"Terraform v(\S+)", run(["terraform", "version"]).output)
        return f"Terraform {told[1]}" if told else "Terraform"

    def apply(self) -> Run:
        """Create every resource."""
        done = self._run("apply", "-auto-approve")
        if f"{self._count} added" not in done.output:
            raise Failed(f"terraform did not add {self._count} resources")
        return done

    def plan(self) -> Run:
        """A plan that finds nothing to do; exit code 2 would mean changes."""
        return self._run("plan", "-detailed-exitcode")

    def _run(self, verb: str, *options: str) -> Run:
        return run(
            ["terraform", verb, "-input=false", "-no-color", *options],
            folder=self._folder,
            env={"CHECKPOINT_DISABLE": "1"},
        )
