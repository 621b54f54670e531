"""The campaign: whatever becomes of a row, there is a result, and nothing is left behind."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import psutil
import pytest
from faults import campaign
from faults.rows import Outcome, Row

ROWS_TO_TRY = """
import os, signal, subprocess, sys, time
from faults.rows import Outcome, row

def try_row(id):
    return row(id, fault="f|g", must_hold="m", volume=100, unit="things")

@try_row("W1")
def holds(volume, seed):
    return Outcome(True, f"{volume} of seed {seed}, domain {os.environ['ROS_DOMAIN_ID']}")

@try_row("W2")
def fails(volume, seed):
    return Outcome(False, "3 of 100 lost")

@try_row("W10")
def raises(volume, seed):
    raise KeyError("a thing")

@try_row("R1")
def hangs(volume, seed):
    time.sleep(3600)

@try_row("R2")
def is_killed(volume, seed):
    os.kill(os.getpid(), signal.SIGKILL)

@try_row("R3")
def leaves_a_process(volume, seed):
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"],
                     start_new_session=True)
    return Outcome(True, "all well")

@try_row("R4")
def exits(volume, seed):
    print("last words", flush=True)
    os._exit(7)

@try_row("own")
def leaves_files(volume, seed):
    import tempfile
    open("here", "w").close()
    tempfile.mkdtemp()
    return Outcome(True, os.getcwd())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("campaign") / "rows_to_try"
    path.mkdir()
    (path / "some_rows.py").write_text(ROWS_TO_TRY)
    (path / "broken_rows.py").write_text("import there_is_no_such_module\n")
    return path


@pytest.fixture(scope="module")
def results(folder: Path) -> dict[str, dict]:
    """What the campaign says of each row; the one that hangs is given two seconds."""
    found, _ = campaign.discover(folder)
    return {
        row.name: campaign.run_row(row, 5, 42, 2.0 if row.name == "hangs" else 60.0)
        for row in found
    }


def test_rows_are_found_in_order(folder):
    found, broken = campaign.discover(folder)
    assert [row.id for row in found] == ["W1", "W2", "W10", "R1", "R2", "R3", "R4", "own"]
    assert list(broken) == ["rows_to_try.broken_rows"]
    assert "there_is_no_such_module" in broken["rows_to_try.broken_rows"]


def test_rows_are_chosen_by_id_letter_or_name(folder):
    found, _ = campaign.discover(folder)
    names = lambda words: [row.name for row in campaign.choose(words, found)]  # noqa: E731
    assert names([]) == [row.name for row in found]
    assert names(["R2", "W1"]) == ["holds", "is_killed"]
    assert names(["W"]) == ["holds", "fails", "raises"]
    assert names(["hangs", "own"]) == ["hangs", "leaves_files"]
    with pytest.raises(ValueError, match="no row is called 'W3', there are W1, W2, W10, R1"):
        campaign.choose(["W1", "W3"], found)


@pytest.mark.parametrize(
    ("name", "held", "figures"),
    [
        ("fails", False, "3 of 100 lost"),
        ("raises", False, "raised KeyError('a thing') in some_rows.py line 18"),
        ("hangs", False, "not done within 2 s. killed by SIGKILL"),
        ("is_killed", False, "killed by SIGKILL"),
        ("exits", False, "ended with code 7 and without an outcome: last words"),
    ],
)
def test_whatever_becomes_of_a_row_is_a_result(results, name, held, figures):
    assert (results[name]["held"], results[name]["figures"]) == (held, figures)


def test_a_row_that_holds(results):
    result = results["holds"]
    assert result["held"] is True
    assert result["figures"].startswith("5 of seed 42, domain ")
    assert 1 <= int(result["figures"].rpartition(" ")[2]) <= 100
    about = {key: result[key] for key in ("id", "name", "whole_volume", "volume", "seed", "unit")}
    assert about == {
        "id": "W1", "name": "holds", "whole_volume": 100, "volume": 5, "seed": 42,
        "unit": "things",
    }  # fmt: skip
    assert 0 < result["seconds"] < 60


def test_time_is_what_was_given(results):
    assert 2 <= results["hangs"]["seconds"] < 10


def test_a_process_that_is_left_is_ended_and_told(results):
    result = results["leaves_a_process"]
    assert result["held"] is False
    assert result["figures"].startswith("all well. Left running: python")
    mine = psutil.Process()
    for other in psutil.process_iter(["cmdline"]):
        if "import time; time.sleep(3600)" in (other.info["cmdline"] or []):
            assert mine not in other.parents()


def test_files_are_gone_with_the_row(results):
    result = results["leaves_files"]
    assert result["held"] is True
    work = Path(result["figures"])
    assert work.name == "work" and not work.parent.exists()


# ------------------------------------------------------------------------ what is kept


def test_a_run_prints_a_line_per_row_and_keeps_what_others_left(folder, tmp_path, capsys):
    out = tmp_path / "runs" / "campaign.json"
    assert campaign.main(["W1", "--out", str(out), "--volume-scale", "0.1"], folder) == 0
    assert campaign.main(["W2", "--out", str(out), "--seed", "9"], folder) == 1
    assert campaign.main(["W1", "--out", str(out), "--seed", "8"], folder) == 0
    entries = json.loads(out.read_text())["rows"]
    assert [(e["name"], e["seed"], e["volume"]) for e in entries] == [
        ("holds", 8, 100),
        ("fails", 9, 100),
    ]
    for entry in entries:
        assert set(entry["machine"]) == {"cpu", "cores", "memory_gib", "os", "python"}
        assert entry["version"] and entry["date"].startswith("20")
        assert "revision" in entry
    printed = capsys.readouterr()
    first, second, third = printed.out.splitlines()
    assert first.startswith("W1   holds: 10 things ... held, ")
    assert second.startswith("W2   fails: 100 things ... DID NOT HOLD, ")
    assert second.endswith(" s: 3 of 100 lost")
    assert "seed 8" in third
    assert printed.err.count("rows_to_try.broken_rows: cannot be imported") == 3


def test_mistakes_in_the_command_are_said(folder, tmp_path, capsys):
    out = tmp_path / "campaign.json"
    assert campaign.main(["W99", "--out", str(out)], folder) == 2
    assert "no row is called 'W99'" in capsys.readouterr().err
    out.write_text("{}")
    assert campaign.main(["W1", "--out", str(out)], folder) == 2
    assert "does not hold rows of a campaign" in capsys.readouterr().err
    assert out.read_text() == "{}"
    for words in (["--volume-scale", "0"], ["--limit", "-1"], ["--seed", "-1"]):
        with pytest.raises(SystemExit):
            campaign.parse(words)


def test_an_interrupt_ends_the_row_and_keeps_the_rest(folder, tmp_path, monkeypatch, capsys):
    out = tmp_path / "campaign.json"
    real, begun = campaign.subprocess.Popen.wait, []

    def interrupted(process, timeout=None):
        if timeout == 50.0:
            begun.append(process)
            time.sleep(0.2)
            raise KeyboardInterrupt
        return real(process, timeout)

    assert campaign.main(["W1", "--out", str(out)], folder) == 0
    monkeypatch.setattr(campaign.subprocess.Popen, "wait", interrupted)
    assert campaign.main(["hangs", "--out", str(out), "--limit", "50"], folder) == 130
    [process] = begun
    assert process.returncode is not None
    assert [entry["name"] for entry in campaign.load(out)] == ["holds"]


# ------------------------------------------------------------------------ the page


def entry(identifier, name="x", *, volume=100, held=True, figures="seen", **others):
    return {
        "id": identifier, "name": name, "fault": f"fault of {name}", "must_hold": "must",
        "whole_volume": 100, "unit": "things", "volume": volume, "seed": 3, "held": held,
        "figures": figures, "seconds": 61.2, "date": "2026-01-02T03:04:05+00:00",
        "machine": {"cpu": "C", "cores": 2, "memory_gib": 4.0, "os": "O", "python": "3.12.1"},
        "version": "0.1.0", "revision": "abc+", **others,
    }  # fmt: skip


def made_row(identifier, name):
    return Row(
        identifier, name, "fault now", "must now", 100, "things", lambda v, s: Outcome(True, "")
    )


def test_the_page_takes_whole_runs_and_keeps_what_it_has():
    found = [made_row("W1", "a"), made_row("W2", "b"), made_row("W3", "c")]
    old = [entry("W1", "a", figures="old"), entry("W2", "b", figures="kept"), entry("R9", "gone")]
    runs = [
        entry("W1", "a", held=False, figures="new"),
        entry("W2", "b", volume=99, figures="part"),
    ]
    made = campaign.published(found, old, runs)
    assert [(e["name"], e["held"], e.get("figures")) for e in made] == [
        ("a", False, "new"),
        ("b", True, "kept"),
        ("c", None, None),
    ]
    assert made[2]["fault"] == "fault now"
    assert campaign.published(found, made, []) == made


def test_every_row_is_on_the_page_with_what_was_seen():
    text = campaign.page(
        [
            entry("W1", "a", figures="1|2"),
            entry("W1", "b", held=False, figures="2 lost"),
            {**campaign.describe(made_row("W2", "c")), "held": None},
            entry("load", "d", revision=None),
        ]
    )
    lines = text.splitlines()
    ran = "2026-01-02, 61 s, 0.1.0, abc+"
    seen = "**did not hold**: 2 lost"
    assert f"| W1 | fault of a | must | 100 things | 1\\|2 | {ran} | `a --seed 3` |" in lines
    assert f"| W1 | fault of b | must | 100 things | {seen} | {ran} | `b --seed 3` |" in lines
    assert "| W2 | fault now | must now | 100 things | not run |  | `c` |" in lines
    assert "| W12 | every status word |  |  | not run |  |  |" in lines
    assert "3 rows were run, 2 of them held. Not run: W2, W3," in text
    assert "Of 26 ids 1 have figures" in text
    headings = [line for line in lines if line.startswith("#")]
    assert headings == [
        "# Fault campaign", "## On the wire", "## In the graph", "## Under load", "## Where",
    ]  # fmt: skip
    assert lines[-1] == "All on C, 2 cores, 4 GiB, O, Python 3.12.1."


def test_two_machines_are_told_apart():
    other = {"cpu": "D", "cores": 8, "memory_gib": 16.0, "os": "O", "python": "3.11.1"}
    text = campaign.page([entry("W1"), entry("W2", machine=other), entry("W3", machine=other)])
    assert text.endswith(
        "* W1: C, 2 cores, 4 GiB, O, Python 3.12.1\n"
        "* W2, W3: D, 8 cores, 16 GiB, O, Python 3.11.1\n"
    )


def test_the_page_is_the_one_that_its_figures_make():
    """`make campaign-page` makes it anew."""
    entries = campaign.load(campaign.DATA)
    assert campaign.PAGE.read_text("utf-8") == campaign.page(entries)
    assert all(e["volume"] >= e["whole_volume"] for e in entries if e["held"] is not None)


def test_all_that_is_listed_is_on_the_page():
    wanted = {f"W{number}" for number in range(1, 13)} | {f"R{number}" for number in range(1, 15)}
    assert set(campaign.LISTED) == wanted
    text = campaign.PAGE.read_text("utf-8")
    assert all(f"\n| {name} | " in text for name in wanted)


def test_rows_of_the_wire_are_in_the_campaign():
    """Each id of the wire has a row, and each row of it a name of its own."""
    found, _ = campaign.discover()
    wire = [row for row in found if row.id.startswith("W")]
    assert {row.id for row in wire} == {f"W{number}" for number in range(1, 13)}
    names = [row.name for row in found]
    assert len(set(names)) == len(names), sorted(n for n in names if names.count(n) > 1)
    assert sys.modules["faults.campaign"] is campaign
