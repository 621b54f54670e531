"""Which panels the viewer has, by what there is to see."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rerun.blueprint as rrb
from rerun.blueprint.encodings import TimelineColumn

from radar_pose_ros.resources import PACKAGE
from radar_pose_ros.view.drawer import TIMED, TIMELINE

DIRECTION = np.array([-0.62, -0.68, 0.4])  # from what there is to see to the eye, [choice]
NEARNESS = 1.0  # the eye's distance, per diagonal of what there is to see, [choice]
USUAL_M = (np.array([0.0, -1.0, 0.0]), np.array([3.0, 1.0, 1.8]))  # as long as nothing is known
IMAGES = ("Image", "CompressedImage")
BLACK = (0, 0, 0)
GROUND = (24, 27, 32)


@dataclass
class Content:
    """What there is to see.

    Parameters
    ----------
    in_space : bool
        Whether people, points, radars or cameras have a place.
    truth, refined : bool
        Whether people are drawn as an emulator knows them, and as a refiner has them.
    cameras, radars : list of str
        Frames of those whose images or people, and of those whose heatmaps there are.
    heart_rates, sentences : bool
    latencies : bool
        Whether poses, heatmaps or points have an age. That of images alone says nothing: those of
        a file are as old as it takes to read them.
    """

    in_space: bool = False
    truth: bool = False
    refined: bool = False
    cameras: list[str] = field(default_factory=list)
    radars: list[str] = field(default_factory=list)
    heart_rates: bool = False
    latencies: bool = False
    sentences: bool = False

    def note(self, topic: str, type_name: str, frame: str) -> bool:
        """Take note of a message by its topic, type and frame; return whether that was news."""
        before = repr(self)
        kind = type_name.split("/")[-1]
        ours = type_name.startswith(PACKAGE)
        if kind in ("PointCloud2", "RadarConfig", "HumanPose3DArray", "CameraInfo"):
            self.in_space = True
        self.truth |= topic.endswith("/ground_truth")
        self.refined |= "/refined/" in topic
        if kind in (*IMAGES, "HumanPose2DArray") and frame not in self.cameras:
            self.cameras = sorted([*self.cameras, frame])
        if kind == "RadarHeatmap" and frame not in self.radars:
            self.radars = sorted([*self.radars, frame])
        self.heart_rates |= ours and kind in ("HeartRate", "PulseWave")
        self.latencies |= type_name in TIMED and kind not in IMAGES
        self.sentences |= kind in ("DiagnosticArray", "Log")
        return repr(self) != before


def _space(content: Content, extent_m: tuple[np.ndarray, np.ndarray]) -> Any:
    low, high = extent_m
    target = (low + high) / 2
    eye = target + NEARNESS * max(float(np.linalg.norm(high - low)), 2.0) * DIRECTION
    said = ["green: sure, orange: not", "blue: refined"][: 1 + content.refined]
    said += ["dashed: truth"] * content.truth
    return rrb.Spatial3DView(
        origin="world",
        contents=["/world/**", "/cameras/**", "/transforms/**"],
        name=f"In space (m). People are {', '.join(said)}",
        background=GROUND,
        line_grid=rrb.LineGrid3D(visible=True, spacing=1.0, color=(255, 255, 255, 40)),
        eye_controls=rrb.EyeControls3D(position=eye, look_target=target, eye_up=(0, 0, 1)),
    )


def _camera(frame: str) -> Any:
    return rrb.Spatial2DView(
        origin=f"cameras/{frame}",
        contents=["$origin/**", "/world/ground_truth/**"],
        name=f"Image of {frame.removesuffix('_optical_frame')} (px)",
        background=BLACK,
    )


def _heatmap(frame: str) -> Any:
    name = f"{frame.removesuffix('_link')}: heatmap (m)"
    return rrb.Spatial2DView(origin=f"heatmaps/{frame}", name=name, background=BLACK)


def _curves(origin: str, name: str, **more: Any) -> Any:
    return rrb.TimeSeriesView(
        origin=origin, name=name, plot_legend=rrb.PlotLegend(rrb.Corner2D.LeftTop), **more
    )


def _heart_rates() -> Any:
    return rrb.Vertical(
        _curves("heart_rate", "Heart rate (beats per minute), thin: its standard error"),
        rrb.StateTimelineView(origin="heart_rate", name="State of each face's reading"),
        _curves("pulse", "Pulse wave (any unit)"),
        row_shares=[4, 2, 3],
    )


def _pictures(content: Content) -> Any:
    """Return heatmaps beside each other, and below them cameras, up to four in two rows."""
    rows: list[Any] = []
    if content.radars:
        rows.append(rrb.Horizontal(*map(_heatmap, content.radars)))
    if content.cameras:
        columns = 1 if len(content.cameras) == 1 else 2
        rows.append(rrb.Grid(*map(_camera, content.cameras), grid_columns=columns))
    if content.heart_rates:
        rows.append(rrb.TextDocumentView(origin="readings", name="Readings"))
    shares = [3] * len(rows)
    if content.heart_rates:
        shares[-1] = 1
    return rrb.Vertical(*rows, row_shares=shares) if rows else None


def blueprint(
    content: Content,
    extent_m: tuple[np.ndarray, np.ndarray] | None = None,
    bare: bool = False,
) -> rrb.Blueprint:
    """Return a layout: space on the left, images and curves beside it, sentences below.

    Parameters
    ----------
    content : Content
    extent_m : tuple of ndarray, optional
        Lowest and highest corner of what the view in space should begin with.
    bare : bool
        Without the viewer's own bar at the top.
    """
    pictures = _pictures(content)
    columns, shares = [], []
    for there, view, share in (
        (content.in_space, lambda: _space(content, extent_m or USUAL_M), 6),
        (pictures is not None, lambda: pictures, 5),
        (content.heart_rates, _heart_rates, 6),
    ):
        if there:
            columns.append(view())
            shares.append(share)
    below = []
    if content.latencies:
        below.append(_curves("latency", "Age of messages when they came (ms)"))
    if content.sentences:
        below.append(
            rrb.TextLogView(
                origin="/",
                contents=["/diagnostics/**", "/log/**"],
                name="What the nodes say",
                columns=rrb.TextLogColumns(
                    timeline_columns=[TimelineColumn(TIMELINE, visible=False)],
                    text_log_columns=["LogLevel", "Body"],
                ),
            )
        )
    rows = [rrb.Horizontal(*columns, column_shares=shares)] if columns else []
    if below:
        rows.append(rrb.Horizontal(*below))
    panels: list[Any] = [
        rrb.BlueprintPanel(state="collapsed"),
        rrb.SelectionPanel(state="collapsed"),
        rrb.TimePanel(state="collapsed", timeline=TIMELINE, play_state="following"),
    ]
    if bare:
        panels.append(rrb.TopPanel(state="hidden"))
    space = rrb.Vertical(*rows, row_shares=[7, 2][: len(rows)])
    return rrb.Blueprint(space, *panels, auto_layout=False, auto_views=False)
