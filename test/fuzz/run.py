"""Coverage-guided fuzzing of the parsers: ``make fuzz ARGS="calibration uart --seconds 60"``.

Each target runs in a process of its own, by atheris (libFuzzer), which keeps what reaches new code
in ``out/fuzz/TARGET/corpus`` for the next run. An input that breaks what must hold ends its target
and lies in ``out/fuzz/TARGET`` then; made small and put into ``test/fuzz/findings/TARGET`` it is
tried by `make test` ever after.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from fuzz.material import FINDINGS, TARGETS

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name("results.json")
PAGE = ROOT / "docs" / "fuzzing.md"
_BEGIN, _END = "<!-- results -->", "<!-- end of results -->"
LONGEST_INPUT_BYTES = 16384
_SLOWEST_S = 20  # per input, on a machine that does other things, too


@dataclass(frozen=True)
class Result:
    """What a run of a target came to."""

    target: str
    runs: int
    edges: int
    seconds: float
    finding: str  # the file; "" if there is none
    what: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run targets one after the other; the exit code is 1 if there is a finding."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__.split("\n\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=int, default=60, help="per target (default %(default)s)")
    parser.add_argument("--memory", type=int, default=2048, metavar="MIB", help="at most")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "--table", action="store_true", help="write the results down, in docs/fuzzing.md, too"
    )
    options = parser.parse_args(arguments)
    for name in options.targets:
        if name not in TARGETS:
            parser.error(f"there is no target {name!r}, only {', '.join(TARGETS)}")
    if importlib.util.find_spec("atheris") is None:
        print(
            "atheris is not there (it has wheels for Linux on x86-64 and Python 3.11 to 3.13): "
            "the same targets are tried without it by `make test ARGS=test/fuzz`"
        )
        return 2
    if options.inside:
        _fuzz(options.targets[0], options.seconds, options.memory)
        return 0
    results = []
    for name in options.targets or TARGETS:
        results.append(_run(name, options.seconds, options.memory))
        print(_line(results[-1]), flush=True)
    if options.table:
        known = json.loads(RESULTS.read_text()) | {one.target: asdict(one) for one in results}
        kept = {name: known[name] for name in TARGETS if name in known}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
        PAGE.write_text(with_table(PAGE.read_text("utf-8")), "utf-8")
    return int(any(result.what for result in results))


def with_table(page: str) -> str:
    """Return the documentation's page with the table of `RESULTS` in it."""
    lines = [
        "| target | reads | runs | edges | seconds | found before |",
        "|---|---|---|---|---|---|",
    ]
    for name, entry in json.loads(RESULTS.read_text()).items():
        module = ast.parse(Path(__file__).with_name(f"{name}.py").read_text("utf-8"))
        about = (ast.get_docstring(module) or "").split("\n\n")[0].rstrip(".").replace("\n", " ")
        former = len(list((FINDINGS / name).glob("*")))
        lines.append(
            f"| {name} | {about} | {entry['runs']} | {entry['edges']} | {entry['seconds']:.0f} | "
            f"{former or '-'} |"
        )
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n" + "\n".join(lines) + f"\n{_END}{rest.partition(_END)[2]}"


def _line(result: Result) -> str:
    said = f"{result.what}; {result.finding}" if result.what else "no finding"
    return (
        f"{result.target:12} {result.runs:>9} runs in {result.seconds:4.0f} s, "
        f"{result.edges:>5} edges: {said}"
    )


def _run(target: str, seconds: int, memory_mib: int) -> Result:
    """Run a target in another process and read what libFuzzer says."""
    out = ROOT / "out" / "fuzz" / target
    (out / "corpus").mkdir(parents=True, exist_ok=True)
    before = set(out.glob("*-*"))
    begin_s = time.monotonic()
    command = [sys.executable, "-m", "fuzz.run", "--inside", target]
    command += ["--seconds", str(seconds), "--memory", str(memory_mib)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "test"), os.environ.get("PYTHONPATH", "")])
    with (out / "log.txt").open("wb") as log:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            check=False,
        )
    said = (out / "log.txt").read_text("utf-8", errors="replace")
    runs = re.findall(r"^(?:#|stat::number_of_executed_units: )(\d+)", said, re.MULTILINE)
    edges = re.findall(r"\bcov: (\d+)", said)
    new = sorted(set(out.glob("*-*")) - before)
    what = ""
    if done.returncode or new:
        errors = re.findall(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*", said, re.MULTILINE)
        faults = re.findall(r"ERROR: (.*)", said)
        what = f"{[*errors, *faults, f'ended with code {done.returncode}'][0]:.160}"
    return Result(
        target,
        int(runs[-1]) if runs else 0,
        max(map(int, edges), default=0),
        time.monotonic() - begin_s,
        str(new[0].relative_to(ROOT)) if new else "",
        what,
    )


def _fuzz(target: str, seconds: int, memory_mib: int) -> None:
    """Fuzz a target in this process, which that ends."""
    import atheris

    for name in TARGETS[target]:  # what came in already, as pickle, comes in again
        sys.modules.pop(name, None)
    with atheris.instrument_imports(include=list(TARGETS[target])):
        module = importlib.import_module(f"fuzz.{target}")
    out = ROOT / "out" / "fuzz" / target
    with tempfile.TemporaryDirectory() as given:
        for name, data in module.seeds().items():
            (Path(given) / name).write_bytes(data)
        for path in (FINDINGS / target).glob("*"):
            (Path(given) / path.name).write_bytes(path.read_bytes())
        atheris.Setup(
            [
                "fuzz",
                f"-max_total_time={seconds}",
                f"-rss_limit_mb={memory_mib}",
                f"-timeout={_SLOWEST_S}",
                f"-max_len={LONGEST_INPUT_BYTES}",
                f"-artifact_prefix={out}/",
                "-print_final_stats=1",
                str(out / "corpus"),
                given,
            ],
            module.one_input,
        )
        atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
