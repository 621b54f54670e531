"""MPI-INF-3DHP with its images, in the layout of DenseWarper.

``annot/3dhp_train.pkl`` and ``annot/3dhp_validation.pkl`` label the images of four of the fourteen
cameras in folders ``images/s_1_seq_1_ca_0`` and so on; see
`radar_pose_ros.datasets.labelled_images`. ``action`` is the number of the subject, ``seq`` that of
the take. A camera's ``T`` is the t of ``x_camera = R x_world + t``, in millimetres.

Who was held out is not published. A choice: S8 is, and both files are read, whoever is in which.

The data set may be used for research, not commercially. No file of this layout was at hand: this
is written from its description.
"""

from __future__ import annotations

from pathlib import Path

from radar_pose_ros.datasets import labelled_images
from radar_pose_ros.datasets.labelled_images import LabelledTake, Layout
from radar_pose_ros.skeleton.definitions import MPI17

FILES = ("annot/3dhp_train.pkl", "annot/3dhp_validation.pkl")
SPLITS = {"train": ("S1", "S2", "S3", "S4", "S5", "S6", "S7"), "test": ("S8",)}
# DenseWarper learns from every 6th window and is tested on every 5th.
WINDOWS_EVERY = {"train": 6, "test": 5}
# Subject and sequence of the takes at 50 Hz (the data set's mpii_get_sequence_info.m).
_FAST = ((1, 2), (3, 1), (3, 2), (5, 1), (5, 2))
LAYOUT = Layout(
    skeleton=MPI17.name,
    licence="MPI-INF-3DHP: research only, not commercially",
    size_px=(2048, 2048),
    camera_ids=(0, 2, 7, 8),
    keys=("action", "seq"),
    subject=lambda key: f"S{key[0]}",
    action=lambda key: f"Seq{key[1]}",
    rate_hz=lambda key: 50.0 if key in _FAST else 25.0,
    stored_translation=True,
)


def load(root: Path | str, split: str, *, with_images: bool = False) -> list[LabelledTake]:
    """Read the labels of a split.

    Parameters
    ----------
    root : Path
        The folder that holds ``annot`` and ``images``.
    split : {"train", "test"}
        S1 to S7, or S8.
    with_images : bool
        Leave out takes of which a camera's folder of images is missing.

    Returns
    -------
    list of LabelledTake
        In MPI17, named "S8 seq 1".

    Raises
    ------
    FileNotFoundError
        If there is no file of labels.
    ValueError
        If there is no such split, or as `radar_pose_ros.datasets.labelled_images.load` raises it.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, there are {', '.join(SPLITS)}")
    root = Path(root)
    there = [root / name for name in FILES if (root / name).is_file()]
    if not there:
        raise FileNotFoundError(f"{root}: no {' and no '.join(FILES)}")
    return labelled_images.load(there, root / "images", LAYOUT, SPLITS[split], with_images)
