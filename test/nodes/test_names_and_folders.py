"""What names from outside may name: topics, links, folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from radar_pose_ros.nodes.links import link_to_terminal
from radar_pose_ros.nodes.log_folder import VARIABLE, provide_log_folder
from radar_pose_ros.nodes.view_names import MOST_VIEWS, view_names


def test_views_are_names_with_which_topics_begin() -> None:
    assert view_names(" left_eye  rig/camera_0 ") == ["left_eye", "rig/camera_0"]
    assert view_names("") == []


@pytest.mark.parametrize(
    "text", ["/cmd", "a b/", "0eye", "a//b", "é", "~", "x" * 101, "a " * (MOST_VIEWS + 1), "a-b"]
)
def test_other_names_of_views_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="views: want at most 64 names of letters, digits and _"):
        view_names(text)


def test_a_link_to_a_terminal_takes_the_place_of_another_one_only(tmp_path: Path) -> None:
    link = tmp_path / "port"
    link_to_terminal(link, "/dev/pts/7")
    link_to_terminal(link, "/dev/pts/8")
    assert os.readlink(link) == "/dev/pts/8"
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.write_text("mine")
    other.symlink_to(mine)
    nowhere = tmp_path / "nowhere"
    nowhere.symlink_to(tmp_path / "not" / "there")
    for path in (mine, other, nowhere):
        with pytest.raises(FileExistsError, match="is not a link to an emulated port"):
            link_to_terminal(path, "/dev/pts/9")
    assert mine.read_text() == "mine" and os.readlink(other) == str(mine)


def test_logs_go_elsewhere_where_the_home_cannot_be_written_to(tmp_path: Path) -> None:
    usual = {"ROS_HOME": str(tmp_path)}
    provide_log_folder(usual)
    assert VARIABLE not in usual and (tmp_path / "log").is_dir()
    (tmp_path / "file").write_text("")
    nowhere = {"ROS_HOME": str(tmp_path / "file")}
    provide_log_folder(nowhere)
    assert os.access(nowhere[VARIABLE], os.W_OK)
    asked = {VARIABLE: "/anywhere"}
    provide_log_folder(asked)
    assert asked == {VARIABLE: "/anywhere"}
