"""The server over HTTP: what can be reached, how large a request may be, and who may ask."""

import asyncio
import io
import json
import re
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from obverse.app import uploads
from obverse.app.server import Gate, _listen
from obverse.app.state import BUNDLED
from obverse.figures import pixels

pytestmark = pytest.mark.timeout(300)


def ask(address, path, body=None, **headers):
    """Status, headers and content of an answer, whatever the status."""
    asked = urllib.request.Request(address + path, data=body, headers=headers)
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def turn(address, *values):
    """What the entry for programs answers."""
    body = json.dumps({"data": list(values)}).encode()
    _, _, said = ask(address, "/gradio_api/call/turn", body, **{"Content-Type": "application/json"})
    _, _, stream = ask(address, "/gradio_api/call/turn/" + json.loads(said)["event_id"])
    event, _, data = stream.decode().strip().split("\n\n")[-1].partition("\ndata: ")
    return event.removeprefix("event: "), json.loads(data)


def upload(address, name, content):
    mark = b"----mark"
    head = b'--%b\r\nContent-Disposition: form-data; name="files"; filename="%b"\r\n\r\n' % (mark, name.encode())
    body = head + content + b"\r\n--" + mark + b"--\r\n"
    return ask(
        address, "/gradio_api/upload", body, **{"Content-Type": f"multipart/form-data; boundary={mark.decode()}"}
    )


def test_it_listens_on_this_machine_only(address):
    assert address.startswith("http://127.0.0.1:")
    port = int(address.rpartition(":")[2])
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for other in others:
        with socket.socket() as asking:
            asking.settimeout(2)
            assert asking.connect_ex((other, port)) != 0, other


def test_the_page_forbids_itself_to_ask_elsewhere(address):
    status, headers, page = ask(address, "/")
    assert status == 200
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy and "connect-src 'self'" in policy and "http" not in policy
    assert headers["x-content-type-options"] == "nosniff" and "server" not in headers
    assert b"fonts.googleapis" not in page and b"cdnjs" not in page
    config = json.loads(ask(address, "/config")[2])
    assert config["analytics_enabled"] is False


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/file=/etc/passwd", "/gradio_api/file=/etc/hostname", "/gradio_api/file=src/obverse/cli.py",
     f"/gradio_api/file={BUNDLED}/run.json", "/gradio_api/file=../../../../etc/passwd",
     "/gradio_api/file=http://127.0.0.1:1/x", "/gradio_api/file/etc/passwd", "/gradio_api/proxy=http://example.org/",
     "/file=/etc/passwd", "/static/../../../../../../etc/passwd", "/static/%2e%2e/%2e%2e/%2e%2e/routes.py",
     "/assets/..%2f..%2f..%2froutes.py", "/monitoring", "/monitoring/summary", "/gradio_api/runs", "/gradio_api/openapi.json",
     "/gradio_api/token", "/gradio_api/vibe-code", "/docs", "/openapi.json", "/walks/../../etc/passwd",
     "/walks/" + "0" * 32 + "/walk.gif", "/walks/" + "0" * 32 + "/..%2f..%2fpasswd", "/reports/" + "0" * 32 + ".html",
     "/reports/..%2f..%2fetc%2fpasswd"],
)  # fmt: skip
def test_nothing_else_can_be_reached(address, path):
    status, _, content = ask(address, path)
    assert status in (400, 403, 404), status
    assert b"root:" not in content and b"import" not in content


def test_files_are_not_served_even_those_uploaded(address):
    status, _, said = upload(address, "note.txt", b"my secret")
    assert status == 200
    assert ask(address, "/gradio_api/file=" + json.loads(said)[0])[0] == 404


META = {"_type": "gradio.FileData"}


@pytest.mark.parametrize(
    "file",
    [{"path": "/etc/hostname", "meta": META}, {"path": "/etc/hostname"}, {"path": "README.md", "meta": META},
     {"path": "../../../../../../etc/hostname", "meta": META}, {"path": "{folder}/../../etc/hostname", "meta": META},
     {"path": "{folder}\0/x", "meta": META}, {"path": ["/etc/hostname"], "meta": META},
     {"path": "http://example.org/x.png", "meta": META}, {"path": "file:///etc/hostname", "meta": META}],
)  # fmt: skip
@pytest.mark.parametrize("wrapped", [lambda file: file, lambda file: [{"deep": [file]}]], ids=["plain", "wrapped"])
def test_a_request_can_name_no_file_but_uploads(address, bench, file, wrapped):
    folder = str(Path(json.loads(upload(address, "note.txt", b"x")[2])[0]).parent.parent)
    file = json.loads(json.dumps(file).replace("{folder}", folder))
    for place in range(3):  # whatever the component, gradio would fetch it
        data = [bench.names[0], -1, None]
        data[place] = wrapped(file)
        for path, body in (
            ("queue/join", {"data": data, "fn_index": 0, "session_hash": "thief"}),
            ("call/turn", {"data": data}),
        ):
            said = ask(
                address, f"/gradio_api/{path}", json.dumps(body).encode(), **{"Content-Type": "application/json"}
            )
            assert said[0] == 403 and b"only files that were uploaded here" in said[2]


def test_what_was_looked_at_is_what_is_passed_on():
    """Of two entries of the same name, another parser could take the other one."""
    twice = b'{"path": "/etc/hostname", "path": null, "x": 1}'
    gate = Gate(behind(), None, "")
    assert through(gate, "/gradio_api/queue/join", "POST", chunks=[twice])[2] == b"%d" % len(b'{"path": null, "x": 1}')
    assert through(gate, "/gradio_api/queue/join", "POST", chunks=[b"no json"])[0] == 400
    assert through(gate, "/gradio_api/queue/join", "POST", chunks=[b"[" * 100_000])[0] == 400


def test_other_methods_are_refused(address):
    assert ask(address, "/", b"x")[0] == 404
    asked = urllib.request.Request(address + "/", method="DELETE")
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(asked, timeout=10)


def test_a_page_of_another_name_is_refused(address):
    status, _, said = ask(address, "/", Host="attacker.example")
    assert status == 403 and b"this server answers to 127.0.0.1, [::1], localhost only" in said
    assert ask(address, "/config", Host=f"localhost:{address.rpartition(':')[2]}")[0] == 200


def test_large_requests_are_refused(address):
    body = json.dumps({"data": ["x" * 1_100_000]}).encode()
    status, _, said = ask(address, "/gradio_api/queue/join", body, **{"Content-Type": "application/json"})
    assert status == 413 and b"at most 1000000 bytes" in said
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), timeout=10) as asking:
        lie = f"POST /gradio_api/upload HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {10**9}\r\n\r\n"
        asking.sendall(lie.encode())
        assert b"413" in asking.recv(1000).splitlines()[0]


def test_uploads_have_a_limit_of_bytes(address, monkeypatch):
    status, _, said = upload(address, "big.png", bytes(uploads.MOST_BYTES + 1000))
    assert status == 413 and b"maximum allowed size" in said


def test_programs_turn_the_knob(address, bench):
    event, (found,) = turn(address, bench.names[0], 3, "", 1.0)
    assert event == "complete" and found["label"] == "counterfactual" and found["image"].startswith("data:image/png")
    answer = bench.answer(bench.names[0], bench.picture(3), None)
    names = bench.classifier.classes
    for index, name in enumerate(names):
        assert found["posterior"][name] == pytest.approx(float(answer.walk.posterior[0, -1, index]), abs=1e-5)
    assert found["words"] == answer.explanation.words(0)
    middle = turn(address, bench.names[0], 3, "", 0.5)[1][0]
    assert middle["label"] == "50% of the way"


@pytest.mark.parametrize(
    ("values", "message"),
    [(("nobody", 0, "", 0.5), "explainer: expected one of lesions"), (("lesions", 10**6, "", 0.5), "image: expected a row"),
     (("lesions", 0, "elephant", 0.5), "target: expected one of"), (("lesions", 0, "", 2), "place: expected a share"),
     (("gradcam", 0, "", 0.5), "gradcam makes no counterfactual")],
)  # fmt: skip
def test_programs_are_told_what_is_wrong(address, values, message):
    event, said = turn(address, *values)
    assert event == "error" and message in json.dumps(said)


def test_pictures_and_animations_come_from_memory(address, bench):
    page = ask(address, "/")[2].decode()
    key = re.search(r"walks/([0-9a-f]{32})/walk.gif", page).group(1)
    status, headers, content = ask(address, f"/walks/{key}/20.png")
    assert status == 200 and "attachment" in headers["content-disposition"]
    walk = bench.answer(bench.names[0], bench.picture(0), None).walk
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), pixels(walk.frames[0, 20]))
    assert ask(address, f"/walks/{key}/21.png")[0] == 404
    moving = Image.open(io.BytesIO(ask(address, f"/walks/{key}/walk.gif")[2]))
    assert moving.format == "GIF" and moving.n_frames == 40


def test_the_next_free_port_is_taken_and_a_taken_one_named():
    first = _listen("127.0.0.1", 0)
    first.listen()
    port = first.getsockname()[1]
    with pytest.raises(OSError, match=f"port: expected a free one among {port} to {port} of 127.0.0.1, got .*--port"):
        _listen("127.0.0.1", port)
    first.close()
    with pytest.raises(OSError, match=r"port: expected a free one among 99999 to 99999 of 127.0.0.1, got .*0-65535"):
        _listen("127.0.0.1", 99999)


def through(gate, path="/", method="GET", headers=(), chunks=(b"",)):
    """What a gate answers to one request: status, headers, content."""
    sent, bodies = [], [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]

    async def receive():
        return bodies.pop(0) if bodies else {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"host", b"localhost:1"), *headers]}
    # in a thread of its own: the browser of other tests keeps a loop running in this one
    thread = threading.Thread(target=lambda: asyncio.run(gate(scope, receive, send)))
    thread.start()
    thread.join()
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:])


def behind(status=200):
    """An app that reads everything, and says how much."""

    async def app(scope, receive, send):
        count, more = 0, True
        while more:
            message = await receive()
            more = message.get("more_body", False)
            count += len(message.get("body", b""))
            if message["type"] == "http.disconnect":
                count = -1
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": str(count).encode()})

    return app


def test_the_gate_counts_bodies_that_do_not_say_their_size():
    gate = Gate(behind(), {"localhost"}, "")
    half = b'"' + b"x" * 499_998 + b'"'
    assert through(gate, "/gradio_api/queue/join", "POST", chunks=[half[:-1], half[1:]])[2] == b"999998"
    assert through(gate, "/gradio_api/queue/join", "POST", chunks=[half] * 3)[0] == 413
    assert through(gate, "/gradio_api/upload", "POST", [(b"content-length", b"-5")])[0] == 413
    assert through(gate, "/gradio_api/upload", "POST", chunks=[half] * 3)[0] == 411
    size = [(b"content-length", b"1500000")]
    assert through(gate, "/gradio_api/upload", "POST", size, chunks=[half] * 3)[2] == b"1500000"


def test_another_sites_page_may_send_nothing():
    gate = Gate(behind(), {"localhost"}, "")
    for origin, status in ((b"https://evil.example", 403), (b"null", 403), (b"http://localhost:1", 200)):
        assert through(gate, "/gradio_api/queue/join", "POST", [(b"origin", origin)], chunks=[b"{}"])[0] == status
        assert through(gate, "/config", "GET", [(b"origin", origin)])[0] == 200


def test_the_gate_says_in_words_that_the_queue_is_full():
    gate = Gate(behind(503), {"localhost"}, "32 requests are waiting already")
    status, _, said = through(gate, "/gradio_api/queue/join", "POST", chunks=[b"{}"])
    assert status == 429 and json.loads(said) == {"detail": "32 requests are waiting already"}
    assert through(gate, "/config")[2] == b"0"


def test_opened_to_others_the_gate_answers_to_any_name():
    assert through(Gate(behind(), {"127.0.0.1"}, ""))[0] == 403
    assert through(Gate(behind(), None, ""))[0] == 200


def test_reports_are_shut_in_a_sandbox():
    headers = through(Gate(behind(), None, ""), f"/reports/{'a' * 32}.html")[1]
    assert headers[b"content-security-policy"].startswith(b"sandbox allow-scripts; default-src 'none'")
