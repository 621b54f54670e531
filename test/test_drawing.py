"""Pictures: things are where they should be, in the colours they should have."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from radar_pose_ros import drawing
from radar_pose_ros.drawing import Panel, PolarAxes, PoseFilm
from radar_pose_ros.skeleton.definitions import H36M17, HUPR14

# 64 sines from -1 on, ranges from 1 m to 4.2 m
AXES = PolarAxes(sine_first=-1.0, sine_step=2 / 64, range_first_m=1.0, range_step_m=0.05)
STANDING = np.array(
    [
        [118, 140], [117, 175], [117, 210], [138, 140], [139, 175], [139, 210], [128, 90],
        [128, 72], [143, 92], [150, 115], [155, 138], [113, 92], [106, 115], [101, 138],
    ],
    float,
)  # fmt: skip


def film(panels=None):
    panels = panels or [
        Panel("h", AXES, (64, 64)),
        Panel("v", AXES, (64, 64), upright=False),
    ]
    return PoseFilm(panels, HUPR14, 256)


def point_target(sine: float, range_m: float) -> np.ndarray:
    values = np.full((64, 64), -100.0, np.float32)
    angle_bin = round((sine - AXES.sine_first) / AXES.sine_step)
    range_bin = round((range_m - AXES.range_first_m) / AXES.range_step_m)
    values[angle_bin - 1 : angle_bin + 2, range_bin - 1 : range_bin + 2] = 0.0
    return values


@pytest.mark.parametrize(("sine", "range_m"), [(0.0, 2.5), (0.4, 2.0), (-0.3, 3.0)])
@pytest.mark.parametrize("upright", [True, False])
def test_a_target_is_drawn_where_it_stands(sine, range_m, upright):
    view = drawing.FanView(Panel("", AXES, (64, 64), upright))
    picture = view(point_target(sine, range_m))
    rows, columns = np.nonzero(picture > -10)
    first, last, low, high = view.extent
    horizontal = first + (columns.mean() + 0.5) / picture.shape[1] * (last - first)
    vertical = high + (rows.mean() + 0.5) / picture.shape[0] * (low - high)
    ahead, lateral = range_m * np.sqrt(1 - sine**2), range_m * sine
    expected = (lateral, ahead) if upright else (ahead, lateral)
    assert (horizontal, vertical) == pytest.approx(expected, abs=0.05)


def test_left_of_the_radar_is_left_in_the_picture():
    view = drawing.FanView(Panel("", AXES, (64, 64)))
    columns = np.nonzero(view(point_target(0.4, 2.0)) > -10)[1]
    assert columns.mean() < view(point_target(0.4, 2.0)).shape[1] / 2


def test_nothing_is_drawn_where_the_radar_did_not_look():
    view = drawing.FanView(Panel("", AXES, (64, 64)))
    picture = view(np.zeros((64, 64), np.float32))
    first, last, low, high = view.extent
    rows, columns = np.indices(picture.shape)
    lateral = first + (columns + 0.5) / picture.shape[1] * (last - first)
    ahead = high + (rows + 0.5) / picture.shape[0] * (low - high)
    distance = np.hypot(lateral, ahead)
    assert np.isnan(picture[distance < 0.9]).all()
    seen = (distance > 1.1) & (distance < 4.1) & (np.abs(lateral / distance) < 0.9)
    assert np.isfinite(picture[seen]).all()


def test_bones_have_the_colour_of_their_side():
    index = HUPR14.index
    assert drawing.edge_colour(HUPR14, (index("left_hip"), index("left_knee"))) == (
        drawing.LEFT_COLOUR
    )
    assert drawing.edge_colour(HUPR14, (index("neck"), index("right_shoulder"))) == (
        drawing.RIGHT_COLOUR
    )
    for edge in ((index("right_hip"), index("left_hip")), (index("neck"), index("head"))):
        assert drawing.edge_colour(HUPR14, edge) == drawing.MIDDLE_COLOUR


def test_unknown_joints_are_not_drawn():
    points = STANDING.copy()
    points[HUPR14.index("right_knee")] = np.nan
    segments, numbers = drawing.bone_segments(HUPR14, points)
    assert len(numbers) == len(HUPR14.edges) - 2
    assert np.isfinite(segments).all()
    nothing, numbers = drawing.bone_segments(HUPR14, np.full((14, 2), np.nan))
    assert nothing.shape == (0, 2, 2) and numbers == []


def count_pixels(picture: np.ndarray, colour: str, tolerance: float = 12) -> int:
    difference = np.abs(picture.astype(float) - 255 * np.array(to_rgb(colour)))
    return int((difference.max(axis=-1) < tolerance).sum())


def test_the_estimate_is_drawn_and_vanishes_with_it():
    artist = film()
    dark = None
    empty = artist.picture([dark, dark], None)
    drawn = artist.picture([dark, dark], STANDING, np.ones(14), STANDING + 5)
    assert drawn.dtype == np.uint8 and drawn.shape == empty.shape == (404, 960, 3)
    # The legend holds a few pixels of each colour; a skeleton of 256 px height holds many more.
    for colour in (drawing.LEFT_COLOUR, drawing.RIGHT_COLOUR):
        assert count_pixels(drawn, colour) > count_pixels(empty, colour) + 200
    np.testing.assert_array_equal(artist.picture([dark, dark], None), empty)


def test_a_pose_in_space_is_drawn_from_the_side():
    """In a panel of its own, to the right of all others: 2 m ahead, 0.2 m to 1.8 m high."""
    panels = [Panel("h", AXES, (64, 64)), Panel("v", AXES, (64, 64), upright=False)]
    artist = PoseFilm(panels, HUPR14, 256, width_px=1260, side=H36M17)
    empty = artist.picture([None, None], None)
    pose_m = np.stack([np.full(17, 2.0), np.linspace(0.2, 1.8, 17)], axis=1)
    drawn = artist.picture([None, None], None, side_m=(pose_m, pose_m + [1.0, 0.0]))
    assert drawn.shape == empty.shape == (390, 1260, 3)
    rows, columns = np.nonzero((drawn != empty).any(-1))
    frame = artist._figure.axes[-1].get_window_extent()
    share = (columns - frame.x0) / frame.width * (4.1 - 0.7) + 0.7
    assert np.percentile(share, [1, 99]) == pytest.approx([2.0, 3.0], abs=0.05)
    height = (390 - rows - frame.y0) / frame.height * 2.6 - 0.2
    assert [height.min(), height.max()] == pytest.approx([0.2, 1.8], abs=0.05)
    np.testing.assert_array_equal(artist.picture([None, None], None), empty)


def test_a_missing_heatmap_leaves_its_panel_dark():
    artist = film()
    bright = np.zeros((64, 64), np.float32)
    both = artist.picture([bright, bright], None)
    one = artist.picture([None, bright], None)
    yellow = "#fee838"  # the upper end of cividis
    assert 0.3 < count_pixels(one, yellow) / count_pixels(both, yellow) < 0.7


def test_a_skeleton_over_a_picture():
    """Bones have the colour of their side and a dark edge; far and unknown joints do no harm."""
    picture = np.full((256, 256, 3), 255, np.uint8)
    drawing.draw_skeleton(picture, HUPR14, STANDING, 3)
    for side, colour in (("left", drawing.LEFT_COLOUR), ("right", drawing.RIGHT_COLOUR)):
        knee, ankle = (STANDING[HUPR14.index(f"{side}_{part}")] for part in ("knee", "ankle"))
        column, row = ((knee + ankle) / 2).astype(int)
        assert tuple(picture[row, column]) == drawing.rgb_bytes(colour)
        assert picture[row, column - 5 : column + 6].max(-1).min() < 90  # edges
        assert (picture[row, column - 8] == 255).all()
    far = STANDING.copy()
    far[HUPR14.index("left_ankle")] = (1e12, -1e12)
    far[HUPR14.index("right_ankle")] = np.nan
    picture[:] = 255
    drawing.draw_skeleton(picture, HUPR14, far, 3)
    assert (picture[200:] == 255).all()


def test_a_gif_has_its_pictures_its_rate_and_its_limit(tmp_path):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (120, 200, 3), dtype=np.uint8) for _ in range(8)]
    size = drawing.write_gif(tmp_path / "a.gif", pictures, rate_hz=10.0, max_bytes=60_000)
    assert size == (tmp_path / "a.gif").stat().st_size <= 60_000
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 8
        assert image.info["duration"] == 100
        assert image.info["loop"] == 0
    with pytest.raises(ValueError, match="no picture"):
        drawing.write_gif(tmp_path / "b.gif", [])


def test_a_png_is_written_as_it_is(tmp_path):
    picture = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    drawing.write_png(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), picture)
