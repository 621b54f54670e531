"""Accounts of a graph: what went into each stage is what came out and what was counted as lost.

Everything is taken from what the nodes say of themselves in their diagnostics, after the sources
have stopped and nothing is under way any more. Then each account closes exactly, or something went
missing that no node noticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from radar_pose_ros.graphs import NodeSpec, flat

Values = Mapping[str, Mapping[str, str]]
"""What nodes said last, by their full names."""

BEFORE = "published before it was heard"


@dataclass(frozen=True)
class Entry:
    """One number of an account.

    Parameters
    ----------
    node : str
        Who counts it, by the full name.
    key : str
        Under which name. One that ends with * is the sum of all names that begin so.
    label : str
        What it is.
    times : int
        Factor; negative to subtract.
    without : sequence of str
        Names that such a sum leaves out.
    """

    node: str
    key: str
    label: str
    times: int = 1
    without: Sequence[str] = ()

    def value(self, values: Values) -> int:
        """Return the number; 0 if the node has not counted any.

        Raises
        ------
        ValueError
            If what the node said is no number.
        """
        said = values.get(self.node, {})
        if self.key.endswith("*"):
            prefix = self.key[:-1]
            names = [n for n in said if n.startswith(prefix) and n not in self.without]
        else:
            names = [self.key] if self.key in said else []
        return self.times * sum(int(said[name]) for name in names)


@dataclass(frozen=True)
class Account:
    """Two sums that have to be equal.

    Parameters
    ----------
    name : str
    given, found : sequence of Entry
        What went in, and what became of it.
    """

    name: str
    given: Sequence[Entry]
    found: Sequence[Entry]

    @property
    def nodes(self) -> set[str]:
        """The full names of those who count."""
        return {entry.node for entry in (*self.given, *self.found)}


@dataclass(frozen=True)
class Balance:
    """An account with its numbers.

    Parameters
    ----------
    name : str
    given, found : sequence of (str, int)
        Labels and numbers.
    unknown : str
        Why it cannot be told whether it closes; empty if it can.
    """

    name: str
    given: Sequence[tuple[str, int]]
    found: Sequence[tuple[str, int]]
    unknown: str = ""

    @property
    def difference(self) -> int:
        """What is missing of that which went in; negative if more came out."""
        return sum(n for _, n in self.given) - sum(n for _, n in self.found)

    @property
    def closes(self) -> bool:
        """Whether both sums are known and equal."""
        return not self.unknown and self.difference == 0

    def __str__(self) -> str:
        """Return it in one line; what is 0 on the right hand is left out."""
        left = " + ".join(f"{n} {label}" for label, n in self.given)
        right = " + ".join(f"{n} {label}" for label, n in self.found if n) or "0"
        verdict = "closes" if self.closes else self.unknown or f"{self.difference} missing"
        return f"{self.name}: {left} = {right}: {verdict}"


def balance(account: Account, values: Values, restarted: Iterable[str] = ()) -> Balance:
    """Return an account with the numbers that the nodes said.

    Parameters
    ----------
    account : Account
    values : mapping
    restarted : iterable of str
        Nodes that were started again: what they had counted until then nobody knows any more.
    """
    again = sorted(account.nodes & {*restarted})
    silent = sorted(node for node in account.nodes if node not in values)
    unknown = f"not known: {', '.join(silent)} did not say anything" if silent else ""
    if again:
        unknown = f"not known: {', '.join(again)} was started again"
    try:
        given = [(entry.label, entry.value(values)) for entry in account.given]
        found = [(entry.label, entry.value(values)) for entry in account.found]
    except ValueError as error:  # the kernel's drops, where it does not tell them
        return Balance(account.name, [], [], f"not known: {error}")
    return Balance(account.name, given, found, unknown)


# -- what the nodes count --------------------------------------------------------------------


def _full(node: NodeSpec) -> str:
    return f"/{node.label}"


def _resolve(node: NodeSpec, topic: str) -> str:
    """Return the full name of a topic that a node calls by this name."""
    name = dict(node.remappings).get(topic, topic)
    return name if name.startswith("/") else "/".join(["", *node.label.split("/")[:-1], name])


def _views(node: NodeSpec) -> list[str]:
    return str(node.parameters.get("views", "camera_0 camera_1 camera_2 camera_3")).split()


def _poses(node: NodeSpec) -> str:
    return str(node.parameters.get("poses", "pose2d"))


def _from_cards(node: NodeSpec) -> bool:
    return node.parameters.get("source") != "uart"


def _from_heatmaps(node: NodeSpec) -> bool:
    return node.parameters.get("input") != "points"


RADARS = ("radar_h", "radar_v")
# Topics that a node publishes and whose messages it counts as `TOPIC total`.
PUBLISHED: dict[str, Callable[[NodeSpec], Sequence[str]]] = {
    "radar_driver": lambda node: ["adc"] if _from_cards(node) else ["points"],
    "radar_preprocessor": lambda node: ["heatmap"],
    "mamba_pose": lambda node: ["pose2d"] if _from_heatmaps(node) else [],
    "pose_refiner": lambda node: [f"refined/{_poses(node)}"],
    "pose_lifter": lambda node: ["pose3d"],
    "rig_emulator": lambda node: [f"{view}/pose2d" for view in _views(node)],
    "densewarper": lambda node: ["pose3d"],
    "camera_source": lambda node: (
        ["image"] if node.parameters.get("transport") != "compressed" else []
    ),
}
# Topics that a node reads with the transport's numbers, and what it calls those that it missed.
READ: dict[str, Callable[[NodeSpec], Mapping[str, str]]] = {
    "radar_preprocessor": lambda node: {"adc": "frames lost on the way here"},
    "mamba_pose": lambda node: (
        {f"{radar}/heatmap": f"heatmaps of {radar} lost on the way here" for radar in RADARS}
        if _from_heatmaps(node)
        else {}
    ),
    "pose_refiner": lambda node: {_poses(node): "poses lost on the way here"},
    "pose_lifter": lambda node: {"pose2d": "poses lost on the way here"},
    "densewarper": lambda node: {
        f"{view}/pose2d": f"{view}: shots lost on the way here" for view in _views(node)
    },
    "rppg": lambda node: (
        {"image": "images lost on the way here"}
        if node.parameters.get("transport") != "compressed"
        else {}
    ),
}


def accounts(nodes: Sequence[NodeSpec]) -> list[Account]:
    """Return the accounts of a graph, in the order of its data."""
    parts = flat(nodes)
    found = [*_of_cards(parts), *_of_ways(parts)]
    for node in parts:
        of = _OF_NODES.get(node.executable)
        found += of(node) if of is not None else []
    return found


def without_account(nodes: Sequence[NodeSpec]) -> list[str]:
    """Return the full names of nodes that are in no account."""
    known = {name for account in accounts(nodes) for name in account.nodes}
    return [_full(node) for node in flat(nodes) if _full(node) not in known]


def _of_cards(parts: Sequence[NodeSpec]) -> Iterator[Account]:
    """Yield what becomes of the packets of emulated cards."""
    emulators = [node for node in parts if node.executable == "radar_emulator"]
    drivers = [node for node in parts if node.executable == "radar_driver" and _from_cards(node)]
    for emulator in emulators:
        for radar in RADARS:
            driver = next((d for d in drivers if d.label.endswith(f"{radar}/radar_driver")), None)
            if driver is None:
                continue
            card, host = _full(emulator), _full(driver)
            kernel = Entry(host, "kernel_drops", "dropped by the kernel")
            yield Account(
                f"{radar}, packets on the wire",
                [Entry(card, f"{radar} packets_sent", "sent by the card")],
                [Entry(host, "datagrams", "received by the driver"), kernel],
            )
            yield Account(
                f"{radar}, packets that are missing",
                [
                    Entry(card, f"{radar} packets_dropped", "lost on purpose"),
                    Entry(card, f"{radar} packets_unsent", "unplugged"),
                    kernel,
                ],
                [
                    Entry(host, "packets_lost", "counted as lost by the driver"),
                    Entry(card, f"{radar} packets_untold", "at the end of a stream, untold"),
                ],
            )
    for driver in drivers:
        host = _full(driver)
        yield Account(
            f"{driver.label}, frames",
            [
                Entry(host, "frames_complete", "complete"),
                Entry(host, "frames_incomplete", "with gaps"),
            ],
            [
                Entry(host, "adc total", "published"),
                Entry(host, "dropped: frames that could not be published in time", "overwritten"),
            ],
        )


def _of_ways(parts: Sequence[NodeSpec]) -> Iterator[Account]:
    """Yield what becomes of messages between two nodes."""
    publishers: dict[str, list[Entry]] = {}
    for node in parts:
        for topic in PUBLISHED.get(node.executable, lambda node: ())(node):
            entry = Entry(_full(node), f"{topic} total", "published")
            publishers.setdefault(_resolve(node, topic), []).append(entry)
    for node in parts:
        for topic, lost in READ.get(node.executable, lambda node: {})(node).items():
            resolved, reader = _resolve(node, topic), _full(node)
            if resolved in publishers:
                yield Account(
                    f"{resolved.lstrip('/')} to {node.label}",
                    publishers[resolved],
                    [
                        Entry(reader, f"{topic}: came", "came"),
                        Entry(reader, f"dropped: {lost}", "lost on the way"),
                        Entry(reader, f"{topic}: {BEFORE}", BEFORE),
                    ],
                )


def _refused(node: NodeSpec, topic: str, *without: str) -> Entry:
    names = tuple(f"dropped: {name}" for name in without)
    return Entry(_full(node), f"dropped: {topic}: *", "refused", without=names)


def _of_preprocessor(node: NodeSpec) -> list[Account]:
    name = _full(node)
    return [
        Account(
            node.label,
            [Entry(name, "adc: came", "frames came")],
            [
                Entry(name, "heatmap total", "heatmaps"),
                # Of numbers of frames, not of messages.
                _refused(node, "adc", "adc: frames that never came"),
            ],
        )
    ]


def _of_mamba(node: NodeSpec) -> list[Account]:
    if not _from_heatmaps(node):
        return []
    name = _full(node)

    def dropped(reason: str, label: str) -> Entry:
        return Entry(name, f"dropped: {reason}", label)

    return [
        Account(
            f"{node.label}, heatmaps",
            [Entry(name, f"{radar}/heatmap: came", f"came of {radar}") for radar in RADARS],
            [
                Entry(name, "pairs", "in pairs", 2),
                Entry(name, "heatmaps that went on alone", "alone"),
                dropped("heatmaps that came too late or twice", "too late or twice"),
                *(_refused(node, f"{radar}/heatmap") for radar in RADARS),
                Entry(name, "heatmaps that wait for the other radar's", "waiting"),
            ],
        ),
        Account(
            f"{node.label}, frames",
            [
                Entry(name, "pairs", "pairs"),
                Entry(name, "heatmaps that went on alone", "single heatmaps"),
            ],
            [
                Entry(name, "pose2d total", "poses"),
                Entry(name, "frames that only filled a window", "filled a window"),
                dropped("frames for which the network had no time", "pushed out"),
                dropped("windows without an estimate: newer frames were waiting", "passed over"),
                dropped("windows with too many missing frames", "too many missing"),
                dropped("estimates with NaN", "NaN"),
            ],
        ),
    ]


def _of_refiner(node: NodeSpec) -> list[Account]:
    name, poses = _full(node), _poses(node)
    return [
        Account(
            f"{node.label}, poses",
            [Entry(name, f"{poses}: came", "came")],
            [
                Entry(name, "poses refined", "refined"),
                Entry(name, "dropped: poses for which there was no time", "no time"),
                Entry(name, "dropped: poses of the same instant", "of the same instant"),
                _refused(node, poses),
            ],
        ),
        Account(
            f"{node.label}, frames",
            [Entry(name, "frames made", "made")],
            [
                Entry(name, f"refined/{poses} total", "published"),
                Entry(name, "dropped: frames that waited when deactivated", "waited at the end"),
            ],
        ),
    ]


def _of_lifter(node: NodeSpec) -> list[Account]:
    name = _full(node)
    reasons = {
        "poses for which there was no time": "no time",
        "poses that there was no time to lift": "no time to lift",
        "poses of the same instant": "of the same instant",
        "poses of streams that ended too soon after others": "of short streams",
        "poses that waited when deactivated": "waited at the end",
    }
    return [
        Account(
            node.label,
            [Entry(name, "pose2d: came", "poses came")],
            [
                Entry(name, "pose3d total", "lifted"),
                *(Entry(name, f"dropped: {reason}", label) for reason, label in reasons.items()),
                _refused(node, "pose2d"),
            ],
        )
    ]


def _of_densewarper(node: NodeSpec) -> list[Account]:
    name, views = _full(node), _views(node)
    late = "instants without a pose: younger shots were waiting"
    return [
        Account(
            f"{node.label}, shots",
            [Entry(name, f"{view}/pose2d: came", f"came of {view}") for view in views],
            [
                Entry(name, "shots looked at", "looked at"),
                Entry(name, "dropped: shots for which there was no time", "no time"),
                *(_refused(node, f"{view}/pose2d") for view in views),
            ],
        ),
        Account(
            f"{node.label}, instants",
            [Entry(name, "instants", "instants")],
            [
                Entry(name, "pose3d total", "poses"),
                Entry(name, "instants with one view only", "of one view only"),
                Entry(name, "instants between two that are computed", "between two computed"),
                Entry(name, f"dropped: {late}", "no time"),
            ],
        ),
    ]


def _of_rppg(node: NodeSpec) -> list[Account]:
    compressed = node.parameters.get("transport") == "compressed"
    name, topic = _full(node), "image/compressed" if compressed else "image"
    return [
        Account(
            node.label,
            [Entry(name, f"{topic}: came", "images came")],
            [
                Entry(name, "images looked at", "looked at"),
                Entry(name, "dropped: images for which there was no time", "no time"),
                _refused(node, topic),
            ],
        )
    ]


_OF_NODES: dict[str, Callable[[NodeSpec], list[Account]]] = {
    "radar_preprocessor": _of_preprocessor,
    "mamba_pose": _of_mamba,
    "pose_refiner": _of_refiner,
    "pose_lifter": _of_lifter,
    "densewarper": _of_densewarper,
    "rppg": _of_rppg,
}
