"""MooncakeStoreConnector on both sides: both keep their blocks in one Mooncake cluster."""
import contextlib
import json
import os
import subprocess

from interoplib import processes
from interoplib.checks import ALONE, Fleet, baton, vllm
from interoplib.stores import both_ways

VLLM, BATON, OTHER = 8310, 8320, 8340
RPC, ADMIN, REST = 5901, 5903, 5920
# Its processes listen on every address unless told otherwise, on ports of these ranges.
PORTS = dict(MC_TCP_BIND_ADDRESS="127.0.0.1", MC_MIN_RPC_PORT=5930, MC_MAX_RPC_PORT=5959, MC_STORE_CLIENT_MIN_PORT=5960,
             MC_STORE_CLIENT_MAX_PORT=5989)
MASTER = f"127.0.0.1:{RPC}"
POOL_BYTES = 1 << 30


def add_flags(parser):
    parser.add_argument("--block-size", type=int, default=32, help="of both")


class Cluster:
    """A master and a node that gives memory."""
    name = "the Mooncake cluster"
    head = 0  # bytes of a value that are no keys and values

    def __init__(self, options):
        self.options = options
        binaries = options.vllm / "bin"
        common = {"metadata_server": "P2PHANDSHAKE", "master_server_address": MASTER, "protocol": "tcp", "device_name": ""}
        node = options.out / "node.json"
        node.parent.mkdir(parents=True, exist_ok=True)
        node.write_text(json.dumps({**common, "local_hostname": "127.0.0.1", "global_segment_size": POOL_BYTES,
                                    "local_buffer_size": 128 << 20}))
        self.client = options.out / "client.json"
        self.client.write_text(json.dumps({**common, "mode": "standalone-store", "global_segment_size": 0,
                                           "local_buffer_size": "64MB"}))
        logs = [options.out / "master.log", options.out / "node.log"]
        self.master = processes.start(logs[0], [
            binaries / "mooncake_master", "--rpc_address=127.0.0.1", f"--rpc_port={RPC}", "--metrics_host=127.0.0.1",
            f"--metrics_port={ADMIN}", "--default_kv_lease_ttl=1s", "--logtostderr"], **PORTS)
        processes.await_up(self.master, ADMIN, logs[0])
        self.node = processes.start(logs[1], [binaries / "mc_store_rest_server", "--config", node, "--port", REST], **PORTS)
        processes.await_up(self.node, REST, logs[1], "/api/exist/x")

    def keys(self):
        """Of blocks; beside one of Baton's lies its checksum."""
        return [key for key in processes.get(ADMIN, "/get_all_keys").split()
                if "@tp_rank" in key and not key.endswith("@baton")]

    def count(self):
        return len(self.keys())

    def zero(self):
        subprocess.run([str(self.options.vllm / "bin" / "python"), "-m", "interoplib.shims.mooncake_zeros", MASTER,
                        str(self.head)],
                       input="\n".join(self.keys()), text=True, check=True, cwd=processes.HOME / "scripts",
                       env={**os.environ, **{key: str(value) for key, value in PORTS.items()}},
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    @contextlib.contextmanager
    def hidden(self):
        yield  # another salt makes other keys

    def kill(self):
        for process in (self.node, self.master):
            processes.kill(process)

    def end(self):
        processes.end([self.node, self.master])


def start_baton(options, name, port, block_size, cluster):
    return baton(options, name, port,
                 {"kv_connector": "MooncakeStoreConnector", "kv_role": "kv_both", "kv_ip": "127.0.0.1",
                  "kv_connector_extra_config": {"vllm_kv_layout": "cpu", "mooncake_home": str(options.vllm),
                                                "model_name": options.model.name, "kv_peer_timeout": 20, "load_timeout": 60,
                                                "master_metrics_port": ADMIN}},
                 ["--block-size", block_size], PYTHONHASHSEED=0, MOONCAKE_CONFIG_PATH=cluster.client, **PORTS)


def run(options):
    with Fleet() as fleet:
        cluster = Cluster(options)
        fleet.at_end(cluster.end)
        fleet.add(baton(options, "baton-alone", ALONE))
        other = fleet.add(vllm(options, VLLM, {"kv_connector": "MooncakeStoreConnector", "kv_role": "kv_both"},
                               ["--block-size", options.block_size, "--prefix-caching-hash-algo", "sha256_cbor"],
                               PYTHONHASHSEED=0, MOONCAKE_CONFIG_PATH=cluster.client, **PORTS))
        ours = fleet.add(start_baton(options, "baton", BATON, options.block_size, cluster))
        fleet.up()
        return both_ways(f"MooncakeStoreConnector, blocks of {options.block_size} tokens", options, fleet, cluster,
                         options.block_size, other, ours,
                         "block size differs", lambda: start_baton(options, "stranger", OTHER, 2 * options.block_size, cluster))
