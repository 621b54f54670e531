"""Pictures of a web page by a Chromium without a window, over a pipe: no port is opened for it."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Any

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
START_TIMEOUT_S = 60.0
# Draws on the processor, with or without a graphics card, and reaches nothing but this machine.
_OPTIONS = (
    "--headless=new",
    "--no-first-run",
    "--hide-scrollbars",
    "--mute-audio",
    "--disable-gpu-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--force-device-scale-factor=1",
    "--remote-debugging-pipe",
)


_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may be
_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)


def end_with_parent() -> None:
    """In a new process: ask Linux to end it when its parent ends, in whatever way that does."""
    _LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM)


class BrowserError(RuntimeError):
    """A browser that is missing or does not do as it is told: says which, and what helps."""


def find() -> str:
    """Return the path of a Chromium; `BrowserError` says how to get one."""
    for name in PROGRAMS:
        path = shutil.which(name)
        if path:
            return path
    raise BrowserError(
        "a picture needs the browser Chromium, and none is installed: "
        "`apt-get install chromium` does it on Debian and Ubuntu"
    )


class Browser:
    """A Chromium with one page.

    Parameters
    ----------
    width_px, height_px : int
        Of the page.

    Raises
    ------
    BrowserError
        If there is no Chromium.
    """

    def __init__(self, width_px: int, height_px: int) -> None:
        program = find()
        self._folder = tempfile.TemporaryDirectory(
            prefix="radar_pose_", ignore_cleanup_errors=True
        )
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root it has none
        command = [program, *_OPTIONS, *sandbox, f"--window-size={width_px},{height_px}"]
        command += [f"--user-data-dir={self._folder.name}", "about:blank"]

        def place_pipes() -> None:  # the browser reads from 3 and writes to 4
            end_with_parent()
            ends = os.dup(to_browser), os.dup(from_browser)
            for number, end in zip((3, 4), ends, strict=True):
                os.dup2(end, number)

        self._process = subprocess.Popen(
            command,
            preexec_fn=place_pipes,
            close_fds=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._count = 0
        self._received = b""
        self._session = ""
        try:
            self._open_page(width_px, height_px)
        except BaseException:
            self.close()
            raise

    def _open_page(self, width_px: int, height_px: int) -> None:
        target = self._ask("Target.createTarget", START_TIMEOUT_S, url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        size = {"width": width_px, "height": height_px, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)

    def open(self, url: str) -> None:
        """Go to a page."""
        self._ask("Page.navigate", url=url)

    def picture(self) -> bytes:
        """Return what the page shows now, as a PNG; b"" while one page gives way to another."""
        shot = self._ask("Page.captureScreenshot", START_TIMEOUT_S, format="png")
        return base64.b64decode(shot.get("data", ""))

    def _ask(self, method: str, timeout_s: float = 20.0, **parameters: Any) -> dict[str, Any]:
        self._count += 1
        request: dict[str, Any] = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            request["sessionId"] = self._session
        try:
            os.write(self._out, json.dumps(request).encode() + b"\0")
            deadline_s = time.monotonic() + timeout_s
            while True:
                answer = self._receive(deadline_s, method)
                if answer.get("id") == self._count:
                    break
        except OSError as error:
            raise BrowserError(f"the browser has ended: {error.strerror}") from None
        said = answer.get("error", {}).get("message", "")
        if said and "Not attached to an active page" not in said:
            raise BrowserError(f"the browser refuses {method}: {said}")
        return dict(answer.get("result", {}))

    def _receive(self, deadline_s: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._in], [], [], max(0, deadline_s - time.monotonic()))
            if not ready:
                raise BrowserError(f"the browser does not answer {method}")
            part = os.read(self._in, 1 << 20)
            if not part:
                raise BrowserError("the browser has ended")
            self._received += part
        line, _, self._received = self._received.partition(b"\0")
        return dict(json.loads(line))

    def close(self) -> None:
        """End the browser. Closing twice does no harm."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(10.0)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for end in (self._in, self._out):
            with contextlib.suppress(OSError):
                os.close(end)
        self._folder.cleanup()

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
