"""Are there known weaknesses in what requirements.txt pins? Asks OSV, then PyPI, with pip-audit.

A service that cannot be reached, or does not know of a package that everybody knows to be weak, is
not believed: its silence would say nothing. Exit code 0 if no weakness is known or nobody could be
asked, 1 if one is, 2 if pip-audit is not installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SERVICES = ("osv", "pypi")
KNOWN = ("requests", "2.19.0")  # CVE-2018-18074
TIMEOUT_S = 50


def report(service: str, requirements: Path) -> list[dict[str, Any]]:
    """Return what a service says of each package; empty if it cannot be asked."""
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", service]
    command += ["--requirement", str(requirements), "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        return list(json.loads(done.stdout)["dependencies"])
    except (subprocess.TimeoutExpired, ValueError, KeyError, TypeError):
        return []


def weaknesses(package: dict[str, Any]) -> list[str]:
    """Return the weaknesses of a package, each with the versions that lack it."""
    return [
        f"{package['name']} {package['version']}: {found['id']}, "
        f"mended in {' or '.join(found.get('fix_versions', [])) or 'no version yet'}"
        for found in package.get("vulns", [])
    ]


def main() -> int:
    """Print what is known of the pinned packages."""
    if subprocess.run([sys.executable, "-c", "import pip_audit"], capture_output=True).returncode:
        print("error: pip-audit is not installed: run `make setup`", file=sys.stderr)
        return 2
    pinned = (ROOT / "requirements.txt").read_text("utf-8")
    with tempfile.TemporaryDirectory() as folder:
        asked = Path(folder) / "requirements.txt"
        asked.write_text(f"{pinned}\n{'=='.join(KNOWN)}\n", "utf-8")
        for service in SERVICES:
            packages = report(service, asked)
            sound = [p for p in packages if (p["name"], p.get("version")) == KNOWN]
            if not any(map(weaknesses, sound)):
                continue
            others = [p for p in packages if p not in sound]
            unknown = [p["name"] for p in others if "skip_reason" in p]
            found = [line for package in others for line in weaknesses(package)]
            print(
                "\n".join(found or [f"{len(others) - len(unknown)} packages, no known weakness"])
            )
            if unknown:
                print(f"{service} does not know {len(unknown)}: {', '.join(unknown)}")
            return int(bool(found))
    print(f"audit not run: service unreachable ({', '.join(SERVICES)})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
