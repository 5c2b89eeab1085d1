"""Put a built version of the documentation into a site with several.

    python docs/publish.py docs/_build SITE VERSION

SITE/VERSION becomes the build. A version is a release (0.2, of which the latest patch is kept) or `dev`.
SITE/versions.json lists all for the choice in the sidebar, and SITE/index.html leads to the latest release.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path

VERSION = re.compile(r"dev|\d+\.\d+")

REDIRECT = """\
<!doctype html>
<meta charset="utf-8">
<title>filebackedarray</title>
<meta http-equiv="refresh" content="0; url={version}/">
<link rel="canonical" href="{version}/">
<a href="{version}/">Documentation of filebackedarray {version}</a>
"""


def versions(site: Path) -> list[str]:
    """Versions that a site has, the latest first, `dev` last."""
    found = [path.name for path in site.iterdir() if path.is_dir() and VERSION.fullmatch(path.name)]
    releases = sorted((name for name in found if name != "dev"), key=lambda name: [*map(int, name.split("."))])
    return [*releases[::-1], *(["dev"] if "dev" in found else [])]


def publish(build: Path, site: Path, version: str) -> None:
    """Put one version into a site.

    Args:
        build:
            Folder of the pages.

        site:
            Folder of the site; made if it is not there.

        version:
            Name of the version, and of its folder.

    Raises:
        ValueError: If that is no name of a version.
        FileNotFoundError: If the build has no page to begin with.
    """
    if not VERSION.fullmatch(version):
        raise ValueError(f"a version is 'dev' or like '0.2', not {version!r}")
    if not (build / "index.html").is_file():
        raise FileNotFoundError(f"{build} has no index.html")
    site.mkdir(parents=True, exist_ok=True)
    if (site / version).exists():
        shutil.rmtree(site / version)
    shutil.copytree(build, site / version, ignore=shutil.ignore_patterns(".doctrees", ".buildinfo"))
    there = versions(site)
    (site / "versions.json").write_text(json.dumps(there) + "\n", encoding="utf-8")
    (site / "index.html").write_text(REDIRECT.format(version=there[0]), encoding="utf-8")
    # GitHub Pages leaves out folders that begin with an underscore, unless told not to.
    (site / ".nojekyll").touch()


def main() -> None:
    """Publish a build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path)
    parser.add_argument("site", type=Path)
    parser.add_argument("version")
    arguments = parser.parse_args()
    try:
        publish(arguments.build, arguments.site, arguments.version)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
