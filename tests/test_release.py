"""What surrounds the code: licences, the site of the documentation, links within it, versions that should agree."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.extend([str(ROOT / "docs"), str(ROOT / "release")])

import audit  # noqa: E402
import links  # noqa: E402
import publish  # noqa: E402
import third_party  # noqa: E402

ALLOWED = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"}


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0", False),
        ("", False),
        ("GPL-3.0 OR MIT", True),
        ("GPL-3.0 AND MIT", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("MIT WITH LLVM-exception", False),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", True),
        ("(MIT OR Apache-2.0) AND GPL-3.0", False),
        ("GPL-3.0 OR MIT AND Unicode-3.0", True),
        ("MIT OR", False),
        ("MIT GPL-3.0", False),
    ],
)
def test_expressions_of_licences(expression: str, allowed: bool) -> None:
    assert third_party.is_allowed(expression, ALLOWED) is allowed


def test_a_crate_without_a_licence_is_refused() -> None:
    crate = {"name": "nobody's", "version": "1.0.0", "license": None}
    assert third_party.refused({"packages": [crate]}) == ["nobody's 1.0.0: no licence"]


def test_licences_of_all_c_libraries_are_there() -> None:
    text = third_party.OUTPUT.read_text(encoding="utf-8")
    for name, *_ in third_party.C_LIBRARIES:
        assert re.search(rf"^{name} in the crate", text, re.MULTILINE)
    for words in ("The HDF Group", "Jean-loup Gailly", "Eric Biggers", "Meta Platforms", "LZ4 Library"):
        assert words in text


def answer(monkeypatch: pytest.MonkeyPatch, stdout: str, stderr: str = "") -> audit.Audit:
    """What an audit makes of an answer of pip-audit."""
    done = subprocess.CompletedProcess([], 0, stdout, stderr)
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: done)
    found = audit.Audit()
    found.packages()
    return found


def test_an_audit_says_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    fault = {"id": "PYSEC-1", "fix_versions": ["2.0"]}
    entries: list[dict[str, Any]] = [{"name": "numpy", "version": "1.0", "vulns": [fault]}]
    found = answer(monkeypatch, json.dumps({"dependencies": entries}))
    assert found.faults == ["numpy 1.0: PYSEC-1, mended in 2.0"]
    assert not found.omitted


def test_an_audit_says_what_it_did_not_look_at(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [{"name": "numpy", "skip_reason": "not found"}, {"name": "scipy", "version": "1.0", "vulns": []}]
    found = answer(monkeypatch, json.dumps({"dependencies": entries}))
    assert not found.faults
    assert "1 of 2" in found.omitted[0]
    found = answer(monkeypatch, "", "Traceback\nConnectionError: no route")
    assert found.omitted == ["advisories about Python packages: ConnectionError: no route"]


def test_an_audit_without_cargo_deny_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "CARGO_DENY", None)
    found = audit.Audit()
    found.crates()
    assert "cargo-deny is not installed" in found.omitted[0]


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<p id="here"><a href="b.html#there">b</a><a href="#here">a</a><img src="c.svg">')
    (tmp_path / "b.html").write_text('<a href="https://example.org/x">x</a><a href="a.html#gone">a</a>')
    assert links.broken(tmp_path) == ["a.html: b.html#there", "a.html: c.svg", "b.html: a.html#gone"]
    assert links.broken(tmp_path / "nothing") == [f"{tmp_path / 'nothing'} has no pages"]


def test_versions_of_the_documentation_stand_side_by_side(tmp_path: Path) -> None:
    build, site = tmp_path / "build", tmp_path / "site"
    (build / "_static").mkdir(parents=True)
    page = build / "index.html"
    for version, text in [("dev", "1"), ("0.9", "2"), ("0.10", "3"), ("0.9", "4")]:
        page.write_text(text)
        publish.publish(build, site, version)
    assert json.loads((site / "versions.json").read_text()) == ["0.10", "0.9", "dev"]
    assert "url=0.10/" in (site / "index.html").read_text()
    assert [(site / name / "index.html").read_text() for name in ("dev", "0.9", "0.10")] == ["1", "4", "3"]
    assert (site / ".nojekyll").is_file()


def test_what_is_no_version_or_no_build_is_refused(tmp_path: Path) -> None:
    for version in ("../up", "v1", "1.2.3", ""):
        with pytest.raises(ValueError, match="a version is"):
            publish.publish(tmp_path, tmp_path / "site", version)
    with pytest.raises(FileNotFoundError, match=r"no index\.html"):
        publish.publish(tmp_path, tmp_path / "site", "dev")
    assert not (tmp_path / "site").exists()


def test_versions_agree() -> None:
    stated = re.search(r'^version = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert stated
    assert cited
    assert stated[1] == cited[1]


def test_actions_are_pinned_by_what_nobody_can_change() -> None:
    workflows = list((ROOT / ".github" / "workflows").glob("*.yml"))
    assert workflows
    uses = [line for path in workflows for line in path.read_text().splitlines() if "uses:" in line]
    assert [line for line in uses if not re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []
