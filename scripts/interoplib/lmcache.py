"""LMCache on both sides: chunks on a shared store, and a sender that writes them into a receiver."""
import collections
import contextlib
import json
import pathlib
import socket
import struct
import subprocess
import threading
import time
import urllib.request

from interoplib import mooncake_store, processes
from interoplib.checks import (ALONE, OTHER_TYPE, SHIMS, Fleet, Report, answer, baton, own, pairs_of_one_length, prompts, router,
                               together, vllm)
from interoplib.processes import hits
from interoplib.stores import LONGEST, SHORTEST, alone, both_ways

VLLM, BATON, OTHER, ROUTER = 8310, 8320, 8340, 8350
SERVER, RELAY, REDIS = 5601, 5602, 5603
NOTIFY, INIT, ALLOC = 5604, 5605, 5606
CHUNK = 256
PD = {"enable_pd": "True", "transfer_channel": "nixl", "pd_buffer_size": 64 << 20, "pd_buffer_device": "cpu"}


def add_flags(parser):
    parser.add_argument("--store", choices=["lm", "redis", "mooncake", "pd"], default="lm")
    parser.add_argument("--nixl", type=pathlib.Path, help="environment that has the NIXL library, if that is not VENV")


def settings(**more):
    return {"PYTHONHASHSEED": 0, "LMCACHE_CHUNK_SIZE": CHUNK, "LMCACHE_PRE_CACHING_HASH_ALGORITHM": "sha256_cbor",
            "LMCACHE_LOCAL_CPU": "False", "LMCACHE_MAX_LOCAL_CPU_SIZE": 0.25, "LMCACHE_TRACK_USAGE": "false",
            **{f"LMCACHE_{key.upper()}": value for key, value in more.items()}}


class LmServer:
    """LMCache's own server, and in front of it a relay that counts what is stored, and hides or zeroes what is read."""
    name = "the lm:// server"
    url = f"lm://127.0.0.1:{RELAY}"
    variables = {}
    REQUEST, ANSWER = 186, 36
    PUT, READS, OK, FAILED = 1, (2, 3), 200, 400  # reads: GET, EXIST

    def __init__(self, options):
        log = options.out / "server.log"
        self.process = processes.start(log, [options.vllm / "bin" / "python", "-m", "lmcache.v1.server", "127.0.0.1", SERVER],
                                       LMCACHE_TRACK_USAGE="false")
        processes.await_port(self.process, SERVER, log)
        self.puts, self.is_hidden, self.gives_zeros = 0, False, False
        self.listener = socket.create_server(("127.0.0.1", RELAY))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", SERVER))
                except OSError:
                    client.close()
                    continue
                asked = collections.deque()  # commands that will be answered, in order
                for work in (self.requests, self.answers):
                    threading.Thread(target=self.carry, args=(work, client, server, asked), daemon=True).start()

    @staticmethod
    def carry(work, client, server, asked):
        with contextlib.suppress(OSError, EOFError):
            work(client, server, asked)
        for side in (client, server):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def exactly(side, length):
        parts = bytearray()
        while len(parts) < length:
            part = side.recv(length - len(parts))
            if not part:
                raise EOFError
            parts += part
        return bytes(parts)

    def requests(self, client, server, asked):
        while True:
            head = self.exactly(client, self.REQUEST)
            command, length = struct.unpack_from("<2i", head)
            if command == self.PUT:
                server.sendall(head + self.exactly(client, length))
                self.puts += 1
            else:
                asked.append(command)
                server.sendall(head)

    def answers(self, client, server, asked):
        while True:
            head = self.exactly(server, self.ANSWER)
            code, length = struct.unpack_from("<2i", head)
            value = self.exactly(server, length) if code == self.OK else b""
            if asked.popleft() in self.READS and self.is_hidden:
                head, value = struct.pack("<2i", self.FAILED, 0) + head[8:], b""
            client.sendall(head + (bytes(len(value)) if self.gives_zeros else value))

    def count(self):
        return self.puts

    def zero(self):
        self.gives_zeros = True

    @contextlib.contextmanager
    def hidden(self):
        self.is_hidden = True
        yield
        self.is_hidden = self.gives_zeros = False

    def kill(self):
        processes.kill(self.process)

    def end(self):
        self.listener.close()
        processes.end([self.process])


class Redis:
    name = "Redis"
    url = f"redis://127.0.0.1:{REDIS}"
    variables = {}
    ZEROS = ("for _, key in ipairs(redis.call('keys', '*kv_bytes')) do "
             "redis.call('set', key, string.rep('\\0', redis.call('strlen', key))) end")

    def __init__(self, options):
        log = options.out / "redis.log"
        self.process = processes.start(log, ["redis-server", "--bind", "127.0.0.1", "--port", REDIS, "--save", "", "--appendonly",
                                             "no", "--dir", options.out])
        processes.await_port(self.process, REDIS, log)

    @staticmethod
    def command(*words):
        return subprocess.run(["redis-cli", "-p", str(REDIS), *words], check=True, capture_output=True, text=True).stdout

    def count(self):
        return int(self.command("dbsize"))

    def zero(self):
        self.command("eval", self.ZEROS, "0")

    @contextlib.contextmanager
    def hidden(self):
        self.command("flushall")
        yield
        self.command("flushall")

    def kill(self):
        processes.kill(self.process)

    def end(self):
        processes.end([self.process])


class Mooncake(mooncake_store.Cluster):
    """Its VENV has Mooncake beside LMCache."""
    url = f"mooncakestore://{mooncake_store.MASTER}"
    head = 28
    # Mooncake's setup takes the master under a name that LMCache passes on only with this prefix.
    variables = {**mooncake_store.PORTS, "LMCACHE_EXTRA_CONFIG": json.dumps({
        "mooncake_master_server_addr": mooncake_store.MASTER, "metadata_server": "P2PHANDSHAKE", "local_hostname": "127.0.0.1",
        "global_segment_size": 0, "local_buffer_size": 64 << 20, "transfer_timeout": 30})}

    def keys(self):
        return processes.get(mooncake_store.ADMIN, "/get_all_keys").split()

    def clear(self):
        while self.keys():  # those read in the last second stay
            urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{mooncake_store.REST}/api/remove_all", method="DELETE"))
            time.sleep(0.5)

    @contextlib.contextmanager
    def hidden(self):
        self.clear()
        yield
        self.clear()


def start_vllm(options, role, **variables):
    return vllm(options, VLLM, {"kv_connector": "LMCacheCpu", "kv_connector_module_path": "lmcache_cpu", "kv_role": role},
                PYTHONPATH=SHIMS, **variables)


def start_baton(options, name, port, role, dtype=None, **variables):
    extra = {"model_name": str(options.model)}  # as vLLM writes it in keys
    if options.store == "mooncake":
        extra["mooncake_home"] = str(options.vllm)
    if role == "kv_consumer":
        extra["nixl_home"] = str(options.nixl or options.vllm)
    return baton(options, name, port, {"kv_connector": "LMCacheConnectorV1", "kv_role": role, "kv_connector_extra_config": extra},
                 dtype=dtype, **variables)


def run(options):
    return pd(options) if options.store == "pd" else shared(options)


def shared(options):
    with Fleet() as fleet:
        store = {"lm": LmServer, "redis": Redis, "mooncake": Mooncake}[options.store](options)
        fleet.at_end(store.end)
        variables = {**settings(remote_url=store.url, remote_serde="naive"), **store.variables}
        fleet.add(baton(options, "baton-alone", ALONE))
        other = fleet.add(start_vllm(options, "kv_both", **variables))
        ours = fleet.add(start_baton(options, "baton", BATON, "kv_both", **variables))
        fleet.up()
        return both_ways(f"LMCacheConnectorV1 over {store.url.partition(':')[0]}://, chunks of {CHUNK} tokens", options, fleet,
                         store, CHUNK, other, ours, "element type differs",
                         lambda: start_baton(options, "baton-stranger", OTHER, "kv_both", OTHER_TYPE[options.dtype],
                                             **variables))


def receiver(options, name, port, ports, dtype=None):
    init, alloc = ports
    return start_baton(options, name, port, "kv_consumer", dtype,
                       **settings(**PD, pd_role="receiver", pd_peer_host="127.0.0.1", pd_peer_init_port=init,
                                  pd_peer_alloc_port=alloc, blocking_timeout_secs=60))


def routed(options, decoder, ports):
    init, alloc = ports
    return router(options.out / "router.log", ROUTER, "--backend", "lmcache-pd", "--pd-proxy-port", NOTIFY,
                  "--prefiller", f"127.0.0.1:{VLLM}", "--decoder", f"127.0.0.1:{decoder.port},lmcache=127.0.0.1/{init}/{alloc}")


def pd(options):
    """vLLM with LMCache computes prompts and writes their chunks into Baton, behind `baton router`."""
    report = Report(f"LMCacheConnectorV1, prefill and decode over NIXL, chunks of {CHUNK} tokens")
    zeros = options.out / "zeros"
    zeros.unlink(missing_ok=True)
    ports, other_ports = (INIT, ALLOC), (INIT + 10, ALLOC + 10)
    with Fleet() as fleet:
        fleet.add(baton(options, "baton-alone", ALONE))
        other = fleet.add(start_vllm(
            options, "kv_producer", LMCACHE_CPU_ZEROS=zeros,
            **settings(**PD, pd_role="sender", pd_proxy_host="127.0.0.1", pd_proxy_port=NOTIFY, pd_backend_mode="sync")))
        ours = fleet.add(receiver(options, "baton", BATON, ports))
        fleet.up()
        behind = routed(options, ours, ports)
        fleet.at_end(lambda: processes.end([behind]))
        through = lambda prompt: answer(ROUTER, prompt)[0]
        given = prompts(options.prompts, 7, SHORTEST, LONGEST, [257, 300, 511, 512, 513, 700])
        before, started = hits(ours.port), time.monotonic()
        got = together(through, given)
        seconds, moved = time.monotonic() - started, hits(ours.port) - before
        references = together(lambda prompt: own(ours, prompt), given)
        controls = [first for first, _ in pairs_of_one_length("zeros", 3 * SHORTEST)]
        zeros.touch()
        wrong = together(through, controls)
        zeros.unlink()
        rights = together(lambda prompt: own(ours, prompt), controls)
        report.direction("vLLM to Baton, through `baton router`", options, list(zip(got, references)), seconds, moved,
                         sum(map(len, given)), list(zip(wrong, rights)))
        if not options.only_hand_overs:
            first, second = prompts(2, 11, 600, 700, [650])
            processes.end([behind])
            stranger = fleet.add(receiver(options, "baton-stranger", OTHER, other_ports, OTHER_TYPE[options.dtype]))
            fleet.up()
            behind = routed(options, stranger, other_ports)
            alone(report, "element type differs", stranger, first, port=ROUTER)
            processes.end([behind, stranger.process])
            behind = routed(options, ours, ports)
            report.nothing_left(other)
            processes.kill(other.process)
            alone(report, "vLLM killed", ours, second, port=ROUTER, log=options.out / "router.log")
        report.nothing_left(ours, other)
    return report

