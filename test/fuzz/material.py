"""What all targets share: cases made of bytes, files for readers of files, and mutations.

A target is a module with ``one_input(data)``: for whatever bytes it returns if what must hold
holds, and raises anything else if not. ``seeds()`` are inputs that lead far into the parser.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# Of each target the modules whose code the fuzzer tries to reach.
TARGETS: dict[str, tuple[str, ...]] = {
    "dca1000": (
        "radar_pose_ros.radar.assembler",
        "radar_pose_ros.radar.dca1000",
    ),
    "replies": (
        "radar_pose_ros.radar.dca1000",
        "radar_pose_ros.radar.ports",
    ),
    "uart": ("radar_pose_ros.radar.tlv",),
    "cfg": (
        "radar_pose_ros.radar.ti_config",
        "radar_pose_ros.radar.waveform",
    ),
    "studio": (
        "radar_pose_ros.radar.ti_config",
        "radar_pose_ros.radar.waveform",
    ),
    "annotations": (
        "radar_pose_ros.datasets.hupr",
        "radar_pose_ros.datasets.pose2sim",
        "radar_pose_ros.datasets.pure",
        "radar_pose_ros.datasets.simulated",
        "radar_pose_ros.datasets.ubfc_rppg",
        "radar_pose_ros.datasets.face_videos",
        "radar_pose_ros.vision.video",
        "radar_pose_ros.models.baselines",
        "radar_pose_ros.documents",
    ),
    "settings": (
        "radar_pose_ros.documents",
        "radar_pose_ros.graphs",
        "radar_pose_ros.calibrate",
        "radar_pose_ros.datasets.hupr",
        "radar_pose_ros.datasets.human36m",
        "radar_pose_ros.models.detectors",
        "radar_pose_ros.training.recipe",
        "radar_pose_ros.training.claims",
        "yaml",
    ),
    "calibration": (
        "radar_pose_ros.vision.calibration_files",
        "radar_pose_ros.vision.camera",
        "radar_pose_ros.documents",
        "yaml",
        "tomllib",
    ),
    "manifest": (
        "radar_pose_ros.models.weights",
        "radar_pose_ros.documents",
    ),
    "bags": (
        "radar_pose_ros.mcap_index",
        "radar_pose_ros.recording",
        "radar_pose_ros.documents",
        "rosbags.rosbag2",
        "rosbags.serde",
    ),
    "captures": (
        "radar_pose_ros.radar.ports",
        "radar_pose_ros.radar.assembler",
        "radar_pose_ros.imports",
        "radar_pose_ros.recording",
    ),
    "arrays": (
        "radar_pose_ros.datasets",
        "pickle",
        "zipfile",
        "numpy.lib._format_impl",
        "numpy.lib.format",
    ),
}
FINDINGS = Path(__file__).with_name("findings")
# What parsers compare with, or add to what they have.
_TELLING = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 1 << 31, (1 << 32) - 1, (1 << 64) - 1)


class Material:
    """Bytes that decide what a case is, taken from the front; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> int:
        """How many bytes there still are."""
        return max(len(self._data) - self._at, 0)

    def take(self, count: int) -> bytes:
        """Return so many bytes, or those that are left."""
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, size: int = 1) -> int:
        """Return an unsigned number of so many bytes."""
        return int.from_bytes(self.take(size).ljust(size, b"\0"), "little")

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(self.left)


@contextmanager
def folder() -> Iterator[Path]:
    """Give a new, empty folder, and remove it with all that is in it."""
    memory = Path("/dev/shm")
    made = tempfile.mkdtemp(prefix="radar_pose_fuzz_", dir=memory if memory.is_dir() else None)
    try:
        yield Path(made)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def refusal(read: Callable[[], object], *allowed: type[Exception]) -> str:
    """Return what a reader says if it refuses as it may; "" if it does not refuse."""
    try:
        read()
        return ""
    except allowed as error:
        said = str(error)
    assert said, "an error that says nothing"
    assert len(said) < 4000, f"a message of {len(said)} characters: {said[:200]}"
    return said


def mutations(seeds: Sequence[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield changed copies of inputs, the same ones for the same number."""
    rng = random.Random(seed)
    for number in range(count):
        made = bytearray(seeds[number % len(seeds)])
        for _ in range(rng.randint(1, 4)):
            _change(made, seeds, rng)
        yield bytes(made)


def _change(made: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    at = rng.randrange(len(made) + 1)
    kind = rng.randrange(7)
    if kind == 0:
        del made[at : at + rng.randint(1, 32)]
    elif kind == 1:
        made[at:at] = rng.randbytes(rng.randint(1, 8))
    elif kind == 2 and at < len(made):
        made[at] ^= 1 << rng.randrange(8)
    elif kind == 3:
        size = rng.choice((1, 2, 4, 8))
        value = rng.choice(_TELLING) & ((1 << 8 * size) - 1)
        made[at : at + size] = value.to_bytes(size, rng.choice(("little", "big")))
    elif kind == 4:
        made[at:at] = made[rng.randrange(len(made) + 1) :][: rng.randint(1, 64)]
    elif kind == 5:
        other = rng.choice(seeds)
        made[at:] = other[rng.randrange(len(other) + 1) :]
    elif kind == 6:
        del made[at:]
