"""Pictures of heart rates show what they are given, where it belongs, and nothing else."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from radar_pose_ros import pulse_drawing
from radar_pose_ros.pulse_drawing import Film
from radar_pose_ros.vision.face import Face
from radar_pose_ros.vitals.meter import NOBODY, Reading, State
from radar_pose_ros.vitals.rates import Rate
from radar_pose_ros.vitals.signals import Uniform

ORANGE, BLUE = ((255 * np.array(to_rgb(c))).round() for c in pulse_drawing._FACE_COLOURS[:2])
WINDOW_S = 10.0


def good(
    end_s: float, bpm: float = 72.0, face: int = 0, values: np.ndarray | None = None
) -> Reading:
    times_s = np.arange(300) / 30
    wave = np.sin(2 * np.pi * bpm / 60 * times_s) if values is None else values
    return Reading(
        *(face, end_s - 5, WINDOW_S, State.OK, ""),
        rate=Rate(bpm, 1.5),
        signal_quality=0.8,
        wave=Uniform(end_s - WINDOW_S, 30.0, wave),
        method="pos",
    )


def refused(state: State = State.LOW_SIGNAL, face: int = 0) -> Reading:
    return Reading(face, 5.0, WINDOW_S, state, "nothing stands out: quality 0.2, want 0.5")


def coloured(picture_rgb: np.ndarray, colour: np.ndarray, within: float = 60.0) -> np.ndarray:
    return np.linalg.norm(picture_rgb.astype(float) - colour, axis=-1) < within


# -- words -----------------------------------------------------------------------------------


def test_labels():
    assert pulse_drawing.label(good(10.0)) == "72 +- 1.5 bpm"
    assert pulse_drawing.label(good(10.0)._replace(rate=Rate(71.6, np.nan))) == "72 bpm"
    assert pulse_drawing.label(refused(State.MOTION)) == "motion"
    assert set(pulse_drawing.STATE_WORDS) == set(State)


# -- the figure ------------------------------------------------------------------------------

TOP, RATES = slice(85, 285), slice(350, 540)  # rows: pulse and spectrum; rates


def figure(timed: list[tuple[float, Reading]], best: Reading | None) -> np.ndarray:
    return pulse_drawing.figure(timed, best, "answer", "title")


def test_the_figure_has_the_pulse_and_the_rates():
    timed = [(10.0 + k, good(10.0 + k, 60 + k)) for k in range(20)]
    picture = figure(timed, timed[0][1])
    assert picture.shape == (760, 1100, 3) and picture.dtype == np.uint8
    line = coloured(picture, ORANGE)
    assert line[TOP, 85:660].any(0).mean() > 0.95  # the pulse, all over its width
    # time runs to 29 s: the first rate stands at a third, and they rise
    columns = np.flatnonzero(line[RATES].any(0))
    first, last = columns[[0, -1]]
    assert first == pytest.approx(187 + 10 / (1.01 * 29) * 891, abs=8)
    assert np.flatnonzero(line[RATES, last]).mean() < np.flatnonzero(line[RATES, first]).mean()


def test_the_spectrum_has_its_peak_at_the_rate():
    """At 132 bpm on an axis of 39 to 180."""
    reading = good(10.0, 132.0)
    top = coloured(figure([(10.0, reading)], reading), ORANGE)[TOP, 750:1078]
    highest = np.flatnonzero(top.any(1))[0]
    at_px = 750 + np.flatnonzero(top[highest : highest + 4].any(0)).mean()
    assert at_px == pytest.approx(748 + (132 - 39) / 141 * 330, abs=6)


def test_refusals_are_marked_and_no_rate_is_drawn():
    timed = [
        (float(k), refused(State.WARMING_UP if k < 10 else State.LOW_SIGNAL)) for k in range(20)
    ]
    picture = figure(timed, None)
    line = coloured(picture, ORANGE)
    assert not line[:540].any()
    below = line[580:705]
    upper, lower = below[:60], below[65:]  # states in their order from above
    assert np.flatnonzero(upper.any(0)).max() < np.flatnonzero(lower.any(0)).min()


def test_each_face_has_its_own_line_of_readings():
    """Of 20, both faces have a reading each second, all of the same state."""
    timed = [(float(k), refused(face=face)) for k in range(20) for face in (0, 1)]
    below = figure(timed, None)[580:705, 190:1075]
    first, second = (np.flatnonzero(coloured(below, c).any(1)) for c in (ORANGE, BLUE))
    assert len(first) == pytest.approx(len(second), abs=2) and len(first) > 20
    assert first.max() <= second.min() + 1


def test_readings_are_counted_face_by_face():
    places = {(0, State.OK): [1.0, 2.0], (2, State.OK): [1.0], (NOBODY, State.TOO_DARK): [4.0]}
    assert pulse_drawing._counted(places, State.OK, [0, 1, 2]) == "2 + 0 + 1"
    assert pulse_drawing._counted(places, State.OK, [0, 1, 2, 3]) == "3 in all"
    assert pulse_drawing._counted(places, State.TOO_DARK, [0, 1, 2]) == "1"
    places[0, State.TOO_DARK] = [3.0]
    assert pulse_drawing._counted(places, State.TOO_DARK, [0, 2]) == "1 + 0, nobody 1"


def test_a_face_that_was_away_leaves_a_gap():
    timed = [(float(k), good(float(k))) for k in (*range(10, 15), *range(25, 30))]
    columns = np.flatnonzero(coloured(figure(timed, None), ORANGE)[RATES].any(0))
    assert np.diff(columns).max() == pytest.approx(11 / (1.01 * 29) * 891, abs=10)


# -- agreement -------------------------------------------------------------------------------


def line_rows(picture: np.ndarray) -> np.ndarray:
    """Return the rows of the lines across, from above."""
    found = np.flatnonzero(coloured(picture, BLUE)[:, 100:560].mean(1) > 0.4)
    return np.array(
        [part.mean() for part in np.split(found, 1 + np.flatnonzero(np.diff(found) > 1))]
    )


def test_bland_altman_has_its_lines_where_they_belong():
    """Of differences -2, 0, 2 and 4: bias 1, and 1.96 standard deviations to both sides."""
    true = np.array([60.0, 70.0, 80.0, 90.0, 100.0])
    predicted = true + [-2, 0, 2, 4, np.nan]
    picture = pulse_drawing.bland_altman(predicted, true)
    upper, bias, lower = line_rows(picture)
    assert upper - bias == pytest.approx(bias - lower, abs=1.5)
    points = np.flatnonzero(coloured(picture, ORANGE).any(1))
    per_bpm = (bias - upper) / (1.96 * np.std([-2, 0, 2, 4], ddof=1))
    assert points[0] - bias == pytest.approx(-3 * per_bpm, abs=5)
    assert points[-1] - bias == pytest.approx(3 * per_bpm, abs=5)


def test_bland_altman_of_nothing_has_no_lines():
    nothing = np.full(3, np.nan)
    picture = pulse_drawing.bland_altman(nothing, np.array([60.0, 70.0, 80.0]))
    assert not coloured(picture, BLUE).any() and not coloured(picture, ORANGE).any()
    with pytest.raises(ValueError, match="must match"):
        pulse_drawing.bland_altman([60.0], [60.0, 70.0])


# -- the film --------------------------------------------------------------------------------

SIZE = (480, 320)
GREY = np.full((*SIZE[::-1], 3), 90, np.uint8)


def written(path: Path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        there, frame = capture.read()
        if not there:
            return frames
        frames.append(np.asarray(frame))


@pytest.mark.parametrize(
    ("times_s", "frames"),
    [
        ((0.0, 0.1, 0.2, 0.3), 4),
        ((0.0, 0.1, 1.0), 11),  # stands still where there is nothing
        ((0.0, 0.01, 0.02, 0.1), 2),  # too many are left out
        ((0.0, 1000.0), 21),  # a long gap is cut to two seconds
        ((0.0, 1000.0, 1000.1), 22),
    ],
)
def test_the_film_keeps_the_time(tmp_path, times_s, frames):
    film = Film(tmp_path / "film.mp4", 10.0, WINDOW_S)
    for time_s in times_s:
        film.add(GREY, time_s, [], {})
    film.close()
    assert len(written(tmp_path / "film.mp4")) == frames


def one_picture(path: Path, reading: Reading, image: np.ndarray = GREY) -> np.ndarray:
    film = Film(path, 10.0, WINDOW_S)
    film.add(image, 0.0, [Face(0, (100.0, 120.0, 80.0, 90.0), 0.0)], {0: reading})
    film.close()
    [picture] = written(path)
    return picture[..., ::-1]


def test_the_box_is_around_the_face(tmp_path):
    picture = one_picture(tmp_path / "film.mp4", refused())
    edge = coloured(picture, ORANGE, 90)
    assert edge[120:210, 98:103].any(1).mean() > 0.9
    assert edge[120:210, 178:183].any(1).mean() > 0.9
    assert not edge[130:200, 110:170].any()


def test_large_images_are_made_smaller_with_their_box(tmp_path):
    large = np.full((1280, 1920, 3), 90, np.uint8)
    film = Film(tmp_path / "film.mp4", 10.0, WINDOW_S)
    film.add(large, 0.0, [Face(0, (400.0, 480.0, 320.0, 360.0), 0.0)], {})
    film.close()
    [picture] = written(tmp_path / "film.mp4")
    assert picture.shape == (640 + 120, 960, 3)
    assert coloured(picture[..., ::-1], ORANGE, 90)[240:420, 198:203].any(1).mean() > 0.9


def test_the_pulse_stands_at_its_time(tmp_path):
    """A beat 4.8 s ago, in a window of 10 s that ended 1 s ago: nothing in the last tenth."""
    values = np.zeros(300)
    values[180:190] = 3.0
    strip = one_picture(tmp_path / "film.mp4", good(-1.0, values=values))[SIZE[1] :]
    line = coloured(strip, ORANGE, 90)
    beat = np.flatnonzero(line[2:12, 200:].any(0)) + 200
    assert beat.mean() == pytest.approx(SIZE[0] * (1 - (1 + 10 - 185 / 30) / 10), abs=8)
    assert not line[:, int(0.92 * SIZE[0]) :].any()


def test_a_refusal_stands_beneath_in_place_of_a_pulse(tmp_path):
    strip = one_picture(tmp_path / "film.mp4", refused())[SIZE[1] :]
    line = coloured(strip, ORANGE, 90)
    assert line[:30].any() and not line[40:].any()


def test_nobody_and_changing_sizes_do_no_harm(tmp_path):
    film = Film(tmp_path / "film.mp4", float("nan"), WINDOW_S)
    film.add(GREY, 0.0, [], {NOBODY: refused(State.NO_FACE, NOBODY)})
    film.add(GREY[:200, :300], 1 / 30, [], {})
    film.close()
    assert [frame.shape for frame in written(tmp_path / "film.mp4")] == [(440, 480, 3)] * 2
