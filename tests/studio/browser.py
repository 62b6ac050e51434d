"""A real browser, and a studio that runs as a process of its own."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--no-first-run"),
)
PATIENCE = 600.0  # seconds: a busy machine is no failure


def chromium() -> str:
    """Path of the browser; skips the test where there is none, or fails it where that is asked for."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        found = None
    if found is None:
        message = "Chromium or Playwright's Python package is absent: apt-get install chromium, pip install playwright"
        if os.environ.get("RANET_REQUIRE_CHROMIUM"):
            pytest.fail(message)
        pytest.skip(message)
    return found


class Studio:
    """`ranet-jax studio` as a user starts it."""

    def __init__(self, home: Path, *arguments: str):
        self._command = [sys.executable, "-m", "ranet_jax.cli", "studio", *arguments, "--no-browser"]
        self._environment = {**os.environ, "XDG_DATA_HOME": str(home), "JAX_PLATFORMS": "cpu"}
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, env=self._environment)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        assert found, f"no address in {line!r}"
        self.address = found[0]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self._end()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        self._end()

    def _end(self) -> None:
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


class Driver:
    """One page, with what tests do on it. Collects what a user would never see: errors, and requests to elsewhere."""

    def __init__(self, page: Any, address: str):
        self.page, self.address = page, address
        self.errors: list[str] = []
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._note(request.url))
        self.open()

    def _note(self, url: str) -> None:
        own = self.address.split("/")[2]
        if not url.startswith((f"http://{own}/", f"ws://{own}/", "blob:", "data:")):
            self.errors.append(f"request to {url}")

    def open(self) -> None:
        self.page.goto(self.address)
        self.until("document.body.dataset.ready === '1'")
        while self.page.locator("#tour-next").count():
            self.page.click("#tour-next")
            self.page.wait_for_timeout(50)

    def upload(self, video: Path) -> None:
        """Opens a video as a new project."""
        before = self.value("s.project?.folder ?? ''")
        if not self.page.locator("dialog[open]").count():
            self.page.keyboard.press("o")
        self.page.set_input_files("#video-file", video)
        self.until(f"s.project && s.project.folder !== '{before}' && window.studio.currentPicture().index === 0")

    def value(self, expression: str) -> Any:
        return self.page.evaluate(f"() => {{ const s = window.studio?.store; return {expression}; }}")

    def until(self, expression: str) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.value(expression):
                return
            self.page.wait_for_timeout(30)
        raise AssertionError(f"waited in vain for {expression}; messages: {self.messages()}")

    def messages(self) -> list[str]:
        return self.page.locator(".message p").all_text_contents()

    def settled(self) -> None:
        self.page.evaluate("() => window.studio.settled()")

    def go(self, frame: int) -> None:
        self.page.keyboard.press("Home")
        self.until("s.frame === 0")
        for _ in range(frame // 10):
            self.page.keyboard.press("Shift+ArrowRight")
        for _ in range(frame % 10):
            self.page.keyboard.press("ArrowRight")
        self.until(f"s.frame === {frame} && window.studio.currentPicture().index === {frame}")

    def place(self, x: float, y: float) -> tuple[float, float]:
        return tuple(self.page.evaluate("point => window.studio.toScreen(point)", [x, y]))

    def click(self, x: float, y: float, **more: Any) -> None:
        self.page.mouse.click(*self.place(x, y), **more)

    def drag(self, *points: tuple[float, float]) -> None:
        self.page.mouse.move(*self.place(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.place(*point), steps=6)
        self.page.mouse.up()

    def add_object(self) -> None:
        before = self.value("s.project.objects.length")
        self.page.keyboard.press("n")
        self.until(f"s.project.objects.length === {before + 1}")

    def area(self, id: int) -> int:
        return self.value(f"s.labels.reduce((n, x) => n + (x === {id}), 0)")
