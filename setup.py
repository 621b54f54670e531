"""For machines without ROS: `pip install -e .` to train and evaluate. colcon ignores this file."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def package_xml(tag: str) -> str:
    """Return the text of one element of package.xml."""
    return " ".join(ElementTree.parse(ROOT / "package.xml").findtext(tag, "").split())  # nosec B314 # ours


def pinned(section: str) -> list[str]:
    """Return the lines of one section of requirements.txt; a section starts with `# -- name`."""
    lines: list[str] = []
    inside = False
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line.startswith("# -- "):
            inside = line.startswith(f"# -- {section}")
        elif inside and line.strip():
            lines.append(line.split("  #")[0].strip())
    return lines


setup(
    name="radar_pose_ros",
    version=package_xml("version"),
    description=package_xml("description"),
    license=package_xml("license"),
    python_requires=">=3.10",
    packages=find_packages(include=["radar_pose_ros", "radar_pose_ros.*"]),
    package_data={"radar_pose_ros": ["**/*.yaml"]},
    install_requires=pinned("ground floor"),
    extras_require={
        "test": pinned("tests and lint"),
        "view": [line for line in pinned("tests and lint") if line.startswith("rerun-sdk")],
    },
    entry_points={"console_scripts": ["radar-pose = radar_pose_ros.cli:main"]},
)
