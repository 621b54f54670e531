"""``radar-pose view``: a bag or a running graph in a window, a browser, a file, a picture."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

import numpy as np
import rerun as rr
import rerun_cli
from PIL import Image

from radar_pose_ros.recording import BagReader, RecordingError, stamp_ns
from radar_pose_ros.view.browser import Browser, BrowserError, end_with_parent, find
from radar_pose_ros.view.drawer import TIMED, Drawer, is_drawn
from radar_pose_ros.view.layout import Content, blueprint

APPLICATION = "radar_pose_ros"
LOOPBACK = "127.0.0.1"
UNCOUNTED = {"CI": "true"}  # with it Rerun's viewer tells its makers nothing, and keeps no file
MEMORY = (
    "1GB"  # of the viewer, and of the server that keeps what came for browsers that come later
)
SIZE_PX = (1600, 1000)
START_TIMEOUT_S = 30.0
PICTURE_TIMEOUT_S = 180.0  # on a busy machine without a graphics card
PERIOD_S = 1.0  # between two looks at the page
STILL = 3  # looks that show the same: all is drawn
SAME = 1e-3  # share of the pixels in which they may differ
FEW_COLOURS = 64  # a page that still loads has fewer
MOST_BYTES = 400_000
_GENERAL = ("/tf", "/tf_static", "/diagnostics", "/rosout")  # of all namespaces


class ViewError(RuntimeError):
    """Something cannot be shown: says what, and what helps."""


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    Parameters
    ----------
    bag : str
        "" for the running graph.
    web : bool
        Serve the viewer to a browser in place of a window.
    port : int
        Of the page; what is shown comes over the next one.
    save, picture : str
        Files to write in place of showing anything; "" for none.
    at_s : float, optional
        Of the picture: seconds from the first measurement on; default: all of the bag.
    namespace : str
        Only topics below it; "" for all.
    """

    bag: str = ""
    web: bool = False
    port: int = 9090
    save: str = ""
    picture: str = ""
    at_s: float | None = None
    namespace: str = ""


def run(options: Options, live: Callable[[], int], say: Callable[[str], None] = print) -> int:
    """Show what was asked for, until Ctrl-C or the window is closed.

    Parameters
    ----------
    options : Options
    live : callable
        Runs the node that reads a running graph, which connects to `server_url`.
    say : callable
        Gets lines for the user.

    Returns
    -------
    int
        Exit code.

    Raises
    ------
    ViewError, RecordingError, BrowserError
    """
    if options.at_s is not None and not options.picture:
        raise ViewError("--at is the instant of a --picture")
    if options.picture and not options.bag:
        raise ViewError("--picture wants a BAG: record the running graph first")
    if options.bag:
        with BagReader(options.bag) as reader:  # what is wrong with it is better known at once
            _drawn(reader, options.namespace)
    if options.picture:
        picture(options.bag, options.picture, options.at_s, options.namespace)
        say(f"written: {options.picture}")
        return 0
    if options.save and options.bag:
        recording = new_recording()
        recording.save(options.save)
        show(recording, options.bag, options.namespace, say=say)
        recording.disconnect()
        say(f"written: {options.save}; `rerun {options.save}` opens it")
        return 0
    if options.save:
        return live()
    web = options.web or not has_display()
    with viewer(options.port, web, say) as process:
        if not options.bag:
            threading.Thread(target=_end_with, args=(process,), daemon=True).start()
            return live()
        recording = new_recording()
        recording.connect_grpc(server_url(options.port))
        show(recording, options.bag, options.namespace, say=say)
        with contextlib.suppress(KeyboardInterrupt):
            say("Ctrl-C ends")
            process.wait()
    return 0


def _end_with(process: subprocess.Popen[bytes]) -> None:
    """Interrupt this process, which runs a node, when the window is closed."""
    process.wait()
    os.kill(os.getpid(), signal.SIGINT)


def new_recording() -> rr.RecordingStream:
    """Return a recording whose only times are those of messages."""
    recording = rr.RecordingStream(APPLICATION, recording_id=os.urandom(8).hex())
    recording.set_log_time_enabled(False)
    recording.set_log_tick_enabled(False)
    return recording


def free_recordings() -> None:
    """Free the recordings that nobody has any more: Rerun keeps them, and threads of each."""
    rr.bindings.flush_and_cleanup_orphaned_recordings()


def show(
    recording: rr.RecordingStream,
    bag: str,
    namespace: str = "",
    at_s: float | None = None,
    bare: bool = False,
    say: Callable[[str], None] = print,
) -> Drawer:
    """Draw a bag, and lay out the viewer for what is in it.

    Parameters
    ----------
    recording : rerun.RecordingStream
    bag, namespace : str
        As in `Options`.
    at_s : float, optional
        Only what describes instants so long after the first one, and before.
    bare : bool
        Without the viewer's own bar at the top.
    say : callable
        Gets a line for each kind of message that could not be drawn.

    Raises
    ------
    RecordingError
        If the bag cannot be read or holds nothing that can be drawn.
    """
    drawer, content = Drawer(recording, namespace), Content()
    begin_ns = end_ns = None
    with BagReader(bag) as reader:
        types = reader.topics
        topics = _drawn(reader, namespace)
        for recorded in reader.messages(topics) if topics else ():
            kind, message = types[recorded.topic], recorded.message
            if hasattr(message, "header"):
                time_ns = stamp_ns(message)
                if kind in TIMED:
                    begin_ns = time_ns if begin_ns is None else begin_ns
                    end_ns = time_ns if end_ns is None else max(end_ns, time_ns)
                late = begin_ns is not None and at_s is not None
                if late and time_ns > (begin_ns or 0) + 1e9 * (at_s or 0.0):
                    continue
            frame = message.header.frame_id if hasattr(message, "header") else ""
            content.note(recorded.topic, kind, frame.lstrip("/"))
            drawer.take(recorded.topic, kind, message, recorded.received_ns)
    if content == Content():
        raise RecordingError(f"{bag} holds nothing that can be drawn")
    if at_s is not None and begin_ns is not None and end_ns is not None:
        length_s = (end_ns - begin_ns) // 10_000_000 / 100
        if at_s > length_s:
            raise RecordingError(
                f"{bag} ends {length_s:.2f} s after its first measurement: --at {at_s:g} is later"
            )
    for reason, count in drawer.refused.items():
        say(f"not drawn, {count} messages: {reason}")
    recording.send_blueprint(blueprint(content, drawer.extent_m, bare))
    recording.flush()
    return drawer


def _drawn(reader: BagReader, namespace: str) -> list[str]:
    """Return the topics to draw; ``RecordingError`` if none is below a namespace asked for."""
    drawn = [topic for topic, kind in reader.topics.items() if is_drawn(topic, kind)]
    chosen = [topic for topic in drawn if is_in(topic, namespace)]
    if namespace and all(topic in _GENERAL for topic in chosen):
        there = sorted({topic.rpartition("/")[0] for topic in drawn} - {""})
        raise RecordingError(
            f"{reader.path} holds nothing below /{namespace.strip('/')} that can be drawn; "
            f"namespaces in it: {', '.join(there) or 'none'}"
        )
    return chosen


def is_in(topic: str, namespace: str) -> bool:
    """Whether a topic is below a namespace, or of those that are for all."""
    return topic in _GENERAL or topic.startswith(f"/{namespace.strip('/')}/".replace("//", "/"))


# -- windows and browsers ---------------------------------------------------------------------


def has_display() -> bool:
    """Whether a window could be opened."""
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def server_url(port: int) -> str:
    """Return where a viewer of that port takes what it is to show."""
    return f"rerun+http://{LOOPBACK}:{port + 1}/proxy"


def page_url(port: int) -> str:
    """Return the address of the browser's viewer."""
    source = quote(server_url(port), safe="")
    return f"http://{LOOPBACK}:{port}/?url={source}&hide_welcome_screen=1&theme=dark"


@contextlib.contextmanager
def viewer(
    port: int, web: bool, say: Callable[[str], None] = print, files: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Run Rerun's viewer, a window or a page for browsers, as a process of its own.

    It listens on the loopback device only, and forgets the oldest beyond `MEMORY`.

    Raises
    ------
    ViewError
        If it does not start, or a port is taken.
    """
    for number in (port, port + 1):
        if not is_free(number):
            raise ViewError(
                f"port {number} is taken, --port wants the first of two free ones, for example "
                f"{port + 10}"
            )
    command = [str(Path(rerun_cli.__file__).with_name("rerun")), *files, "--bind", LOOPBACK]
    command += ["--port", str(port + 1), "--hide-welcome-screen"]
    if web:
        command += ["--serve-web", "--web-viewer-port", str(port)]
        command += ["--server-memory-limit", MEMORY]
    else:
        command += ["--memory-limit", MEMORY]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            env={**os.environ, **UNCOUNTED},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us, and we end it
            preexec_fn=end_with_parent,
        )
        try:
            deadline_s = time.monotonic() + START_TIMEOUT_S
            while is_free(port + 1) or (web and is_free(port)):
                if process.poll() is not None or time.monotonic() > deadline_s:
                    raise ViewError(f"Rerun's viewer did not start: {_last_line(log)}")
                time.sleep(0.05)
            if web and not files:
                if not has_display():
                    say("there is no display: the view is for a browser")
                say(f"open {page_url(port)}")
                say(
                    f"from another machine: ssh -L {port}:{LOOPBACK}:{port} "
                    f"-L {port + 1}:{LOOPBACK}:{port + 1} {socket.gethostname()}, then open the "
                    "same address there"
                )
            yield process
            if process.poll():
                raise ViewError(
                    f"Rerun's viewer ended with code {process.returncode}: {_last_line(log)}"
                )
        finally:
            process.terminate()
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _last_line(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def is_free(port: int) -> bool:
    """Whether nobody listens on a port of the loopback device."""
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) != 0


def free_ports() -> int:
    """Return the first of two ports that follow each other and are free."""
    for _ in range(100):
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            port = int(probe.getsockname()[1])
        if port < 65535 and is_free(port + 1):
            return port
    raise ViewError("there are no two free ports")


# -- pictures ---------------------------------------------------------------------------------


def picture(
    bag: str,
    path: str,
    at_s: float | None = None,
    namespace: str = "",
    size_px: tuple[int, int] = SIZE_PX,
) -> None:
    """Write a picture of the viewer, as a PNG, without any display.

    Parameters
    ----------
    bag, namespace : str
    path : str
        Of the picture.
    at_s : float, optional
        Seconds from the first measurement on; default: all of the bag.
    size_px : (int, int)
        Width and height.

    Raises
    ------
    BrowserError
        If there is no Chromium, or it does not draw.
    """
    find()  # what is missing is better known at once
    with tempfile.TemporaryDirectory(prefix="radar_pose_") as folder:
        file = str(Path(folder) / "view.rrd")
        recording = new_recording()
        recording.save(file)
        show(recording, bag, namespace, at_s, bare=True)
        recording.disconnect()
        port = free_ports()
        with viewer(port, web=True, files=[file]), Browser(*size_px) as browser:
            browser.open(page_url(port) + "&renderer=webgl")
            page = _when_still(browser)
    page.save(path, optimize=True)
    if Path(path).stat().st_size > MOST_BYTES:  # for a repository: fewer colours, the same pixels
        page.quantize(256).save(path, optimize=True)


def _when_still(browser: Browser) -> Image.Image:
    """Return the page as soon as it is there and no longer changes."""
    seen: list[np.ndarray] = []
    deadline_s = time.monotonic() + PICTURE_TIMEOUT_S
    while time.monotonic() < deadline_s:
        time.sleep(PERIOD_S)
        shot = browser.picture()
        if not shot:
            continue
        page = Image.open(io.BytesIO(shot)).convert("RGB")
        pixels = np.asarray(page)
        # what is drawn anew may differ in a handful of pixels
        if seen and np.mean(np.any(seen[-1] != pixels, axis=2)) > SAME:
            seen.clear()
        seen.append(pixels)
        colours = page.getcolors(page.width * page.height) or []
        if len(seen) >= STILL and len(colours) > FEW_COLOURS:
            return page
    raise BrowserError(f"the page has not come to rest in {PICTURE_TIMEOUT_S:.0f} s")
