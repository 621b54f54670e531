"""Human3.6M with its images, as CHUNYUWANG/H36M-Toolbox prepares it.

``annot/h36m_train.pkl`` and ``annot/h36m_validation.pkl`` label the images of four cameras in
``images/s_01_act_02_subact_01_ca_01/s_01_act_02_subact_01_ca_01_000001.jpg`` and so on; see
`radar_pose_ros.datasets.labelled_images`. A camera's ``T`` is its place in the world, in
millimetres. The 17 joints are those of H36M17 in its order: the toolbox takes the recorded joint
16 where others take 13, and both are the base of the neck. The true skeleton is used, not the
universal one, so errors are not to be compared with those of papers that used the latter.

The data set's licence allows academic use only and forbids passing it on. No file of it was at
hand: this is written from the description of its layout.
"""

from __future__ import annotations

from pathlib import Path

from radar_pose_ros.datasets import labelled_images
from radar_pose_ros.datasets.human36m import RATE_HZ, TEST_SUBJECTS, TRAIN_SUBJECTS
from radar_pose_ros.datasets.labelled_images import LabelledTake, Layout
from radar_pose_ros.skeleton.definitions import H36M17

SPLITS = {
    "train": ("annot/h36m_train.pkl", TRAIN_SUBJECTS),
    "validation": ("annot/h36m_validation.pkl", TEST_SUBJECTS),
}
# DenseWarper learns from every 20th window and is tested on every 64th.
WINDOWS_EVERY = {"train": 20, "validation": 64}
# By their numbers; 2 is the first one.
ACTIONS = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Posing", "Purchases"),
    *("Sitting", "SittingDown", "Smoking", "Photo", "Waiting", "Walking", "WalkDog"),
    "WalkTogether",
)
LAYOUT = Layout(
    skeleton=H36M17.name,
    licence="Human3.6M: academic use only, not to be passed on",
    # two of the cameras have 1002 rows, the others 1000; labels do not say which
    size_px=(1000, 1002),
    camera_ids=(0, 1, 2, 3),
    keys=("subject", "action", "subaction"),
    subject=lambda key: f"S{key[0]}",
    action=lambda key: (
        ACTIONS[key[1] - 2] if 0 <= key[1] - 2 < len(ACTIONS) else f"action {key[1]}"
    ),
    rate_hz=lambda key: RATE_HZ,
)


def load(root: Path | str, split: str, *, with_images: bool = False) -> list[LabelledTake]:
    """Read the labels of a split.

    Parameters
    ----------
    root : Path
        The folder that holds ``annot`` and ``images``.
    split : {"train", "validation"}
        Subjects 1, 5, 6, 7 and 8, or 9 and 11.
    with_images : bool
        Leave out takes of which a camera's folder of images is missing.

    Returns
    -------
    list of LabelledTake
        In H36M17, named "S9 action 2 subaction 1"; the action is "Directions".

    Raises
    ------
    FileNotFoundError
        If the file of labels is missing.
    ValueError
        If there is no such split, the file holds people of another one, or as
        `radar_pose_ros.datasets.labelled_images.load` raises it.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}, there are {', '.join(SPLITS)}")
    name, subjects = SPLITS[split]
    path = Path(root) / name
    takes = labelled_images.load([path], Path(root) / "images", LAYOUT, None, with_images)
    others = sorted({take.subject for take in takes} - {*subjects})
    if others:
        raise ValueError(f"{path}: holds {', '.join(others)}, who are not of {split}")
    return takes
