"""What the modes of scripts/gpu-bench share: a streaming client, Baton's processes, figures and tables.

Python 3 alone. Times are milliseconds unless a name says otherwise.
"""
import asyncio
import dataclasses
import json
import os
import re
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request

NAME = "bench"
ENGINE_FLAGS = ["-Xmx4g", "--enable-native-access=ALL-UNNAMED", "--add-modules", "jdk.incubator.vector"]
ROUTER_FLAGS = ["-XX:+ExitOnOutOfMemoryError", "-Xmx512m", "-Xms64m", "-Xmn32m", "-XX:+UseSerialGC", "-XX:MetaspaceSize=64m",
                "-XX:MaxInlineLevel=9", "-XX:FreqInlineSize=150", "-XX:InlineSmallCode=1200", "-XX:LoopUnrollLimit=0",
                "--enable-native-access=ALL-UNNAMED"]  # those of ./baton; ScriptTest compares them
READY_LIMIT_S = 300


@dataclasses.dataclass
class Answer:
    """When a request was sent and when its tokens came, in seconds of one clock; ids only if they were asked for."""
    sent: float
    times: list
    tokens: int
    ids: list

    @property
    def ttft(self):
        return (self.times[0] - self.sent) * 1e3

    @property
    def tpot(self):
        return (self.times[-1] - self.times[0]) * 1e3 / (self.tokens - 1)

    def gaps(self, begin=float("-inf"), end=float("inf")):
        """Times between tokens of which some part lies in the window."""
        return [(b - a) * 1e3 for a, b in zip(self.times, self.times[1:]) if b > begin and a < end]


def body(prompt, new_tokens, ids=False):
    fields = {"model": NAME, "prompt": prompt, "max_tokens": new_tokens, "temperature": 0, "ignore_eos": True,
              "stream": True, "stream_options": {"include_usage": True}}
    if ids:
        fields["return_token_ids"] = True
    return json.dumps(fields).encode()


def plain(prompt, new_tokens, transfer):
    """A request of one leg, answered in one piece."""
    return json.dumps({"model": NAME, "prompt": prompt, "max_tokens": new_tokens, "temperature": 0, "ignore_eos": True,
                       "kv_transfer_params": transfer}).encode()


async def whole(url, request):
    """The answer to a request that is not streamed."""
    def ask():
        headers = {"Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url + "/v1/completions", request, headers)) as answer:
            return json.loads(answer.read())

    return await asyncio.to_thread(ask)


async def complete(url, request):
    """Streams one completion; fails if it is not whole."""
    parts = urllib.parse.urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 22)
    head = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" \
           "Connection: close\r\n\r\n" % len(request)
    answer = Answer(time.perf_counter(), [], 0, [])
    writer.write(head.encode() + request)
    await writer.drain()
    status = await reader.readline()
    if b" 200 " not in status:
        raise RuntimeError(status.decode() + (await reader.read()).decode(errors="replace")[:2000])
    while True:
        line = await reader.readline()
        if not line:
            break
        if line.startswith(b"data: {"):
            now = time.perf_counter()
            event = json.loads(line[6:])
            if "error" in event:
                raise RuntimeError(str(event))
            if event["choices"]:
                answer.times.append(now)
                answer.ids += event["choices"][0].get("token_ids") or []
            else:
                answer.tokens = event["usage"]["completion_tokens"]
    writer.close()
    if not answer.tokens:
        raise RuntimeError("an answer ended after %d pieces, without its usage" % len(answer.times))
    del answer.times[answer.tokens:]  # the last piece says only why the answer ended
    return answer


def prompt(rng, length, vocab):
    return [rng.randrange(1000, vocab) for _ in range(length)]


def start(options, name, command, jvm, **variables):
    """Starts one process of Baton; its output goes to NAME.log, what its collector does to NAME-gc.log."""
    line = [options.java, *jvm, "-Xlog:gc:file=" + log(options, name + "-gc"), "-jar", options.jar, *command]
    with open(log(options, name), "w") as out:
        return subprocess.Popen(line, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **variables})


def log(options, name):
    return os.path.join(options.logs, name + ".log")


def serve(options, port, max_model_len, extra=()):
    return ["serve", options.model, "--device", options.device, "--load-format", "dummy", "--host", "127.0.0.1",
            "--port", str(port), "--served-model-name", NAME, "--max-model-len", str(max_model_len),
            "--max-num-batched-tokens", str(max(8192, max_model_len)), "--max-num-seqs", "64",
            "--block-size", str(options.block_size), *extra, *options.serve_args.split()]


def await_ready(options, name, process, url, path="/health"):
    began = time.monotonic()
    while True:
        if process.poll() is not None:
            sys.exit("gpu-bench: %s ended with status %d; its log is %s"
                     % (name, process.returncode, log(options, name)))
        try:
            with urllib.request.urlopen(url + path, timeout=1) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.02)
        if time.monotonic() - began > READY_LIMIT_S:
            sys.exit("gpu-bench: %s was not ready in %d s; its log is %s"
                     % (name, READY_LIMIT_S, log(options, name)))


def end(processes):
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def metrics(url):
    """Metrics of a process: name to a list of labels, as they are written, and value."""
    found = {}
    with urllib.request.urlopen(url + "/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            match = re.match(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", line)
            if match:
                found.setdefault(match[1], []).append((match[2] or "", float(match[3])))
    return found


def total(sample, name, label=""):
    return sum(value for labels, value in sample.get(name, []) if label in labels)


def quantile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def summary(values, places=1):
    """Mean, median and P99, as the goals write them."""
    figures = (statistics.mean(values), statistics.median(values), quantile(values, 0.99))
    return " / ".join("%.*f" % (places, it) for it in figures)


class Table:
    """Rows with their goal and the peer's figure, printed as Markdown."""

    def __init__(self, title):
        self.title = title
        self.rows = []

    def add(self, row, what, measured, spread="", goal="", peer=""):
        self.rows.append((row, what, goal, measured, spread, peer))
        print("   ", row, what, measured, spread, flush=True)

    def print(self):
        print("\n%s, %s\n" % (self.title, time.strftime("%Y-%m-%d")))
        print("| row | measure | goal | measured | spread | vLLM |\n|---|---|---|---|---|---|")
        for row in self.rows:
            print("| %s | %s | %s | %s | %s | %s |" % row, flush=True)
