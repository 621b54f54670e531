"""The arithmetic of a soak by value, on made-up records, and short live ones."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from radar_pose_ros import bringup, cli, soak, soak_accounts, soak_report
from radar_pose_ros.graphs import BringupError, NodeSpec
from radar_pose_ros.soak_accounts import Account, Balance, Entry, balance
from radar_pose_ros.soak_measures import (
    Flatness,
    PoseFindings,
    RecentRate,
    Sample,
    Slope,
    Words,
    findings,
    flatness,
    pose_findings,
    slope,
    together,
)

HOUR = np.arange(0.0, 3600.0, 2.0)


# -- slopes ----------------------------------------------------------------------------------


def test_a_straight_line_has_its_slope_and_no_error() -> None:
    found = slope(HOUR, 100.0 + 2.5 * HOUR / 3600.0)
    assert found.per_h == pytest.approx(2.5) and found.error == pytest.approx(0.0, abs=1e-9)


def test_outliers_and_a_jump_move_it_little(rng: np.random.Generator) -> None:
    values = 100.0 + 0.5 * HOUR / 3600.0 + rng.normal(0.0, 0.05, len(HOUR))
    values[rng.choice(len(HOUR), 300, replace=False)] += 50.0
    found = slope(HOUR, values)
    assert found.per_h == pytest.approx(0.5, abs=0.1) and found.verdict(1.0) is True


def test_the_error_is_as_large_as_slopes_scatter(rng: np.random.Generator) -> None:
    """Of steps that last minutes, too: samples of one step are not independent."""
    found = []
    for _ in range(80):
        steps = np.repeat(rng.normal(0.0, 1.0, 60), 30)
        found.append(slope(HOUR, steps))
    scatter = np.std([each.per_h for each in found])
    assert scatter == pytest.approx(np.mean([each.error for each in found]), rel=0.3)


@pytest.mark.parametrize("times", [[], [1.0], [5.0] * 100, [*range(7)]])
def test_too_little_has_no_slope(times: list[float]) -> None:
    found = slope(times, times)
    assert math.isnan(found.per_h) and found.verdict(1.0) is None


@pytest.mark.parametrize(
    ("per_h", "error", "verdict"),
    [
        (0.2, 0.1, True),
        (1.0, 0.0, True),
        (-9.0, 3.0, True),
        (0.8, 0.2, None),
        (1.3, 0.2, None),
        (1.5, 0.2, False),
        (30.0, 2.0, False),
    ],
)
def test_what_cannot_be_told_is_neither_held_nor_failed(
    per_h: float, error: float, verdict: bool | None
) -> None:
    assert Slope(per_h, error, 1800.0).verdict(1.0) is verdict
    assert Slope(per_h, error, 600.0).verdict(1.0) is None  # nothing is told by ten minutes


def test_counts_are_compared_at_both_ends() -> None:
    steady = [20] * 50 + [35] + [20] * 49
    assert flatness(steady) == Flatness(20.0, 20.0, 35.0) and flatness(steady).flat is True
    growing = [20 + k // 10 for k in range(100)]
    assert flatness(growing) == Flatness(20.0, 29.0, 29.0) and flatness(growing).flat is False
    assert flatness([]).flat is None


def test_what_was_before_the_warm_up_does_not_count() -> None:
    samples = [Sample(t, 500.0 - t if t < 100 else 400.0, 7, 3, t / 4) for t in range(0, 400, 2)]
    found = findings(samples, 100.0)
    assert found.memory_mib == 400.0 and found.growth.per_h == 0.0
    assert found.cores == pytest.approx(0.25)
    assert math.isnan(findings(samples, 1000.0).growth.per_h)


def test_memory_of_all_together_is_their_sum() -> None:
    a = [Sample(t, 100.0 + 3.0 * t / 3600.0, 1, 1, 0.0) for t in HOUR]
    b = [Sample(t, 50.0 - 1.0 * t / 3600.0, 1, 1, 0.0) for t in HOUR if t != 20.0]
    assert together({"a": a, "b": b}, 600.0).per_h == pytest.approx(2.0)


# -- what nodes print, and poses -------------------------------------------------------------


def test_errors_are_counted_once_with_their_traceback() -> None:
    words = Words(lambda: 7.0)
    lines = [
        "[a/node] [INFO] [1.0] [a.node]: recording",
        "[a/node] [WARN] [1.0] [a.node]: no frames for 1.1 s",
        "[b] [ERROR] [2.0] [b]: reader ended: KeyError: 3",
        "[b] Traceback (most recent call last):",
        '[b]   File "x.py", line 3, in y',
        "[b] KeyError: 3",
        "[b] [INFO] [2.5] [b]: goes on",
        "[b] ended with code -9: starts again in 1 s",
        "[a/node] Exception in thread Thread-3:",
    ]
    new = [words.take(line) for line in lines]
    assert [k for k, is_new in enumerate(new) if is_new] == [2, 7, 8] and words.count == 3
    assert words.warnings == {"a/node": 1}
    assert words.troubles[0] == f"7.0 s {lines[2]}" and f"7.0 s {lines[5]}" in words.troubles
    assert not any("goes on" in line for line in words.troubles)


def test_poses_are_counted_and_timed() -> None:
    times = np.arange(101) / 10
    found = pose_findings(times, np.linspace(0.1, 0.2, 101))
    assert (found.count, found.rate_hz) == (101, pytest.approx(10.0))
    assert found.age_ms == pytest.approx((150.0, 195.0, 199.0))
    nothing = pose_findings([], [])
    assert nothing.count == 0 and math.isnan(nothing.rate_hz) and math.isnan(nothing.age_ms[0])


def test_the_rate_is_that_of_the_last_minute() -> None:
    rate = RecentRate(60.0)
    assert math.isnan(rate.rate_hz(60.0, 300))
    assert rate.rate_hz(120.0, 900) == 10.0
    assert rate.rate_hz(180.0, 900) == 0.0


# -- accounts --------------------------------------------------------------------------------

VALUES = {
    "/a": {"sent": "10"},
    "/b": {"came": "7", "dropped: t: bad": "1", "dropped: t: empty": "1", "dropped: t: gap": "4"},
}
ACCOUNT = Account(
    "a to b",
    [Entry("/a", "sent", "sent")],
    [
        Entry("/b", "came", "came"),
        Entry("/b", "dropped: t: *", "refused", without=("dropped: t: gap",)),
        Entry("/b", "dropped: lost", "lost"),
    ],
)


def test_an_account_closes_exactly_or_says_what_is_missing() -> None:
    open_ = balance(ACCOUNT, VALUES)
    assert open_.found == [("came", 7), ("refused", 2), ("lost", 0)]
    assert open_.difference == 1 and not open_.closes
    assert str(open_) == "a to b: 10 sent = 7 came + 2 refused: 1 missing"
    closed = balance(ACCOUNT, VALUES | {"/b": VALUES["/b"] | {"dropped: lost": "1"}})
    assert closed.closes and str(closed).endswith("+ 1 lost: closes")


@pytest.mark.parametrize(
    ("values", "restarted", "why"),
    [
        ({"/a": VALUES["/a"]}, (), "/b did not say anything"),
        (VALUES | {"/a": {"sent": "9"}}, ("/b",), "/b was started again"),
        (VALUES | {"/a": {"sent": "None"}}, (), "None"),
    ],
)
def test_what_is_not_known_does_not_close(
    values: dict[str, dict[str, str]], restarted: tuple[str, ...], why: str
) -> None:
    found = balance(ACCOUNT, values, restarted)
    assert not found.closes and why in found.unknown


def nodes_of(name: str, **arguments: object) -> list[NodeSpec]:
    return bringup.graph(name).nodes({"emulated": True, **arguments})


def test_each_way_of_a_graph_has_an_account() -> None:
    nodes = nodes_of("radar_pose", refiner=True, lifter=True)
    names = {account.name for account in soak_accounts.accounts(nodes)}
    assert {
        "radar_h, packets on the wire",
        "radar_v, packets that are missing",
        "radar_h/radar_driver, frames",
        "radar_h/adc to radar_h/radar_preprocessor",
        "radar_v/heatmap to mamba_pose",
        "pose2d to pose_refiner",
        "refined/pose2d to pose_lifter",
        "pose3d to pose_refiner_3d",
        "mamba_pose, frames",
        "pose_lifter",
        "pose_refiner_3d, frames",
    } <= names
    assert soak_accounts.without_account(nodes) == ["/visualizer"]


def test_accounts_are_the_same_in_one_process_and_in_a_namespace() -> None:
    apart = soak_accounts.accounts(nodes_of("radar_pose", namespace="robot"))
    composed = soak_accounts.accounts(nodes_of("radar_pose", namespace="robot", composed=True))
    assert apart == composed
    assert any(account.name == "robot/radar_h/heatmap to robot/mamba_pose" for account in apart)


def test_nodes_count_what_accounts_name() -> None:
    """Every name of an account is one that stands in the sources of a node."""
    package = Path(soak.__file__).parent
    folders = [package / name for name in ("nodes", "radar", "simulation")]
    text = "\n".join(path.read_text("utf-8") for of in folders for path in of.glob("*.py"))
    nodes = [
        *nodes_of("radar_pose", refiner=True, lifter=True),
        *nodes_of("everything", radars=False, face_source="face.mp4"),
    ]
    entries = [
        entry
        for account in soak_accounts.accounts(nodes)
        for entry in (*account.given, *account.found)
    ]
    assert len(entries) > 80
    for entry in entries:
        key = entry.key.removeprefix("dropped: ").removesuffix(" total").removesuffix(": *")
        key = re.sub(r"^(radar_[hv]|camera_\d)(/| |: )", "", key).split(": ")[-1]
        assert re.sub(r"^heatmaps of radar_[hv] |^refined/", "", key) in text, entry


# -- options, faults and the report ----------------------------------------------------------


def test_the_graph_is_emulated_and_loses_what_was_asked_for() -> None:
    options = soak.Options("everything", {"radar_threads": "1", "face": "false"}, loss=0.25)
    nodes = {node.label: node for node in soak.graph_nodes(options)}
    assert nodes["radar_emulator"].parameters["loss"] == 0.25
    assert nodes["rig_emulator"].parameters["loss"] == 0.25
    assert {"pose_refiner", "pose_refiner_3d", "mamba_pose", "densewarper"} <= nodes.keys()
    assert "rppg" not in nodes
    assert [pull.what for pull in soak.pulls([*nodes.values()])] == [
        *("radar_h", "radar_v", "radar_h and radar_v", "camera_0")
    ]
    assert set(soak.pose_topics([*nodes.values()])) == {
        *("/pose2d", "/refined/pose2d", "/pose3d", "/refined/pose3d")
    }


@pytest.mark.parametrize("name", ["replay", "heart_rate", "nothing"])
def test_a_graph_that_does_not_go_on_is_refused(name: str) -> None:
    with pytest.raises(BringupError):
        soak.graph_nodes(soak.Options(name))


def made_up() -> soak.Record:
    """Return the record of an hour in which all held."""
    samples = {
        label: [Sample(t, 100.0 + 0.1 * t / 3600, 20, 9, t / 10) for t in HOUR]
        for label in ("mamba_pose", "radar_h/radar_driver")
    }
    return soak.Record(
        soak.Options(),
        seconds=3600.0,
        samples=samples,
        restarts=dict.fromkeys(samples, 0),
        poses={"/pose2d": PoseFindings(36000, 10.0, (500.0, 600.0, 700.0))},
        events=[soak.Event(600.0, "unplugged: radar_h"), soak.Event(610.0, "plugged in: radar_h")],
        expected_back=1,
        back_s=[0.4],
        balances=[balance(ACCOUNT, VALUES | {"/a": {"sent": "9"}})],
    )


def test_an_hour_in_which_all_held(tmp_path: Path) -> None:
    record = made_up()
    assert record.held and soak_report.verdict(record) == "All held that could be told."
    soak_report.write(record, tmp_path)
    page = (tmp_path / "report.md").read_text("utf-8")
    assert "+0.10 ± 0.00 MiB/h" in page and "610.0 s: plugged in: radar_h" in page
    assert (tmp_path / "soak.png").stat().st_size > 5000
    rows = {row["id"]: row for row in soak_report.results(record)}
    assert rows["soak.mamba_pose.memory_growth"]["value"] == pytest.approx(0.1)
    assert rows["soak.all.memory_growth"]["value"] == pytest.approx(0.2)
    assert not [name for name, row in rows.items() if row["met"] is False]
    json.dumps(soak_report.content(record))


def growing(record: soak.Record) -> None:
    record.samples["mamba_pose"] = [Sample(t, t / 600, 20, 9, 0.0) for t in HOUR]


def leaking(record: soak.Record) -> None:
    record.samples["mamba_pose"] = [Sample(t, 9.0, int(t), 9, 0.0) for t in HOUR]


def threading_(record: soak.Record) -> None:
    record.samples["mamba_pose"] = [Sample(t, 9.0, 9, int(t), 0.0) for t in HOUR]


def failing(record: soak.Record) -> None:
    record.words.take("[mamba_pose] Traceback (most recent call last):")


def restarting(record: soak.Record) -> None:
    record.restarts["mamba_pose"] = 1


def losing(record: soak.Record) -> None:
    record.balances = [balance(ACCOUNT, VALUES)]


def mute(record: soak.Record) -> None:
    record.poses["/pose3d"] = pose_findings([], [])


def ended(record: soak.Record) -> None:
    record.failure = "mamba_pose: called wrongly"


def away(record: soak.Record) -> None:
    record.back_s.clear()


def late(record: soak.Record) -> None:
    record.back_s[0] = 2.5


def killed(record: soak.Record) -> None:
    record.exit_code = 1


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (growing, "memory of mamba_pose"),
        (leaking, "files of mamba_pose"),
        (threading_, "threads of mamba_pose"),
        (failing, "no unhandled exception, no error"),
        (restarting, "no node ended"),
        (losing, "a to b"),
        (mute, "/pose3d comes"),
        (ended, "no node ended"),
        (away, "frames again within 2 s"),
        (late, "frames again within 2 s"),
        (killed, "the end within its time"),
    ],
)
def test_one_thing_that_fails_fails_the_soak(spoil: object, name: str) -> None:
    record = made_up()
    spoil(record)  # type: ignore[operator]
    assert not record.held
    assert name in soak_report.verdict(record)
    assert name in soak_report.summary(record)


def test_a_short_soak_does_not_judge_memory() -> None:
    record = made_up()
    record.options = replace(record.options, warm_up_s=4000.0)
    assert record.held and "to tell: 7 of" in soak_report.verdict(record)
    assert not soak.Record(soak.Options()).held  # there were no poses


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing"], "there is no graph 'nothing'"),
        (["replay"], "soak wants a graph that goes on for ever"),
        (["multiview", "rate"], "'rate' is not of the form NAME:=VALUE"),
        (["--duration", "0"], "want a number above 0"),
    ],
)
def test_a_mistake_gets_one_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.setattr(cli, "_use_ros", lambda: None)
    assert cli.main(["soak", *words]) == cli.USAGE_ERROR
    assert sentence in capsys.readouterr().err


# -- live ------------------------------------------------------------------------------------


@pytest.mark.ros
def test_only_radars_that_there_are_can_be_unplugged() -> None:
    from radar_pose_ros.nodes.radar_emulator import check_radars

    check_radars("")
    check_radars("radar_v radar_h")
    with pytest.raises(ValueError, match="there is no radar_x, radar_y, only radar_h and radar_v"):
        check_radars("radar_x radar_h radar_y")


@pytest.mark.ros
def test_a_few_seconds_of_cameras_close_their_accounts(
    ros_environment, tmp_path, monkeypatch
) -> None:
    """The smallest graph: a rig, its poses, refined; one camera is unplugged meanwhile."""
    monkeypatch.setattr(soak, "AFTER_PLUG_S", 1.0)
    options = soak.Options(
        "multiview",
        {"visualizer": "false"},
        duration_s=3.0,
        loss=0.1,
        unplug_every_s=1.0,
        unplug_for_s=0.5,
        out=str(tmp_path / "out"),
    )
    lines: list[str] = []
    record = soak.run(options, lines.append)
    assert record.held, soak_report.summary(record)
    assert record.poses["/refined/pose3d"].count > 40
    assert len(record.balances) >= 8 and all(balance.given[0][1] for balance in record.balances)
    told = ["unplugged: camera_0", "plugged in: camera_0"]  # a second time: too near to the end
    assert [event.what for event in record.events] == told
    assert "mamba" not in (tmp_path / "out" / "nodes.log").read_text("utf-8")


@pytest.mark.ros
@pytest.mark.slow
def test_everything_for_a_minute(ros_environment, tmp_path) -> None:
    options = soak.Options(
        "everything",
        duration_s=60.0,
        unplug_every_s=20.0,
        unplug_for_s=4.0,
        warm_up_s=20.0,
        out=str(tmp_path),
    )
    record = soak.run(options, print)
    assert not record.words.count and all(b.closes for b in record.balances), soak_report.summary(
        record
    )
    assert record.expected_back == len(record.back_s) == 2
    assert isinstance(record.balances[0], Balance)
