"""Prompts that one engine computes and another goes on with, and what is checked of each."""
import concurrent.futures
import dataclasses
import json
import pathlib
import random
import re
import time
import urllib.error

from interoplib import processes
from interoplib.processes import NAME, counter, post

TOKENS = 16  # of each answer
AT_A_TIME = 8
SHIMS = pathlib.Path(__file__).parent / "shims"  # classes that a vLLM on the CPU needs for some connectors
CONTROLS = 10
ALONE = 8330  # port of a Baton without a connector, which gives Baton's own tokens
OTHER_TYPE = {"float32": "bfloat16", "bfloat16": "float32"}
TOLERANCE = {"float32": 0.02, "bfloat16": 0.3}


@dataclasses.dataclass
class Engine:
    """A running server.

    alone: the port that gives its own tokens, computed without anybody's blocks, and what to add to a request there."""
    name: str
    port: int
    process: object
    log: object
    alone: tuple


class Refused(Exception):
    """An engine answered with an error."""


def body(prompt, **more):
    return {"model": NAME, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True, "logprobs": 2, **more}


def ask(port, request):
    try:
        return post(port, "/v1/completions", request)
    except urllib.error.HTTPError as e:
        text = e.read().decode(errors="replace")
        try:
            text = json.loads(text)["error"]["message"]
        except (ValueError, KeyError, TypeError):
            pass
        raise Refused(f"{e.code}: {text}") from e


def answer(port, prompt, **more):
    """Tokens, and how far the best was before the second, of one answer."""
    choice = ask(port, body(prompt, **more))["choices"][0]
    tops = [sorted(top.values(), reverse=True) for top in choice["logprobs"]["top_logprobs"]]
    return choice["logprobs"]["tokens"], [top[0] - top[1] if len(top) > 1 else 9.0 for top in tops]


def own(engine, prompt):
    port, more = engine.alone
    return answer(port, prompt, **more)


def compare(got, reference, tolerance):
    return tie_or(got, reference, tolerance)[0]


def tie_or(got, reference, tolerance):
    """How an answer compares, and how far the reference's two best were apart where it first differs."""
    for token, (expected, margin) in zip(got, zip(*reference)):
        if token != expected:
            return "tie" if margin < tolerance else "different", margin
    return "same" if len(got) == len(reference[0]) else "different", 0


def prompts(number, seed, shortest, longest, edges):
    """Prompts of random tokens, a quarter of them as long as one of `edges`."""
    generator = random.Random(seed)
    return [[generator.randrange(300, 4000) for _ in range(generator.choice(edges) if i % 4 == 0
                                                           else generator.randrange(shortest, longest))]
            for i in range(number)]


def pairs_of_one_length(seed, length):
    generator = random.Random(seed)
    return [tuple([generator.randrange(300, 4000) for _ in range(length)] for _ in range(2)) for _ in range(CONTROLS)]


def together(work, items):
    with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(work, items))


class Report:
    """Rows of both tables, and whether everything held."""

    def __init__(self, what):
        self.what = what
        self.rows = []
        self.events = []
        self.failed = False

    def check(self, what, held, detail=""):
        if not held:
            self.failed = True
            print(f"FAIL {what}: {detail}", flush=True)
        return held

    def direction(self, name, options, results, seconds, moved, expected, wrong):
        """Compares with the decoder's own tokens and adds a row.

        results: (tokens, reference) of each prompt; wrong: the same of prompts with other KV than their own."""
        tolerance = TOLERANCE[options.dtype]
        found, margins = zip(*(tie_or(tokens, reference, tolerance) for tokens, reference in results))
        controls = [compare(tokens, reference, tolerance) for tokens, reference in wrong]
        row = (name, options.dtype, len(results), found.count("same"), f"{found.count('tie')}, {max(margins):.2f}", found.count("different"),
               f"{moved:.0f} of {expected}", f"{controls.count('different')} of {len(wrong)}", f"{1000 * seconds / len(results):.0f}")
        self.rows.append(row)
        print("| " + " | ".join(map(str, row)) + " |", flush=True)
        self.check(f"{name}: tokens", found.count("different") == 0, [i for i, one in enumerate(found) if one == "different"])
        self.check(f"{name}: hits", expected - len(results) <= moved <= expected, f"{moved:.0f} of {expected}")
        # A tie at the first token says nothing of such a prompt. One that is different makes the check of the tokens fail.
        self.check(f"{name}: negative control", "same" not in controls and 3 * controls.count("different") >= len(wrong), controls)

    def event(self, what, held, said):
        self.events.append((what, said))
        print(f"| {what} | {said} |", flush=True)
        self.check(what, held, said)

    def nothing_left(self, *engines, seconds=60):
        """Waits until no request is left and no block is allocated."""
        for engine in (one for one in engines if one.process.poll() is None):
            left = {}
            for _ in range(seconds):
                ask(engine.port, {**body([1, 2, 3]), "max_tokens": 1})  # a gauge of vLLM's is that of its last step
                left = {name: counter(engine.port, name) for name in (
                    "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
                    "baton:num_requests_held")}
                if not any(left.values()):
                    break
                time.sleep(1)
            self.event(f"left on {engine.name} at the end", not any(left.values()),
                       "nothing" if not any(left.values()) else json.dumps(left))

    def print(self):
        print(f"\n{self.what}, greedy, {TOKENS} tokens each\n")
        print("| direction | type | prompts | same | ties, widest | different | hit tokens of those there are | different with other KV | ms |")
        print("|---|---|---|---|---|---|---|---|---|")
        for row in self.rows:
            print("| " + " | ".join(map(str, row)) + " |")
        print("\n| event | what was said |\n|---|---|")
        for event in self.events:
            print("| " + " | ".join(event) + " |")
        print(f"\n{'FAILED' if self.failed else 'all held'}", flush=True)


def said(log, pattern, since=0):
    """The last line of a log with that pattern, from the pattern on; since: bytes of the log that do not count."""
    text = re.sub("\x1b\\[[0-9;]*m", "", log.read_bytes()[since:].decode(errors="replace"))
    found = re.findall(pattern + r"[^\n]*", text)
    return found[-1].strip() if found else "nothing"


def baton(options, name, port, transfer=None, flags=(), dtype=None, **variables):
    log = options.out / f"{name}.log"
    command = [processes.HOME / "baton", "serve", options.model, "--host", "127.0.0.1", "--port", port, "--served-model-name",
               NAME, "--max-model-len", 1024, "--kv-cache-dtype", dtype or options.dtype, *flags]
    if transfer:
        command += ["--kv-transfer-config", json.dumps(transfer)]
    process = processes.start(log, command, UCX_TLS="tcp,self,sm", **variables)
    return Engine("Baton", port, process, log, (ALONE, {}))


def vllm(options, port, transfer, flags=(), salted=True, **variables):
    log = options.out / "vllm.log"
    command = processes.vllm_command(options.vllm, options.model, port, "--dtype", options.dtype, "--kv-transfer-config",
                                     json.dumps(transfer), *flags)
    process = processes.start(log, ["taskset", "-c", options.core, *command],
                              **{**processes.vllm_variables(options.vllm, options.core), **variables})
    # Its prefix cache has the blocks that were handed over; with another salt it computes by itself.
    return Engine("vLLM", port, process, log, (port, {"cache_salt": "by itself"} if salted else {}))


def router(log, port, *flags):
    """Starts a `baton router` in mode pd with patience for servers that share few cores, and gives its process once it has engines."""
    process = processes.start(log, [processes.HOME / "baton", "router", "--host", "127.0.0.1", "--port", port, "--mode", "pd",
                                    "--hang-timeout", 300, "--probe-timeout", 60, *flags])
    try:
        processes.await_up(process, port, log, "/ready")
    except BaseException:
        processes.end([process])
        raise
    return process


class Fleet:
    """Engines that run at a time, and what else has to end with them."""

    def __init__(self):
        self.engines = []
        self.ends = []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        processes.end([engine.process for engine in self.engines])
        for end in reversed(self.ends):
            end()

    def add(self, engine):
        self.engines.append(engine)
        return engine

    def at_end(self, end):
        self.ends.append(end)

    def up(self):
        for engine in self.engines:
            if engine.process.poll() is None:
                processes.await_up(engine.process, engine.port, engine.log)
                processes.step_back(engine.process)
