"""A small server in the place of vLLM, called as vLLM's is: it answers chats in capitals, and fails when told to."""

import json
import sys
from pathlib import Path

SCRIPT = """
import http.server, json, os, signal, socketserver, subprocess, sys, threading, time
from pathlib import Path
port = int(sys.argv[sys.argv.index("--port") + 1])
mode, cores = os.environ.get("STAND_IN_MODE", ""), os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "")
if mode.startswith("first-"):  # of several servers, that on core 0 alone
    mode = mode.removeprefix("first-") if cores == "0" else ""
folder = Path(__file__).parent
print("arguments:", " ".join(sys.argv[1:]), flush=True)
(folder / f"started-{time.time_ns()}").write_text(" ".join(sys.argv[1:]))
(folder / f"cores-{port}").write_text(cores)
if mode == "ends":
    sys.exit("out of luck")
if mode == "slow":
    time.sleep(60)
if mode == "stubborn":
    # A server whose worker outlives it, and which itself ignores SIGTERM.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"])
if mode == "worker":
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
name, _, count = mode.partition(":")
slowness = float(count) if name in ("plodding", "hanging") else 0  # seconds an answer takes
# Answers, before it "dies", or "loses" its engine and says 500 to all.
last_words = int(count) if count and not slowness else None
answered, lock = [0], threading.Lock()

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self, status, body=b"{}"):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        if self.path == "/metrics":
            written = time.monotonic() if name == "plodding" else 7.0
            return self.answer(200, f'vllm:generation_tokens_total{{engine="0"}} {written}\\n'.encode())
        lost = name == "loses" and answered[0] > last_words
        self.answer(503 if lost or mode == "never-healthy" else 200)
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with lock:
            answered[0] += 1
            if last_words is not None and answered[0] > last_words:
                print("CUDA error: an illegal memory access was encountered", flush=True)
                if name == "loses":
                    return self.answer(500, b'{"message": "EngineDeadError"}')
                os.kill(os.getpid(), 9)
        time.sleep(slowness)
        text = asked["messages"][-1]["content"].upper()
        choices = [{"index": place, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
                   for place in range(asked.get("n", 1))]
        usage = {"prompt_tokens": 1, "completion_tokens": len(choices), "total_tokens": 1 + len(choices)}
        self.answer(200, json.dumps({"choices": choices, "usage": usage}).encode())
    def log_message(self, *_):
        pass

class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

Server(("", port), Handler).serve_forever()
"""


def stand_in(folder: Path) -> str:
    """Write the stand-in into a folder; gives the path of its `python`."""
    (folder / "stand_in.py").write_text(SCRIPT)
    python = folder / "python"
    # Called as: python -m vllm.entrypoints.openai.api_server ARGUMENTS; and with -c, whether it has vLLM: it has.
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exit 0\nshift 2\nexec {sys.executable} {folder}/stand_in.py "$@"\n')
    python.chmod(0o755)
    return str(python)


def starts(folder: Path) -> list[str]:
    """The arguments of every server started from a folder's stand-in, in order."""
    return [file.read_text() for file in sorted(folder.glob("started-*"))]


def model_folder(folder: Path) -> Path:
    """A folder that looks like a model's; its weights cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text(json.dumps({}))
    (folder / "model.safetensors").write_bytes(b"no weights")
    return folder
