"""W1 to W12 in volumes for every day; `make campaign ARGS=W` runs them at the whole."""

from __future__ import annotations

import os

import pytest
from faults import cfg_rows, port_rows, wire_rows

from radar_pose_ros.radar import assembler, dca1000, ports
from radar_pose_ros.radar.config import ConfigError

SEED = 20_260


@pytest.mark.parametrize(
    ("run", "volume"),
    [
        (wire_rows.random_datagrams, 20_000),
        (wire_rows.noise_within_a_stream, 1_000),
        (port_rows.random_datagrams_by_udp, 5_000),
        (wire_rows.damaged_packets, 20_000),
        (wire_rows.packets_in_any_order, 20_000),
        (wire_rows.independent_loss, 12),
        (port_rows.loss_by_udp, 60),
        (wire_rows.bursts_of_loss, 8),
        (wire_rows.disorder, 20),
        (wire_rows.counters_that_wrap, 10),
        (port_rows.radar_restarts, 8),
        (port_rows.card_restarts, 5),
        (port_rows.second_senders, 5),
        (port_rows.starts_and_stops, 5),
        (wire_rows.frame_sizes, 4),
        (cfg_rows.configuration_files, 400),
        (port_rows.serial_scripts, 1),
        pytest.param(port_rows.slow_answers, 2, marks=pytest.mark.slow),
        (port_rows.status_words, 2_000),
        (port_rows.starts_that_fail, 300),
        (port_rows.answers_that_are_none, 12),
        (port_rows.answers_unasked, 3_000),
    ],
    ids=lambda value: getattr(value, "__name__", f"{value}"),
)
def test_row(run, volume):
    """W1 to W12: what must hold, holds."""
    outcome = run(volume, SEED)
    print(f"seed {SEED}: {outcome.figures}")
    assert outcome.held, f"seed {SEED}: {outcome.figures}"


# -- rows can fail -------------------------------------------------------------------------------


def follow_anything(patch):
    """Any three stray packets make a stream."""
    patch.setattr(assembler, "_common_payload", lambda a, b: 1456)


def believe_anything(patch):
    """A packet is where its byte count says, whatever its number."""
    patch.setattr(assembler.FrameAssembler, "_on_the_line", lambda *_: True)


def trip_over_nothing(patch):
    """An empty datagram, where no other is expected, is looked into."""
    init = assembler.FrameAssembler.__init__

    def made(self, *arguments, **options):
        init(self, *arguments, **options)
        self._fast_length = 0

    patch.setattr(assembler.FrameAssembler, "__init__", made)


def follow_nothing(patch):
    patch.setattr(assembler, "_SUSPECTS_THAT_MAKE_A_STREAM", 1000)


def misplace(patch):
    """Bytes of a packet that is not simply the next one are two bytes too far on."""
    fill = assembler._OpenFrame.fill
    patch.setattr(
        assembler._OpenFrame, "fill", lambda self, start, payload: fill(self, start ^ 2, payload)
    )


def forget_marks(patch):
    """Frames that lack bytes say that all chirps are whole."""

    def close(self, frame, frames, close=assembler.FrameAssembler._close):
        close(self, frame, frames)
        for published in frames:
            published.chirp_valid[:] = 1

    patch.setattr(assembler.FrameAssembler, "_close", close)


def forget_lost_frames(patch):
    """Frames of which nothing came are not counted."""
    patch.setattr(
        assembler.FrameAssembler,
        "_lose_frames_before",
        lambda self, index: setattr(self, "_next_index", index),
    )


def small_window(patch):
    patch.setitem(assembler.FrameAssembler.__init__.__kwdefaults__, "reorder_window", 8)


def counters_do_not_wrap(patch):
    patch.setattr(assembler, "_signed", lambda difference, modulus: difference)


def nobody_is_foreign(patch):
    patch.setattr(assembler.FrameAssembler, "_is_foreign", lambda *_: False)


def never_end(patch):
    """A start does not end the recording before it."""
    patch.setattr(assembler.FrameAssembler, "flush", lambda self: [])


def leave_open(patch):
    """A descriptor is left at each close."""
    close = ports.DcaUdpSource.close
    patch.setattr(ports.DcaUdpSource, "close", lambda self: (close(self), os.dup(2))[0])


def name_no_line(patch):
    def parse(*_):
        raise ConfigError("something is wrong")

    patch.setattr(cfg_rows, "parse_cfg", parse)


def prompts_confuse(patch):
    patch.setattr(ports, "_without_prompt", lambda line: line)


def forget_half_lines(patch):
    """What came behind a "Done" is not the beginning of the next line."""
    forgetful = property(lambda self: b"", lambda self, value: None)
    patch.setattr(ports.SerialConfigPort, "_half_line", forgetful, raising=False)


def all_is_success(patch):
    patch.setattr(dca1000.Reply, "ok", property(lambda self: True))


def any_answer_is_right(patch):
    patch.setattr(
        ports, "decode_reply", lambda datagram: dca1000.Reply(dca1000.Command.RESET_FPGA, 0)
    )


@pytest.mark.parametrize(
    ("run", "volume", "sabotage"),
    [
        (wire_rows.random_datagrams, 5_000, follow_anything),
        (port_rows.random_datagrams_by_udp, 500, follow_anything),
        (wire_rows.noise_within_a_stream, 200, trip_over_nothing),
        (wire_rows.damaged_packets, 500, believe_anything),
        (wire_rows.damaged_packets, 500, forget_marks),
        (wire_rows.packets_in_any_order, 2_000, misplace),
        (wire_rows.independent_loss, 3, forget_marks),
        (port_rows.loss_by_udp, 10, forget_marks),
        (wire_rows.bursts_of_loss, 3, forget_lost_frames),
        (wire_rows.disorder, 5, small_window),
        (wire_rows.counters_that_wrap, 2, counters_do_not_wrap),
        (port_rows.radar_restarts, 3, follow_nothing),
        (port_rows.card_restarts, 2, never_end),
        (port_rows.second_senders, 1, nobody_is_foreign),
        (port_rows.starts_and_stops, 2, leave_open),
        (wire_rows.frame_sizes, 2, misplace),
        (cfg_rows.configuration_files, 3, name_no_line),
        (port_rows.serial_scripts, 1, prompts_confuse),
        (port_rows.serial_scripts, 1, forget_half_lines),
        (port_rows.status_words, 10, all_is_success),
        (port_rows.starts_that_fail, 20, all_is_success),
        (port_rows.answers_that_are_none, 1, any_answer_is_right),
    ],
    ids=lambda value: getattr(value, "__name__", f"{value}"),
)
def test_rows_notice_what_is_wrong(run, volume, sabotage, monkeypatch):
    sabotage(monkeypatch)
    outcome = run(volume, SEED)
    assert not outcome.held
    assert "Did not hold" in outcome.figures
