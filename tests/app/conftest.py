"""One server of the bundled run for all tests of the app, headless Chromium where there is one, and bad uploads."""

import io
import os
import shutil
import signal
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from obverse.app.state import BUNDLED, Workbench

BASELINES = ("nearest", "gradcam", "gradient")


@pytest.fixture(scope="session")
def bench():
    return Workbench((BUNDLED,), baselines=BASELINES)


@pytest.fixture(scope="session")
def address():
    """Where `obverse serve` serves the bundled run, in a process of its own."""
    pytest.importorskip("gradio", reason="needs the extra `app`")
    command = [sys.executable, "-m", "obverse", "serve", "--port", "0", "--baseline", *BASELINES]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as serving:
        try:
            said = serving.stdout.readline()
            assert said.startswith("open http://127.0.0.1:"), said
            yield said.split()[1]
            assert serving.poll() is None, "the server died"
        finally:
            serving.send_signal(signal.SIGINT)
            try:
                serving.wait(20)
            except subprocess.TimeoutExpired:
                serving.kill()


@pytest.fixture(scope="session")
def chromium():
    """A headless browser; missing, the test is skipped, but on continuous integration it fails."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None and os.environ.get("CI"):
        pytest.fail("continuous integration needs Chromium for the tests of the app; apt-get install chromium")
    if path is None:
        pytest.skip("no Chromium")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def png_of(width: int, height: int) -> bytes:
    """An honest PNG file of a grey picture, all black, made without holding its pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    lines = b"".join([*(packer.compress(bytes(width + 1)) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")


def saved(kind: str, **options) -> bytes:
    """A picture of 80 x 70 pixels as the bytes of a file."""
    levels = np.random.default_rng(0).integers(0, 200, (70, 80)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, kind, **options)
    return buffer.getvalue()


def sixteen_bit() -> bytes:
    levels = np.random.default_rng(0).integers(0, 4000, (70, 80)).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "TIFF")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Files to upload, by name."""
    folder = tmp_path_factory.mktemp("uploads")
    contents = {
        "good.png": saved("PNG"),
        "text.png": b"this is no picture",
        "bomb.png": png_of(10_000, 10_000),
        "cut.jpg": saved("JPEG")[:900],
        "deep.tif": sixteen_bit(),
        "moving.gif": saved("GIF", save_all=True, append_images=[Image.new("L", (80, 70), 255)]),
        "script.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>document.title="taken"</script></svg>',
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}
