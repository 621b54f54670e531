"""Labels: HuPR's, OpenPose's and PURE's JSON, recordings, mean poses; markers, times, pulses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from fuzz.material import folder, refusal

from radar_pose_ros.datasets import hupr, pose2sim, pure, simulated, ubfc_rppg
from radar_pose_ros.models.baselines import MeanPoseBaseline
from radar_pose_ros.vision import video


def one_input(data: bytes) -> None:
    """Read a file as the first byte says."""
    with folder() as here:
        refused = refusal(
            lambda: _READERS[data[0] % len(_READERS) if data else 0](here, data[1:]), ValueError
        )
        assert not refused or str(here) in refused, f"names no file: {refused}"


def _hupr(here: Path, content: bytes) -> None:
    (here / "annotations.json").write_bytes(content)
    labels = hupr.read_annotations(here / "annotations.json", (3, 5))
    assert [*labels] == [3, 5]
    for one in labels.values():
        assert np.isfinite(one.keypoints_px).all() and np.isfinite(one.boxes_px).all()
        assert len(one.frames) == len(one.keypoints_px) == len(one.boxes_px)
        assert (np.diff(one.frames) > 0).all()


def _openpose(here: Path, content: bytes) -> None:
    (here / "trial" / "left_json").mkdir(parents=True)
    (here / "trial" / "left_json" / "left_000001.json").write_bytes(content)
    found, _ = pose2sim.read_detections(here / "trial")
    for one in found:
        assert one.keypoints_px.shape[:3] == one.confidence.shape
        assert not (one.confidence > 1).any()


def _pure(here: Path, content: bytes) -> None:
    images = here / "01-01" / "01-01"
    images.mkdir(parents=True)
    (images / "Image1392643993642815000.png").touch()
    (here / "01-01" / "01-01.json").write_bytes(content)
    pure.load(here, report=str)


def _recording(here: Path, content: bytes) -> None:
    (here / "recording.json").write_bytes(content)
    for name in ("range_doppler", "keypoints_px", "joints_m"):
        np.save(here / f"{name}.npy", np.zeros((2, 3), np.float32))
    assert len(simulated.load_recording(here).motions) == 2


def _mean_pose(here: Path, content: bytes) -> None:
    (here / "mean_pose.json").write_bytes(content)
    pose = MeanPoseBaseline.load(here / "mean_pose.json")
    assert np.isfinite(pose.offsets_m).all()


def _markers(here: Path, content: bytes) -> None:
    (here / "a.trc").write_bytes(content)
    found = pose2sim.read_trc(here / "a.trc")
    assert found.positions_m.shape == (len(found.times_s), len(found.markers), 3)
    assert found.positions_m.nbytes <= 1000 * len(content)


def _times(here: Path, content: bytes) -> None:
    (here / "a.csv").write_bytes(content)
    times_s = video.read_times(here / "a.csv")
    assert (np.diff(times_s) > 0).all()


def _pulse(here: Path, content: bytes) -> None:
    folder = here / "subject1"
    folder.mkdir()
    (folder / "vid.avi").touch()
    (folder / "ground_truth.txt").write_bytes(content)
    ubfc_rppg.load(here, report=str)


_READERS = (_hupr, _openpose, _pure, _recording, _mean_pose, _markers, _times, _pulse)


def seeds() -> dict[str, bytes]:
    """One file of each kind."""
    entry = {"image": "000000007.jpg", "joints": [[1.5, 2]] * 14, "bbox": [1, 2, 3, 4]}
    person = {"person_id": [-1], "pose_keypoints_2d": [1.0, 2.0, 0.5] * 26}
    stamps = [1392643993642815000 + 33333333 * n for n in range(3)]
    value = {"waveform": 80, "pulseRate": 61, "o2saturation": 97, "probeError": False}
    contents = {
        "hupr": [[entry, {**entry, "image": "8.jpg"}], []],
        "openpose": {"version": 1.3, "people": [person, {"pose_keypoints_2d": []}]},
        "pure": {
            "/Image": [{"Timestamp": stamps[0]}],
            "/FullPackage": [{"Timestamp": stamp, "Value": value} for stamp in stamps],
        },
        "recording": {"motions": ["walk", "walk"], "radar": {"loops": 16}},
        "mean_pose": {
            "offsets_m": [[0.1, -0.2]] * 3,
            "range_first_m": 0.1,
            "range_step_m": 0.05,
            "frames": 7,
        },
    }
    texts = {
        name: json.dumps(content, separators=(",", ":")) for name, content in contents.items()
    }
    header = "DataRate\tNumFrames\tNumMarkers\tUnits"
    texts["markers"] = (
        f"PathFileType\t4\t(X/Y/Z)\ta.trc\n{header}\n60\t2\t1\tmm\nFrame#\tTime\tHip\t\t\n\t\tX1\t"
        "Y1\tZ1\n1\t0.0\t1\t2\t3\n2\t0.02\t\t\t\n"
    )
    texts["times"] = "time\n0.0,x\n0.5\n\n1e0\n"
    texts["pulse"] = "1 2 3\n60 61 62\n0 0.5 1e0\n"
    return {
        name: bytes([number]) + text.encode() for number, (name, text) in enumerate(texts.items())
    }
