"""The server: this machine only unless told, a few addresses only, and nothing from outside in the page."""

from __future__ import annotations

import atexit
import contextlib
import inspect
import json
import logging
import os
import re
import shutil
import socket
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from obverse.app import fragments, uploads
from obverse.app.state import Workbench
from obverse.figures import pixels, png
from obverse.report.walk import animation

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PORTS = range(7860, 7880)
MOST_BODY = 1_000_000  # bytes of a request that is no upload
LOCAL = {"127.0.0.1", "localhost", "[::1]"}
ADDRESSES = {
    "GET": r"/|/config|/theme\.css|/favicon\.ico|/manifest\.json|/pwa_icon(/\d+)?|/robots\.txt|/(assets|static|svelte)/.+"
    r"|/gradio_api/(info|app_id|startup-events|queue/data|upload_progress|heartbeat/\w+|call/turn/\w+)"
    r"|/walks/[0-9a-f]{32}/(\d+\.png|walk\.gif)|/reports/[0-9a-f]{32}\.html",
    "POST": r"/gradio_api/(queue/join|upload|cancel|reset|call/turn)",
}
"""All that can be asked for; gradio serves more, among it files, which this app needs for nothing."""
POLICY = ("default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
          "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'; "
          "frame-ancestors 'self'; base-uri 'self'; form-action 'self'")  # fmt: skip
REPORT_POLICY = ("sandbox allow-scripts; default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
                 "script-src 'unsafe-inline'")  # fmt: skip


class Gate:
    """Lets through what ADDRESSES names, in requests of a sane size, and forbids the page to ask elsewhere.

    Args:
        app: what is behind the gate.
        hosts: names by which this server may be called; None for any. A page of another name that resolves to this
            machine is refused.
        full: what to say when the queue is full.
    """

    def __init__(self, app: ASGIApp, hosts: set[str] | None, full: str) -> None:
        self.app, self.hosts, self.full = app, hosts, full
        self.allowed = {method: re.compile(pattern) for method, pattern in ADDRESSES.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        path = scope["path"]
        host = re.sub(r":\d+$", "", headers.get("host", ""))
        if self.hosts is not None and host not in self.hosts:
            return await _refuse(send, 403, f"this server answers to {', '.join(sorted(self.hosts))} only")
        if method not in self.allowed or not self.allowed[method].fullmatch(path):
            return await _refuse(send, 404, "there is nothing here")
        origin = headers.get("origin", "")
        if method == "POST" and origin and urlsplit(origin).netloc != headers.get("host", ""):
            return await _refuse(send, 403, "another site's page may send nothing here")
        if path == "/gradio_api/upload":
            claimed = headers.get("content-length", "")
            if not claimed:
                return await _refuse(send, 411, "expected the size of the upload (Content-Length)")
            if not claimed.isdigit() or int(claimed) > uploads.MOST_BYTES + MOST_BODY:
                return await _refuse(send, 413, f"expected {uploads.LIMITS}")
        elif method == "POST":
            body = await _whole(receive)
            if body is None:
                return await _refuse(send, 413, f"expected a request of at most {MOST_BODY} bytes")
            try:
                content = json.loads(body)
            except (ValueError, RecursionError):
                return await _refuse(send, 400, "expected JSON")
            if not _names_uploads_only(content):
                return await _refuse(send, 403, "only files that were uploaded here can be read")
            body = json.dumps(content).encode()  # what was looked at is what is passed on
            kept = [
                (name, value)
                for name, value in scope["headers"]
                if name not in (b"content-length", b"transfer-encoding")
            ]
            scope = {**scope, "headers": [*kept, (b"content-length", str(len(body)).encode())]}
            receive = _again(body, receive)
        status = 200

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if path == "/gradio_api/queue/join" and status == 503:  # of which the page would only say "busy"
                    return await _refuse(send, 429, self.full)
                policy = REPORT_POLICY if path.startswith("/reports/") else POLICY
                message["headers"] = [*message["headers"], *_headers(policy)]
            elif path == "/gradio_api/queue/join" and status == 503:
                return None
            return await send(message)

        return await self.app(scope, receive, guarded)


async def _whole(receive: Receive) -> bytes | None:
    """Return the body of a request, or None where it is too large."""
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        if sum(map(len, parts)) > MOST_BODY:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


def _again(body: bytes, receive: Receive) -> Receive:
    """Return what gives a body once, and then what comes after it."""
    left = [body]

    async def again() -> Message:
        return {"type": "http.request", "body": left.pop(), "more_body": False} if left else await receive()

    return again


def _names_uploads_only(content: Any) -> bool:
    """Say whether every file that a request names lies in the folder of uploads; gradio reads others where it is mounted."""
    if isinstance(content, dict):
        named = content.get("path")
        if named is not None and not (isinstance(named, str) and _uploaded(named)):
            return False
        content = list(content.values())
    return all(_names_uploads_only(part) for part in content) if isinstance(content, list) else True


def _uploaded(name: str) -> bool:
    folder = Path(os.environ["GRADIO_TEMP_DIR"]).resolve()
    return "\0" not in name and Path(name).is_absolute() and Path(name).resolve().is_relative_to(folder)


def _headers(policy: str) -> list[tuple[bytes, bytes]]:
    return [(b"content-security-policy", policy.encode()), (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer")]  # fmt: skip


async def _refuse(send: Send, status: int, why: str) -> None:
    body = json.dumps({"detail": why}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *_headers(POLICY)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _import_gradio() -> None:
    """Import gradio without what takes half of its time and is of no use to a server.

    It writes the type stubs beside its own components anew, except for those that come from no file; and it looks for a
    notebook, which imports all of IPython where that is installed.
    """
    if "gradio" in sys.modules:
        return
    if "IPython" not in sys.modules:
        sys.modules["IPython"] = None  # type: ignore[assignment]  # to be taken as not installed
    original = inspect.getfile

    def getfile(of: Any) -> str:
        if type(of).__name__ == "ComponentMeta" or getattr(of, "__name__", "") == "BlocksEvents":
            raise OSError("its stub is not wanted")
        return original(of)

    inspect.getfile = getfile  # type: ignore[assignment]
    try:
        import gradio  # noqa: F401
    finally:
        inspect.getfile = original


def application(bench: Workbench, *, local: bool = True) -> ASGIApp:
    """Return the whole app, gate included.

    Args:
        bench: explainers and images.
        local: answer only to this machine's own names.
    """
    os.environ |= {"GRADIO_ANALYTICS_ENABLED": "False", "GRADIO_RUN_HISTORY": "False", "GRADIO_MCP_SERVER": "False",
                   "HF_HUB_DISABLE_TELEMETRY": "1", "GRADIO_SSR_MODE": "False"}  # fmt: skip
    if "GRADIO_TEMP_DIR" not in os.environ:
        os.environ["GRADIO_TEMP_DIR"] = tempfile.mkdtemp(prefix="obverse-uploads-")  # for this user alone
        atexit.register(shutil.rmtree, os.environ["GRADIO_TEMP_DIR"], ignore_errors=True)
    _import_gradio()  # after the environment is set, which it reads
    import gradio as gr
    from fastapi import FastAPI

    from obverse.app.page import MOST_WAITING, page

    outer = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _files(outer, bench)
    theme = gr.themes.Default(
        primary_hue="blue", font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")
    )
    head = f"<script>{fragments.asset('parts.js')}</script>"
    mounted = gr.mount_gradio_app(
        outer, page(bench), path="/", footer_links=[], run_history=False, allowed_paths=[], max_file_size=uploads.MOST_BYTES,
        ssr_mode=False, enable_monitoring=False, pwa=False, mcp_server=False, theme=theme, show_error=True,
        css=fragments.asset("parts.css") + fragments.asset("app.css"), head=head,
    )  # fmt: skip
    full = f"{MOST_WAITING} requests are waiting already, as many as this server lets wait; try again in a moment"
    return Gate(mounted, LOCAL if local else None, full)


def _files(outer: FastAPI, bench: Workbench) -> None:
    """Serve frames, animations and reports from memory, under names that cannot be guessed."""
    from fastapi import Response

    def saved(content: bytes, kind: str, name: str) -> Any:
        return Response(content, media_type=kind, headers={"content-disposition": f'attachment; filename="{name}"'})

    @outer.get("/walks/{key}/{name}")
    def file_of_walk(key: str, name: str) -> Any:
        answered = bench.find(key)
        if answered is None or answered.walk is None:
            return Response("this answer is no longer kept; ask for it again", status_code=404)
        frames = answered.walk.frames[0]
        if name == "walk.gif":
            return saved(animation(frames), "image/gif", "walk.gif")
        place = int(name.removesuffix(".png"))
        if place >= len(frames):
            return Response(f"the way has {len(frames)} pictures", status_code=404)
        return saved(png(pixels(frames[place])), "image/png", name)

    @outer.get("/reports/{name}")
    def report(name: str) -> Any:
        written = bench.wrote(name.removesuffix(".html"))
        if written is None:
            return Response("this report is no longer kept; write it again", status_code=404)
        return Response(written[1], media_type="text/html")


def serve(bench: Workbench, *, host: str = "127.0.0.1", port: int | None = None) -> None:
    """Serve until interrupted.

    Args:
        bench: explainers and images.
        host: address to listen on; anything but this machine's own opens the app to others.
        port: to listen on; None takes the first free one from 7860.

    Raises:
        OSError: the port is taken.
    """
    server, listening, address = started(bench, host=host, port=port)
    print(f"open {address}   (Ctrl-C stops)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # the usual way to stop it
        server.run(sockets=[listening])


def started(
    bench: Workbench, *, host: str = "127.0.0.1", port: int | None = None
) -> tuple[uvicorn.Server, socket.socket, str]:
    """Return a server that is ready to run, the socket it listens on, and its address."""
    import uvicorn

    class Server(uvicorn.Server):
        """One that does not complain of the browsers that still listen when it is stopped."""

        def handle_exit(self, sig: int, frame: Any) -> None:
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            super().handle_exit(sig, frame)

    listening = _listen(host, port)
    local = host in ("127.0.0.1", "localhost", "::1")
    app = application(bench, local=local)
    threading.Thread(target=uploads.warm_up, daemon=True).start()
    settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, server_header=False)
    name = host if local else socket.gethostname()
    return Server(settings), listening, f"http://{name}:{listening.getsockname()[1]}"


def _listen(host: str, port: int | None) -> socket.socket:
    wanted, reason = list(PORTS) if port is None else [port], Exception()
    for number in wanted:
        listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, number))
            listening.listen(128)  # so that whoever asks too early waits
            return listening
        except (OSError, OverflowError) as error:  # taken, or no port at all
            listening.close()
            reason = error
    raise OSError(f"port: expected a free one among {wanted[0]} to {wanted[-1]} of {host}, got {reason}; choose another "
                  "with --port") from reason  # fmt: skip
