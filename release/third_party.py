"""The licences of what is built into a wheel: whether they are allowed, and their texts.

python release/third_party.py                # write LICENSES-THIRD-PARTY.txt
python release/third_party.py --check        # fail if that would change it, or if a licence is not allowed

Works without a network, on what Cargo has downloaded to build. `deny.toml` says what is allowed.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "LICENSES-THIRD-PARTY.txt"

#: Libraries of C that crates build: name, crate, licence, and where the crate has its text.
C_LIBRARIES = [
    ("libhdf5", "hdf5-metno-src", "HDF5", "ext/hdf5/LICENSE"),
    ("zlib", "libz-sys", "Zlib", "src/zlib/LICENSE"),
    ("libdeflate", "libdeflate-sys", "MIT", "libdeflate/COPYING"),
    ("libzstd", "zstd-sys", "BSD-3-Clause", "zstd/LICENSE"),
    ("liblz4", "lz4-sys", "BSD-2-Clause", "liblz4/lib/LICENSE"),
]

#: Crates that state no licence, and what they are under.
STATED_NOWHERE = {"hdf5-metno-src": "HDF5"}

#: Of several licences to choose from, the one whose text stands in a crate under these names is taken, in this order.
FILES = ["LICENSE-MIT*", "LICENSE-ZLIB*", "LICENSE*", "LICENCE*", "COPYING*", "license-mit*", "license*", "COPYRIGHT*"]

HEADER = """\
What is built into the binary wheels of filebackedarray besides its own code, which is under the MIT licence (LICENSE),
and the licences of it. Made by release/third_party.py.
"""


@dataclass(frozen=True)
class Part:
    """Something that a wheel holds."""

    name: str
    version: str
    licence: str
    text: str


def metadata() -> dict[str, Any]:
    """What Cargo says about all crates."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--all-features"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"cargo metadata: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def licence_of(package: dict[str, Any]) -> str:
    """The expression that a crate states, as SPDX writes it."""
    stated = package["license"] or STATED_NOWHERE.get(package["name"], "")
    return re.sub(r"\s*/\s*", " OR ", stated)


def is_allowed(expression: str, allowed: set[str]) -> bool:
    """Whether an SPDX expression can be satisfied by licences that are allowed."""
    tokens = re.findall(r"[()]|\b(?:AND|OR)\b|[^\s()]+(?: WITH [^\s()]+)?", expression)
    position = 0

    def operand() -> bool:
        nonlocal position
        token = tokens[position] if position < len(tokens) else ""
        position += 1
        if token != "(":
            return token in allowed
        inner = either()
        position += 1  # the closing one
        return inner

    def both() -> bool:
        nonlocal position
        result = operand()
        while position < len(tokens) and tokens[position] == "AND":
            position += 1
            result = operand() and result
        return result

    def either() -> bool:
        nonlocal position
        result = both()
        while position < len(tokens) and tokens[position] == "OR":
            position += 1
            result = both() or result
        return result

    return either() and position == len(tokens)


def refused(found: dict[str, Any]) -> list[str]:
    """Crates whose licence is not allowed."""
    allowed = set(tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))["licenses"]["allow"])
    packages = sorted(found["packages"], key=lambda package: package["name"])
    return [
        f"{package['name']} {package['version']}: {licence_of(package) or 'no licence'}"
        for package in packages
        if not is_allowed(licence_of(package), allowed)
    ]


def linked(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Crates whose code is in the extension module: neither of macros nor only needed to build or test."""
    packages = {package["id"]: package for package in found["packages"]}
    nodes = {node["id"]: node for node in found["resolve"]["nodes"]}
    roots = [package["id"] for package in found["packages"] if package["name"] == "filebackedarray-python"]
    waiting, seen = roots, set(roots)
    while waiting:
        here = packages[waiting.pop()]
        if here["source"] is not None:
            yield here
        for dependency in nodes[here["id"]]["deps"]:
            other = packages[dependency["pkg"]]
            is_macro = any("proc-macro" in target["kind"] for target in other["targets"])
            is_normal = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_normal and not is_macro and other["id"] not in seen:
                seen.add(other["id"])
                waiting.append(other["id"])


def text_of(package: dict[str, Any]) -> str:
    """The text of a crate's licence; empty if it comes without."""
    folder = Path(package["manifest_path"]).parent
    for pattern in FILES:
        files = sorted(path for path in folder.glob(pattern) if path.is_file())
        if files:
            return files[0].read_text(encoding="utf-8", errors="replace")
    return ""


def parts(found: dict[str, Any]) -> list[Part]:
    """What a wheel holds, with its licences."""
    crates = {package["name"]: package for package in linked(found)}
    everything = []
    for name, crate, licence, path in C_LIBRARIES:
        package = crates[crate]
        text = (Path(package["manifest_path"]).parent / path).read_text(encoding="utf-8", errors="replace")
        everything.append(Part(name, f"in the crate {crate} {package['version']}", licence, text))
    for package in sorted(crates.values(), key=lambda package: package["name"]):
        # This one is nothing but libhdf5.
        if package["name"] not in STATED_NOWHERE:
            everything.append(Part(package["name"], package["version"], licence_of(package), text_of(package)))
    return everything


def report(everything: list[Part]) -> str:
    """All of them, those with the same text together."""
    by_text: dict[str, list[Part]] = {}
    for part in everything:
        text = "\n".join(line.rstrip() for line in part.text.strip().splitlines())
        by_text.setdefault(text, []).append(part)
    sections = [HEADER]
    for text, those in by_text.items():
        names = "\n".join(f"{part.name} {part.version} ({part.licence})" for part in those)
        if not text:
            if not all("Apache-2.0" in re.split(r" OR ", part.licence) for part in those):
                raise SystemExit(f"no text of the licence of {names}")
            text = "Without a text of its own; under the Apache License 2.0, which stands with another in this file."
        sections.append(f"{'=' * 80}\n{names}\n{'-' * 80}\n{text}\n")
    return "\n".join(sections)


def main() -> None:
    """Write the file, or look whether it is right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing")
    arguments = parser.parse_args()
    found = metadata()
    not_allowed = refused(found)
    if not_allowed:
        raise SystemExit("licences that deny.toml does not allow:\n" + "\n".join(not_allowed))
    text = report(parts(found))
    if not arguments.check:
        OUTPUT.write_text(text, encoding="utf-8")
    elif not OUTPUT.is_file() or OUTPUT.read_text(encoding="utf-8") != text:
        raise SystemExit(f"{OUTPUT.name} is not of these crates: run 'python release/third_party.py'")
    print(f"licences of {len(found['packages'])} crates are allowed")


if __name__ == "__main__":
    main()
