"""The mode `pd` of scripts/gpu-bench: prefillers, a decoder and the router, each engine on a GPU of its own."""
import asyncio
import contextlib
import glob
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
import urllib.request

import bench_client as client

ROUTER, PREFILLER, DECODER = 18000, 18100, 18200
TOKENS, NEW_TOKENS, BURSTINESS = 7500, 200, 100
LOADS = {1: (8000, 200, 3.6), 2: (10000, 100, 5.5)}  # by prefillers: tokens, new tokens, requests/s
HISTORY, ANSWER, TURN = 4096, 128, 256
STREAMS, STREAM_TOKENS, STREAM_LENGTH = 16, 1024, 1600
QUIET_S, PAUSE_S, TAIL_S = 2.0, 0.4, 0.02
ALONE_PAUSE_S = 0.8  # the GPU is as cool then as in the seed workload
REPEATS = 5
WARM_UPS, WARM_UPS_AT_A_TIME = 400, 8
SHORT_WARM_UPS, SHORT_TOKENS = 240, 520  # their blocks are handed off, those of the others are cached
PULLS = 8


def url(port):
    return "http://127.0.0.1:%d" % port


class Fleet:
    """Processes, each engine on the GPU that it finds at its place in CUDA_VISIBLE_DEVICES."""

    def __init__(self, args):
        self.args = args
        self.prefillers = [PREFILLER + i for i in range(args.prefillers)]
        self.processes = []
        devices = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(args.prefillers + 1)))
        self.devices = devices.split(",")
        if len(self.devices) < args.prefillers + 1:
            sys.exit("gpu-bench: %d GPUs are needed, CUDA_VISIBLE_DEVICES names %s" % (args.prefillers + 1, devices))

    def start(self):
        self.began = time.monotonic()
        longest = LOADS[min(2, self.args.prefillers)][0] // self.args.shrink + STREAM_LENGTH + 100
        engines = [("prefiller%d" % i, port, "kv_producer") for i, port in enumerate(self.prefillers)]
        for device, (name, port, role) in enumerate([*engines, ("decoder", DECODER, "kv_consumer")]):
            transfer = json.dumps({"kv_connector": self.args.connector, "kv_role": role,
                                   "kv_connector_extra_config": json.loads(self.args.connector_config)})
            command = client.serve(self.args, port, longest, ["--kv-transfer-config", transfer])
            self.processes.append(client.start(self.args, name, command, client.ENGINE_FLAGS,
                                               CUDA_VISIBLE_DEVICES=self.devices[device]))
        command = ["router", "--mode", "pd", "--backend", "baton", "--host", "127.0.0.1", "--port", str(ROUTER),
                   "--prefillers", ",".join("127.0.0.1:%d" % port for port in self.prefillers), "--decoders", "127.0.0.1:%d" % DECODER,
                   *self.args.router_args.split()]
        self.processes.append(client.start(self.args, "router", command, client.ROUTER_FLAGS))
        names = [name for name, _, _ in engines] + ["decoder", "router"]
        ports = self.prefillers + [DECODER, ROUTER]
        for name, port, process in zip(names, ports, self.processes):
            client.await_ready(self.args, name, process, url(port), "/ready" if port == ROUTER else "/health")
        return time.monotonic() - self.began

    def mode(self, name):
        with urllib.request.urlopen(urllib.request.Request(url(ROUTER) + "/mode/" + name, method="POST")):
            pass

    def sample(self):
        """What the processes have counted, to be subtracted from a later sample."""
        decoder, router = client.metrics(url(DECODER)), client.metrics(url(ROUTER))
        prefillers = [client.metrics(url(port)) for port in self.prefillers]
        ttft, leg = "vllm:time_to_first_token_seconds_", "baton_router_time_to_first_token_seconds_"
        return {
            "transfers": client.total(decoder, "baton:kv_transfers_total"),
            "pushes": client.total(decoder, "baton:kv_pushed_transfers_total"),
            "bytes": client.total(decoder, "baton:kv_received_bytes_total"),
            "transfer_s": client.total(decoder, "vllm:nixl_xfer_time_seconds_sum"),
            "prefill_s": sum(client.total(it, ttft + "sum") for it in prefillers),
            "prefills": sum(client.total(it, ttft + "count") for it in prefillers),
            "prefill_leg_s": client.total(router, leg + "sum", 'role="prefiller"'),
            "prefill_legs": client.total(router, leg + "count", 'role="prefiller"'),
            "first_s": client.total(router, leg + "sum", 'role="decoder"'),
            "firsts": client.total(router, leg + "count", 'role="decoder"'),
            "decoder_s": client.total(decoder, ttft + "sum"),
            "decodes": client.total(decoder, ttft + "count"),
        }

    def pauses(self):
        """Pauses of the collectors so far, in ms, by process."""
        pauses = {}
        for path in glob.glob(os.path.join(self.args.logs, "*-gc.log")):
            name = os.path.basename(path)[:-len("-gc.log")]
            with open(path) as lines:
                found = (re.search(r"Pause .* ([0-9.]+)ms$", line) for line in lines)
                pauses[name] = [float(it[1]) for it in found if it]
        return pauses


def ratio(sample, above, below, scale=1.0):
    return sample[above] / sample[below] * scale if sample[below] else float("nan")


def arrivals(rng, count, rate):
    """When requests are sent: gaps of a gamma distribution, as `vllm bench serve --burstiness` has them."""
    gaps = [rng.gammavariate(BURSTINESS, 1) for _ in range(count - 1)]
    scale = (count - 1) / rate / sum(gaps)
    times = [0.0]
    for gap in gaps:
        times.append(times[-1] + gap * scale)
    return times


async def load(rng, args, tokens, new_tokens, count, rate):
    """Sends requests at their times; those that failed are None. Gives the answers and the duration in seconds."""
    bodies = [client.body(client.prompt(rng, tokens // args.shrink, args.vocab), new_tokens) for _ in range(count)]
    times = arrivals(rng, count, rate)
    began = time.perf_counter()

    async def send(at, request):
        await asyncio.sleep(max(0.0, began + at - time.perf_counter()))
        try:
            return await client.complete(url(ROUTER), request)
        except (OSError, RuntimeError) as e:
            print("    a request failed:", e, file=sys.stderr)
            return None

    answers = await asyncio.gather(*[send(at, request) for at, request in zip(times, bodies)])
    return answers, time.perf_counter() - began


def whole(answers, new_tokens):
    return [it for it in answers if it is not None and it.tokens == new_tokens]


class Bench:
    def __init__(self, args, fleet, table):
        self.args = args
        self.fleet = fleet
        self.table = table
        self.rng = random.Random(20261122)
        self.raw = {}

    def request(self, tokens, new_tokens, ids=False):
        return client.body(client.prompt(self.rng, tokens // self.args.shrink, self.args.vocab), new_tokens, ids)

    async def begin(self, ready):
        first = await client.complete(url(ROUTER), self.request(512, 2))
        self.table.add("P21", "all processes started to the first token", "%.1f s" %
                       (first.times[0] - first.sent + ready), "ready %.1f s" % ready, "15 s", "65.5 s")
        for _ in range(3):
            await client.complete(url(ROUTER), self.request(TOKENS, 20))
        await asyncio.gather(*[client.complete(url(ROUTER), self.request(STREAM_TOKENS, 400)) for _ in range(STREAMS)])
        await self.warm_up()
        alone = []
        for request in [self.request(TOKENS, 1) for _ in range(REPEATS)]:
            await asyncio.sleep(ALONE_PAUSE_S)
            alone.append((await client.complete(url(PREFILLER), request)).ttft)
        self.raw["prefill_alone_ms"] = alone
        self.table.add("", "prefill of %d tokens, sent to the prefiller itself, ms" % TOKENS,
                       "%.1f" % statistics.median(alone), "%.1f to %.1f" % (min(alone), max(alone)), "", "197")

    async def warm_up(self):
        """Until the processes' code is compiled: requests of full size, of one prompt, whose blocks are cached, and
        short ones whose blocks are not."""
        requests = [self.request(TOKENS, 2)] * WARM_UPS + [self.request(SHORT_TOKENS, 2) for _ in range(SHORT_WARM_UPS)]

        async def some(share):
            for request in share:
                await client.complete(url(ROUTER), request)

        await asyncio.gather(*[some(requests[i::WARM_UPS_AT_A_TIME]) for i in range(WARM_UPS_AT_A_TIME)])
        for tokens in [SHORT_TOKENS] * (SHORT_WARM_UPS // 4) + [TOKENS] * 2:
            await self.pull(tokens)

    async def pull(self, tokens):
        """A prompt that its decoder fetches once it is computed, as a router asks for it."""
        prompt = client.prompt(self.rng, tokens // self.args.shrink, self.args.vocab)
        held = {"do_remote_decode": True, "do_remote_prefill": False}
        first = await client.whole(url(self.fleet.prefillers[0]), client.plain(prompt, 1, held))
        await client.whole(url(DECODER), client.plain(prompt, 2, first["kv_transfer_params"]))

    async def pulls(self):
        """The transfer alone: from its begin to the last block whose checksum was right."""
        before = self.fleet.sample()
        for _ in range(PULLS):
            await self.pull(TOKENS)
        after = self.fleet.sample()
        counted = {name: after[name] - before[name] for name in after}
        size, millis = ratio(counted, "bytes", "transfers"), ratio(counted, "transfer_s", "transfers", 1e3)
        self.raw["pull_ms"] = millis
        self.table.add("P6", "transfer of %.0f MB, fetched after the prefill over %s, checksums on both sides, mean of %d, ms"
                       % (size / 1e6, self.args.connector, counted["transfers"]), "%.2f (%.0f GB/s)" % (millis, size / 1e6 / millis), "",
                       "4", "107, tuned 32")

    async def seed(self):
        rounds = []
        for _ in range(self.args.rounds):
            before = self.fleet.sample()
            answers, duration = await load(self.rng, self.args, TOKENS, NEW_TOKENS, self.args.prompts,
                                           self.args.rate)
            after = self.fleet.sample()
            done = whole(answers, NEW_TOKENS)
            if not done:
                sys.exit("gpu-bench: no request of the seed workload was answered")
            rounds.append({"duration_s": duration, "completed": len(done), "ttft": [it.ttft for it in done],
                           "second": [it.gaps()[0] for it in done],
                           "tpot": [it.tpot for it in done], "itl": [gap for it in done for gap in it.gaps()],
                           "counted": {name: after[name] - before[name] for name in after}})
        self.raw["seed"] = rounds

        def each(what):
            values = [what(it) for it in rounds]
            return statistics.median(values), min(values), max(values)

        def spread(what, form):
            _, low, high = each(what)
            return form % low + " to " + form % high if len(rounds) > 1 else "one round"

        mean_tpot = lambda it: statistics.mean(it["tpot"])  # noqa: E731
        typical = sorted(rounds, key=mean_tpot)[len(rounds) // 2]
        of = client.summary(typical["tpot"], 2)
        self.table.add("P1", "seed workload: mean TPOT, ms (mean / median / P99 of a round: %s)" % of,
                       "%.2f" % each(mean_tpot)[0], spread(mean_tpot, "%.2f"), "4.8", "5.40, tuned 5.00")
        mean_ttft = lambda it: statistics.mean(it["ttft"])  # noqa: E731
        typical = sorted(rounds, key=mean_ttft)[len(rounds) // 2]
        self.table.add("P2", "TTFT mean / median / P99, ms", client.summary(typical["ttft"]), spread(mean_ttft, "%.1f"),
                       "190 / 190 / 200", "327 / 328 / 331, tuned 229 / 230 / 234")
        self.table.add("", "ITL median / P99 / max, ms", "%.2f / %.2f / %.1f" % (
            statistics.median(typical["itl"]), client.quantile(typical["itl"], 0.99), max(typical["itl"])), "", "",
            "4.94 / - / 99, tuned 4.96 / - / 15.3")
        self.table.add("P3", "completed, duration", "%d/%d, %.2f s" % (
            min(it["completed"] for it in rounds), self.args.prompts, each(lambda it: it["duration_s"])[0]),
            spread(lambda it: it["duration_s"], "%.2f"), "30/30, 30.2 s", "30/30, 30.22 s")
        counted = typical["counted"]
        self.table.add("", "hand-offs pushed", "%d of %d" % (counted["pushes"], counted["transfers"]))
        second = [gap for it in rounds for gap in it["second"]]
        self.table.add("", "from the first token to the second, mean / median / P99, ms", client.summary(second))
        self.where(counted, mean_ttft(typical))

    def where(self, counted, ttft):
        """Where the mean time to the first token goes, by what router and engines have counted."""
        prefill = ratio(counted, "prefill_s", "prefills", 1e3)
        leg = ratio(counted, "prefill_leg_s", "prefill_legs", 1e3)
        decoder = ratio(counted, "decoder_s", "decodes", 1e3)
        first = ratio(counted, "first_s", "firsts", 1e3)
        transfer = ratio(counted, "transfer_s", "transfers", 1e3)
        parts = {"prefiller: arrival to first token": prefill, "router and HTTP of the first leg": leg - prefill,
                 "from the prefiller's answer to the decoder's first bytes": first - leg,
                 "client to router": ttft - first}
        if not counted["pushes"]:  # a decoder that is asked at once counts the prefill too
            parts.update({"in it, decoder: transfer": transfer,
                          "in it, decoder: the rest, arrival to first token": decoder - transfer,
                          "in it, router and HTTP of the second leg": first - leg - decoder})
        self.raw["ttft_parts_ms"] = parts
        self.table.add("P7", "transfer left visible in TTFT: from the prefiller's answer to the decoder's first bytes, ms",
                       "%.2f" % (first - leg), "pushed" if counted["pushes"] else "second leg and a step in it", "1")
        for name, value in parts.items():
            self.table.add("P2", "of the mean TTFT: " + name + ", ms", "%.2f" % value)

    async def conversation(self):
        """A first turn; gives what the second one begins with."""
        history = client.prompt(self.rng, HISTORY // self.args.shrink, self.args.vocab)
        answer = await client.complete(url(ROUTER), client.body(history, ANSWER, True))
        if len(answer.ids) != ANSWER:
            sys.exit("gpu-bench: %d token ids of an answer of %d tokens" % (len(answer.ids), ANSWER))
        return history + answer.ids

    def turn(self, history, new_tokens):
        more = client.prompt(self.rng, TURN // self.args.shrink, self.args.vocab)
        return client.body(history + more, new_tokens)

    async def turns(self):
        found = {}
        for mode, goal, peer in (("pd", 24, 36.6), ("ppd", 15, 17.8)):
            ttfts = []
            for i in range(REPEATS + 1):
                self.fleet.mode("pd")
                history = await self.conversation()
                self.fleet.mode(mode)
                before = self.fleet.sample()["transfers"]
                answer = await client.complete(url(ROUTER), self.turn(history, 16))
                handed = self.fleet.sample()["transfers"] - before
                if handed != (1 if mode == "pd" else 0):
                    print("    turn 2 in mode %s: %d hand-offs" % (mode, handed), file=sys.stderr)
                if i > 0:
                    ttfts.append(answer.ttft)
            found[mode] = ttfts
            self.table.add("P9", "TTFT of turn 2 %s, ms" % ("P to D" if mode == "pd" else "straight to D"),
                           "%.1f" % statistics.median(ttfts), "%.1f to %.1f" % (min(ttfts), max(ttfts)), goal, peer)
        self.fleet.mode("pd")
        self.raw["turns_ttft_ms"] = found

    async def streams(self):
        """Running decodes while a prompt arrives through the prefiller, and while a turn is appended on the decoder."""
        histories = [await self.conversation() for _ in range(REPEATS)]
        running = [asyncio.create_task(client.complete(url(ROUTER), self.request(STREAM_TOKENS, STREAM_LENGTH)))
                   for _ in range(STREAMS)]
        await asyncio.sleep(1.5)  # until all of them decode
        windows = {"quiet": [(time.perf_counter(), time.perf_counter() + QUIET_S)], "prefill": [], "append": []}
        await asyncio.sleep(QUIET_S)
        ttfts = {"prefill": [], "append": []}

        async def disturb(name, request):
            answer = await client.complete(url(ROUTER), request)
            windows[name].append((answer.sent, answer.times[-1] + TAIL_S))
            ttfts[name].append(answer.ttft)
            await asyncio.sleep(PAUSE_S)

        for request in [self.request(TOKENS, 2) for _ in range(3)]:
            await disturb("prefill", request)
        self.fleet.mode("ppd")
        for request in [self.turn(history, 2) for history in histories]:
            await disturb("append", request)
        self.fleet.mode("pd")
        answers = await asyncio.gather(*running)
        gaps = {name: [gap for it in answers for begin, end in spans for gap in it.gaps(begin, end)]
                for name, spans in windows.items()}
        self.raw["streams"] = {"gaps_ms": gaps, "ttft_ms": ttfts}
        last = windows["append"][-1][0]
        if any(it.times[-1] < last for it in answers):
            self.table.add("P10", "streams ended before what was to disturb them", "no figure")
            return
        middle, p99 = statistics.median(gaps["quiet"]), client.quantile(gaps["quiet"], 0.99)
        form = "%.2f / %.2f / %.1f"
        self.table.add("P10", "ITL of %d streams, quiet: median / P99 / max, ms" % STREAMS,
                       form % (middle, p99, max(gaps["quiet"])), "", "", "5.4 / 6.5 / -")
        for name, what, goal, peer in (
                ("prefill", "a %d-token prefill through P" % TOKENS, "P99 1.10 x, max 2 x", "max 3.1 x"),
                ("append", "a %d-token turn on D" % TURN, "P99 1.5 x", "P99 2.1 x")):
            found = gaps[name]
            self.table.add("P10", "beside %s (TTFT %.1f ms): median / P99 / max, ms"
                           % (what, statistics.median(ttfts[name])),
                           form % (statistics.median(found), client.quantile(found, 0.99), max(found)),
                           "P99 %.2f x of quiet's, max %.2f x of its median"
                           % (client.quantile(found, 0.99) / p99, max(found) / middle), goal, peer)

    async def load(self):
        tokens, new_tokens, rate = LOADS[min(2, self.args.prefillers)]
        count = self.args.load_prompts
        before = self.fleet.sample()
        answers, duration = await load(self.rng, self.args, tokens, new_tokens, count, rate)
        done = whole(answers, new_tokens)
        ttft, tpot = [it.ttft for it in done], [it.tpot for it in done]
        itl = [gap for it in done for gap in it.gaps()]
        self.raw["load"] = {"ttft": ttft, "tpot": tpot, "completed": len(done), "duration_s": duration}
        if not done:
            sys.exit("gpu-bench: no request under load was answered")
        what = "%d/%d at %.1f req/s, %dP1D" % (tokens, new_tokens, rate, self.args.prefillers)
        after = self.fleet.sample()
        counted = {name: after[name] - before[name] for name in after}
        self.table.add("P8", what + ": of the mean TTFT: prefiller, first leg, from its answer to the first bytes, ms",
                       "%.1f, %.1f, %.1f" % (ratio(counted, "prefill_s", "prefills", 1e3),
                                             ratio(counted, "prefill_leg_s", "prefill_legs", 1e3),
                                             ratio(counted, "first_s", "firsts", 1e3)
                                             - ratio(counted, "prefill_leg_s", "prefill_legs", 1e3)),
                       "%d of %d pushed" % (counted["pushes"], counted["transfers"]))
        p99 = client.quantile(itl, 0.99)
        self.table.add("P8", what + ": completed", "%d/%d in %.1f s" % (len(done), count, duration), "one round", "all")
        self.table.add("P8", what + ": TTFT mean / median / P99, ms", client.summary(ttft), "", "215",
                       "254 / 254 / 260" if self.args.prefillers == 1 else "")
        self.table.add("P8", what + ": mean TPOT, ms", "%.2f" % statistics.mean(tpot), "", "5.7",
                       "5.93" if self.args.prefillers == 1 else "")
        self.table.add("P8", what + ": ITL median / P99 / max, ms",
                       "%.2f / %.2f / %.1f" % (statistics.median(itl), p99, max(itl)),
                       "P99 %.2f x" % (p99 / statistics.median(itl)), "1.2 x", "2.5 x")

    def pauses(self, before):
        """Pauses since the processes were warm: those of their start delay nobody."""
        found = {name: pauses[len(before.get(name, [])):] for name, pauses in self.fleet.pauses().items()}
        self.raw["pauses_ms"] = found
        self.table.add("P20", "longest pause of a collector, ms (number)", ", ".join(
            "%s %.1f (%d)" % (name, max(pauses, default=0), len(pauses)) for name, pauses in sorted(found.items())),
            "", "5", "")

    async def run(self, ready):
        await self.begin(ready)
        warm = self.fleet.pauses()
        for part in self.args.only.split(","):
            await getattr(self, part)()
        self.pauses(warm)


def baseline(args, table):
    """transformers on the first GPU, in a process of its own that prints a figure as soon as it has it."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "transformers-baseline")
    with open(client.log(args, "baseline"), "w") as errors:
        process = subprocess.Popen(["python3", script, "--model", args.model, "--tokens", str(TOKENS)],
                                   stdout=subprocess.PIPE, stderr=errors, text=True)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(args.baseline_limit)
        in_time = process.poll() is not None
        process.kill()
        found = [json.loads(line) for line in process.communicate()[0].splitlines() if line.startswith("{")]
    for figure in found:
        table.add("", "baseline: transformers, " + figure["what"] + ", ms", "%.2f" % figure["median"],
                  "%.2f to %.2f" % (figure["lowest"], figure["highest"]))
    if not in_time:
        table.add("", "baseline: what is missing did not end in time", "%d s" % args.baseline_limit)
    elif process.returncode != 0:
        table.add("", "baseline: what is missing failed", "see its log")
    return found


def run(args):
    fleet = Fleet(args)
    table = client.Table("%dP1D on %d GPUs, blocks of %d tokens"
                         % (args.prefillers, len(set(fleet.devices[:args.prefillers + 1])), args.block_size))
    try:
        ready = fleet.start()
        bench = Bench(args, fleet, table)
        try:
            asyncio.run(bench.run(ready))
        finally:
            client.end(fleet.processes)
        if args.baseline:
            bench.raw["baseline"] = baseline(args, table)
    finally:
        client.end([it for it in fleet.processes if it.poll() is None])
        table.print()
    return bench.raw
