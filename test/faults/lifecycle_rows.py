"""R3: a hundred life cycles of every node, and every transition that is not allowed.

R6: a clock that never starts.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import psutil
from faults.every_node import CASES, Case
from faults.observer import FaultyError, Observer, surroundings
from faults.rows import Outcome, row
from faults.running import RunningGraph

LEGAL = {  # by state: transitions and where they lead to
    "unconfigured": {"configure": "inactive"},
    "inactive": {"activate": "active", "cleanup": "unconfigured"},
    "active": {"deactivate": "inactive"},
}
CYCLE = ("configure", "activate", "deactivate", "cleanup")
PUBLIC = (*CYCLE, "shutdown")
UNKNOWN_LABELS = ("fly", "on_configure_success", "transition_error", "create", "destroy")
UNKNOWN_NUMBERS = (8, 10, 30, 60, 99, 255)
# What the middleware takes for good it has taken in the first cycles.
FIRST_CYCLES = 5
RSS_GROWTH = 0.02
SETTLE_S = 0.5


class Resources(NamedTuple):
    """What a process holds."""

    files: int
    threads: int
    rss_bytes: int


def resources_of(process_id: int) -> Resources:
    """Return what a process holds when what ended a moment ago has gone."""
    time.sleep(SETTLE_S)
    process = psutil.Process(process_id)
    return Resources(process.num_fds(), process.num_threads(), process.memory_info().rss)


class Cycles:
    """Drives a node through its states, and tries what is not allowed in each."""

    def __init__(self, observer: Observer, node: str, rng: np.random.Generator) -> None:
        self._observer, self._node, self._rng = observer, node, rng
        self.refused = 0
        self.faults: list[str] = []

    def run_once(self) -> None:
        """Go around once; in each state, what is not allowed is tried in random order."""
        for transition in CYCLE:
            self.try_forbidden()
            if not self._observer.change(self._node, transition):
                raise FaultyError(
                    f"{transition} failed: {self._observer.last(self._node).sentence}"
                )

    def try_forbidden(self) -> None:
        """Ask for everything that is not allowed in the present state."""
        state = self._observer.state(self._node)
        allowed = {*LEGAL.get(state, ()), *(() if state == "finalized" else ("shutdown",))}
        labels = [label for label in (*PUBLIC, *UNKNOWN_LABELS) if label not in allowed]
        wrong = [(label, 0) for label in labels] + [("", number) for number in UNKNOWN_NUMBERS]
        for number in self._rng.permutation(len(wrong)):
            label, identity = wrong[number]
            if self._observer.change(self._node, label, identity):
                self.faults.append(f"{state}: {label or identity} was made")
            self.refused += 1
        now = self._observer.state(self._node)
        if now != state:
            self.faults.append(f"{state} became {now} by what is not allowed")


def cycle(case: Case, volume: int, seed: int) -> Outcome:
    """Drive a node through so many cycles."""
    if case.missing:
        return Outcome(False, f"not run: {case.missing} is not installed")
    rng = np.random.default_rng(seed)
    with surroundings() as folder:
        node = case.spec(folder, autostart=False)
        with RunningGraph([node]) as graph, Observer() as observer:
            process_id = graph.runner.process_ids[node.label]
            cycles = Cycles(observer, node.label, rng)
            done, before, after = 0, None, None
            first = min(FIRST_CYCLES, max(1, volume // 2))
            try:
                for done in range(1, volume + 1):
                    cycles.run_once()
                    if done == first:
                        before = resources_of(process_id)
                after = resources_of(process_id)
                observer.change(node.label, "shutdown")
                cycles.try_forbidden()
            except (FaultyError, psutil.Error) as error:
                cycles.faults.append(f"cycle {done}: {error}")
            faults = [*dict.fromkeys(cycles.faults)]
            if graph.runner.process_ids.get(node.label) != process_id:
                faults.append("the node ended")
            if graph.printed("Traceback"):
                faults.append("a traceback")
        if graph.runner.exit_code:
            faults.append(f"exit code {graph.runner.exit_code}")
    figures = f"{done} cycles, {cycles.refused} forbidden transitions refused"
    if before is not None and after is not None:
        growth = after.rss_bytes / before.rss_bytes - 1
        figures += (
            f"; files {before.files} to {after.files}, threads {before.threads} to "
            f"{after.threads}, RSS {before.rss_bytes / 2**20:.1f} MiB {100 * growth:+.1f} %"
        )
        if (after.files, after.threads) != (before.files, before.threads):
            faults.append("files or threads are left")
        if growth > RSS_GROWTH:
            faults.append("memory grows")
    return Outcome(not faults, "; ".join([figures, *faults[:5]]))


def _enter_cycles() -> None:
    for case in CASES:

        def run(volume: int, seed: int, case: Case = case) -> Outcome:
            return cycle(case, volume, seed)

        run.__name__ = f"cycle_{case.name}"
        row(
            "R3",
            fault=f"{case.name}: 100 life cycles, every forbidden transition in every state",
            must_hold="no exception, files and threads as before, RSS grows by 2 % at most",
            volume=100,
            unit="cycles",
        )(run)


_enter_cycles()


@row(
    "R6",
    fault="simulated time that never starts, for every node",
    must_hold="it becomes active, and goes on to say how it is",
    volume=len(CASES),
    unit="nodes",
)
def never_start_the_clock(volume: int, seed: int) -> Outcome:
    """Start nodes that wait for /clock, which nobody publishes; fewer than all at random."""
    faults, run, missing = [], 0, []
    chosen = np.random.default_rng(seed).permutation(len(CASES))[:volume]
    for case in [CASES[number] for number in sorted(chosen)]:
        if case.missing:
            missing.append(case.name)
            continue
        with surroundings() as folder:
            node = case.spec(folder, use_sim_time=True)
            with RunningGraph([node]) as graph, Observer() as observer:
                try:
                    begin_s = observer.wait_active(node.label).at_s
                    observer.wait(
                        lambda node=node, begin_s=begin_s, observer=observer: (
                            len(observer.since(node.label, begin_s)) >= 4
                        ),
                        6.0,
                        f"three more reports of {node.label}",
                    )
                except FaultyError as error:
                    faults.append(str(error))
                if graph.printed("Traceback"):
                    faults.append(f"a traceback of {node.label}")
        run += 1
    figures = f"{run} nodes active and reporting"
    figures += f"; not installed: {', '.join(missing)}" if missing else ""
    return Outcome(not faults, "; ".join([figures, *faults]))
