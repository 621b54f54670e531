"""Keypoint metrics against closed forms, pycocotools and published numbers."""

from __future__ import annotations

import contextlib
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from tolerances import assert_close

from radar_pose_ros.metrics import keypoints as metrics
from radar_pose_ros.skeleton.definitions import HUPR14, JHMDB15

# nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles
COCO_SIGMAS = np.repeat([26, 25, 35, 79, 72, 62, 107, 87, 89], [1, 2, 2, 2, 2, 2, 2, 2, 2]) / 1000


def people(rng: np.random.Generator, frames: int = 40) -> np.ndarray:
    """Random, roughly person-sized poses."""
    return rng.uniform(60, 200, (frames, 1, 2)) + rng.uniform(-50, 50, (frames, 14, 2))


def test_similarity_closed_form() -> None:
    """A joint at the distance sqrt(2 area) 2 sigma has the similarity 1 / e."""
    true = np.zeros((14, 2))
    area = 800.0
    predicted = np.stack(
        (math.sqrt(2 * area) * 2 * np.array(HUPR14.oks_sigmas), np.zeros(14)), axis=-1
    )
    assert_close(metrics.joint_similarity(predicted, true, area), np.full(14, math.exp(-1)))
    assert_close(metrics.oks(predicted, true, area), math.exp(-1))


def test_area_is_half_the_box() -> None:
    points = np.array([[10.0, 20.0], [30.0, 60.0], [20.0, 30.0]])
    assert metrics.person_area(points) == 0.5 * 20 * 40
    assert metrics.person_area(points, [0, 0, 100, 50]) == 2500
    assert metrics.person_area(points[:1]) == 1  # never zero: a similarity is divided by it


def test_missing_estimate_is_a_miss_and_missing_truth_is_not_counted() -> None:
    true = np.zeros((2, 14, 2))
    true[..., 1] = np.arange(14)
    predicted = true.copy()
    predicted[0, 3] = np.nan
    true[1, 5] = np.nan
    assert_close(metrics.oks(predicted, true, [100, 100]), [13 / 14, 1.0])
    assert metrics.average_precision([np.nan, 1.0], "fraction") == 0.5


@pytest.mark.parametrize("spread_px", [2.0, 6.0, 15.0])
@pytest.mark.parametrize("tied", [True, False])
def test_ap_equals_pycocotools(rng: np.random.Generator, spread_px: float, tied: bool) -> None:
    """The same numbers as COCOeval with 14 sigmas and half-box areas, scores tied or not."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    true = people(rng)
    predicted = true + rng.normal(0, spread_px, true.shape)
    area = metrics.person_area(true)
    scores = np.ones(len(true)) if tied else rng.uniform(0, 1, len(true))

    def flat(points: np.ndarray) -> list[float]:
        return np.concatenate((points, np.full((14, 1), 2.0)), -1).ravel().tolist()

    annotations = [
        {
            "id": k + 1,
            "image_id": k,
            "category_id": 1,
            "keypoints": flat(true[k]),
            "num_keypoints": 14,
            "area": float(area[k]),
            "bbox": [0, 0, 1, 1],
            "iscrowd": 0,
        }
        for k in range(len(true))
    ]
    results = [
        {
            "image_id": k,
            "category_id": 1,
            "keypoints": flat(predicted[k]),
            "score": float(scores[k]),
        }
        for k in range(len(true))
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = coco.COCO()
        dataset.dataset = {
            "images": [{"id": k} for k in range(len(true))],
            "annotations": annotations,
            "categories": [{"id": 1, "name": "person"}],
            "info": {},
        }
        dataset.createIndex()
        evaluation = cocoeval.COCOeval(dataset, dataset.loadRes(results), "keypoints")
        evaluation.params.kpt_oks_sigmas = np.array(HUPR14.oks_sigmas)
        evaluation.params.areaRng = [[0, 1e10]]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][:, :, 0, 0, 0]  # (threshold, recall)

    similarity = metrics.oks(predicted, true, area)
    assert_close(similarity, [evaluation.ious[k, 1].item() for k in range(len(true))])
    got = metrics.average_precision(similarity, "coco", scores=scores)
    assert_close(got, precision.mean())
    for threshold, row in ((0.5, 0), (0.75, 5)):
        got = metrics.average_precision(similarity, "coco", threshold, scores)
        assert_close(got, precision[row].mean())


def test_coco_ap_depends_on_the_order_and_fraction_does_not() -> None:
    """Ten hits before ten misses: precision 1 up to recall 0.5, nothing beyond."""
    early = np.repeat([1.0, 0.0], 10)
    assert_close(metrics.average_precision(early, "coco"), 51 / 101)
    # ten misses first: precision 0.5 at recall 0.5, and no more up to there
    assert_close(metrics.average_precision(early[::-1], "coco"), 0.5 * 51 / 101)
    assert metrics.average_precision(early, "fraction") == 0.5
    assert metrics.average_precision(early[::-1], "fraction") == 0.5


def test_coco_example(shared_data: Path) -> None:
    """OKS matrices and AP of COCO's example, 14 people and 73 estimates, some of them crowded."""
    folder = shared_data / "vectors"
    truth = json.loads((folder / "example_coco_val.json").read_text())["annotations"]
    results = json.loads((folder / "example_coco_preds.json").read_text())
    expected = json.loads((folder / "coco_keypoints_expected.json").read_text())
    hits: dict[float, list[tuple[float, bool]]] = {t: [] for t in metrics.AP_THRESHOLDS}
    people_count = 0
    compared = 0
    for key, matrix in expected["oks_matrix_per_image"].items():
        image = int(key.split("_")[0])
        true = [a for a in truth if a["image_id"] == image]
        found = sorted((r for r in results if r["image_id"] == image), key=lambda r: -r["score"])[
            :20
        ]
        if not matrix:
            continue
        similarity = np.array([[_coco_similarity(r, a) for a in true] for r in found])
        usable = [j for j, a in enumerate(true) if a["num_keypoints"] and not a["iscrowd"]]
        for j in usable:
            assert_close(similarity[:, j], np.array(matrix)[:, j])
            compared += len(found)
        # COCO compares estimates with people without annotated joints by their boxes
        similarity = np.where(np.isnan(similarity), np.array(matrix), similarity)
        people_count += len(usable)
        for threshold, entries in hits.items():
            taken: set[int] = set()
            for r, row in zip(found, similarity, strict=True):
                free = [j for j in range(len(true)) if j not in taken and row[j] >= threshold]
                # of those similar enough the most similar, people that count before others
                best = max(free, key=lambda j: (j in usable, row[j]), default=None)
                taken |= {best} - {None}
                if best is None or best in usable:
                    entries.append((r["score"], best is not None))
    assert compared > 100
    values = [
        metrics.interpolated_precision(
            [hit for _, hit in sorted(entries, key=lambda e: -e[0])], people_count
        )
        for entries in hits.values()
    ]
    assert_close(np.mean(values), expected["stats"]["AP"])
    assert_close(values[0], expected["stats"]["AP50"])
    assert_close(values[5], expected["stats"]["AP75"])


def _coco_similarity(result: dict, annotation: dict) -> float:
    true = np.array(annotation["keypoints"], float).reshape(-1, 3)
    true[true[:, 2] == 0] = np.nan
    predicted = np.array(result["keypoints"]).reshape(-1, 3)[:, :2]
    return float(metrics.oks(predicted, true[:, :2], annotation["area"], COCO_SIGMAS))


def test_mmpose_pck(shared_data: Path) -> None:
    """The accuracies of mmpose's own test, joints without truth left out."""
    predicted, true, vector = _mmpose_vector(shared_data, "pck")
    for case in vector["cases"]:
        lengths = np.array(case["norm"], float)[:, 0]
        correct = metrics.correct_keypoints(predicted, true, lengths, vector["thr"])
        for joint, wanted in enumerate(case["acc"]):
            counted = correct[:, joint][~np.isnan(correct[:, joint])]
            assert (counted.mean() if len(counted) else -1) == wanted


def _mmpose_vector(shared_data: Path, name: str) -> tuple[np.ndarray, np.ndarray, dict]:
    """An estimate and the truth of one of mmpose's tests; what is masked is not known."""
    vectors = json.loads((shared_data / "vectors" / "keypoint_metrics_mmpose.json").read_text())
    vector = vectors["vectors"][name]
    true = np.array(vector["target"])
    true[np.array(vector["mask"]) == 0] = np.nan
    return np.array(vector["output"]), true, vector


def test_mmpose_auc(shared_data: Path) -> None:
    predicted, true, vector = _mmpose_vector(shared_data, "auc")
    got = metrics.auc(predicted, true, vector["norm_factor"], vector["num_thrs"])
    assert_close(got, vector["expected"])


def test_mmpose_epe(shared_data: Path) -> None:
    predicted, true, vector = _mmpose_vector(shared_data, "epe")
    assert metrics.end_point_error(predicted, true) == pytest.approx(vector["expected"], abs=1e-6)


def test_area_under_the_curve_by_hand() -> None:
    """Of 10 px, in steps of 2.5: 0 px is right from the second threshold on, 6 px at the last."""
    true = np.zeros((2, 3, 2))
    predicted = true.copy()
    predicted[:, 1, 0] = 6.0
    predicted[1, 1] = np.nan  # not found: wrong
    true[:, 2] = np.nan  # not known: not counted
    # 0, then 1 and 0, 1 and 0, 1 and one of two
    assert_close(metrics.auc(predicted, true, 10.0, 4), (0 + 0.5 + 0.5 + 0.75) / 4)
    assert_close(metrics.end_point_error(predicted, true), 6.0 / 3)
    assert math.isnan(metrics.auc(predicted, np.full_like(true, np.nan), 10.0))


def test_pck_by_part_goes_by_names() -> None:
    """Of Sub-JHMDB's joints: each part's own, though hips and knees come before wrists."""
    true = np.zeros((2, 15, 2))
    predicted = true.copy()
    predicted[:, JHMDB15.index("left_wrist")] = 90.0
    predicted[0, JHMDB15.index("face")] = 90.0
    true[:, JHMDB15.index("belly")] = np.nan
    boxes = [[0.0, 0.0, 100.0, 100.0]] * 2
    joints = metrics.annotated_joint_pck(predicted, true, boxes)
    assert np.flatnonzero(joints < 1).tolist() == [2, 12] and math.isnan(joints[1])
    assert metrics.part_means(joints, JHMDB15) == {
        "neck": 1.0, "face": 0.5, "shoulder": 1.0, "hip": 1.0, "elbow": 1.0, "knee": 1.0,
        "wrist": 0.5, "ankle": 1.0,
    }  # fmt: skip
    assert_close(metrics.annotated_pck(predicted, true, boxes), 12.5 / 14)


def test_pck_of_known_offsets() -> None:
    """Neck 50 px above the hips: 0.2 of the torso is 10 px; 9 px is right, 11 px wrong."""
    true = np.tile(np.linspace(0, 90, 14)[:, None], (1, 2))[None]
    true[0, HUPR14.index("right_hip")] = (-5, 50)
    true[0, HUPR14.index("left_hip")] = (5, 50)
    true[0, HUPR14.index("neck")] = (0, 0)
    assert metrics.torso_length(true) == [50]
    predicted = true.copy()
    predicted[0, :7, 0] += 9
    predicted[0, 7:, 1] += 11
    assert metrics.pck(predicted, true) == 0.5
    assert_close(metrics.joint_pck(predicted, true), np.repeat([1.0, 0.0], 7))
    # the box is 95 px high and wide: 0.1 of it is 9.5 px
    assert metrics.box_length(true) == [95]
    assert metrics.pck(predicted, true, 0.1, reference="box") == 0.5
    predicted[0, 0] = np.nan
    assert_close(metrics.pck(predicted, true), 6 / 14)


def test_pck_by_annotated_boxes() -> None:
    """Boxes 100 px wide and 100 px high: 0.2 are 20 px, 0.1 are 10 px, 0.05 are 5 px."""
    boxes = [[10.0, 20.0, 110.0, 70.0], [0.0, 0.0, 30.0, 100.0]]
    assert metrics.annotated_box_length(boxes).tolist() == [100.0, 100.0]
    true = np.full((2, 3, 2), 50.0)
    predicted = true.copy()
    predicted[0, 0, 0] += 4  # right at all thresholds
    predicted[1, 0, 1] -= 7  # right from 0.1 on
    predicted[0, 1] += (12, 9)  # 15 px: right at 0.2
    predicted[1, 1] += (16, 12)  # 20 px: not closer than 20 px, wrong
    predicted[0, 2] = np.nan  # not found: wrong
    for threshold, wanted in ((0.05, [0.5, 0, 0.5]), (0.1, [1, 0, 0.5]), (0.2, [1, 0.5, 0.5])):
        got = metrics.annotated_pck(predicted, true, boxes, threshold)
        assert_close(got, np.mean(wanted))
    # a joint of which one frame is unknown counts as much as the others: 1, 1/2, 0
    true[1, 2] = np.nan
    assert_close(metrics.annotated_pck(predicted, true, boxes), 1.5 / 3)
    true[:, 2] = np.nan
    assert_close(metrics.annotated_pck(predicted, true, boxes), 1.5 / 2)
    unknown = [boxes[0], [np.nan] * 4]
    assert_close(metrics.annotated_pck(predicted, true, unknown), 1.0)
    assert math.isnan(metrics.annotated_pck(predicted, true, np.full((2, 4), np.nan)))


def test_pck_of_sequences_is_averaged_over_sequences() -> None:
    """One of one frame that is right, one of three that is wrong: half, not a quarter."""
    true = [np.zeros((1, 2, 2)), np.zeros((3, 2, 2))]
    predicted = [true[0], true[1] + 30.0]
    boxes = [np.tile([0.0, 0.0, 50.0, 100.0], (len(part), 1)) for part in true]
    shares = [metrics.annotated_pck(*part) for part in zip(predicted, true, boxes, strict=True)]
    assert shares == [1.0, 0.0]


def test_joint_average_precision() -> None:
    true = np.zeros((4, 14, 2))
    true[:, :, 1] = 10 * np.arange(14)
    predicted = true.copy()
    predicted[:, 3] += 1000
    got = metrics.joint_average_precision(predicted, true, metrics.person_area(true))
    assert_close(got, np.where(np.arange(14) == 3, 0.0, 1.0))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: metrics.pck(np.zeros((3, 2)), np.zeros((4, 2))), "of one shape"),
        (lambda: metrics.oks(np.zeros((3, 2)), np.zeros((3, 2)), 1.0), "3 joints, but 14 sigmas"),
        (lambda: metrics.average_precision([[1.0]]), "one value per frame"),
        (lambda: metrics.average_precision([1.0], "best"), "'coco' or 'fraction'"),  # type: ignore[arg-type]
        (lambda: metrics.average_precision([1.0], scores=[1, 2]), "1 similarities"),
        (lambda: metrics.annotated_box_length([1.0, 2.0, 3.0]), r"must be \(\.\.\., 4\)"),
        (lambda: metrics.annotated_box_length([5.0, 0.0, 4.0, 9.0]), "x1 <= x2 and y1 <= y2"),
        (
            lambda: metrics.annotated_pck(*[np.zeros((3, 15, 2))] * 2, np.ones((2, 4))),
            r"as many boxes, got \(3, 15, 2\) and \(2, 4\)",
        ),
        (
            lambda: metrics.pck(np.zeros((14, 2)), np.zeros((14, 2)), reference="head"),  # type: ignore[arg-type]
            "'torso' or 'box'",
        ),
    ],
)
def test_bad_input_is_named(call: object, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        call()  # type: ignore[operator]


def test_no_frames() -> None:
    assert math.isnan(metrics.average_precision([]))
    assert math.isnan(metrics.pck(np.zeros((0, 14, 2)), np.zeros((0, 14, 2))))
