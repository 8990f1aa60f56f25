"""MooncakeConnector on both sides: the prefiller writes into the decoder's memory over the Transfer Engine."""
import json
import uuid

from interoplib import processes
from interoplib.checks import ALONE, SHIMS, Fleet, ask, baton, body, router, vllm
from interoplib.handover import HandOver, both_directions

VLLM, BATON, OTHER, ROUTER = 8310, 8320, 8340, 8350
BOOTSTRAP = {VLLM: 5810, BATON: 5820, OTHER: 5830}
KEPT_SECONDS = 30  # for which blocks that nobody asks for are kept


def add_flags(parser):
    parser.add_argument("--block-size", type=int, default=32, help="of both")
    parser.add_argument("--via-router", action="store_true", help="`baton router` stands in front of prefiller and decoder")


def start_baton(options, name, port, block_size):
    return baton(options, name, port,
                 {"kv_connector": "MooncakeConnector", "kv_role": "kv_both", "kv_ip": "127.0.0.1",
                  "kv_connector_extra_config": {"vllm_kv_layout": "cpu", "bootstrap_port": BOOTSTRAP[port],
                                                "kv_peer_timeout": 20, "abort_request_timeout": KEPT_SECONDS}},
                 ["--block-size", block_size])


def prefill(engine, prompt):
    """What a proxy tells the decoder of this prompt."""
    bootstrap = BOOTSTRAP[engine.port]
    transfer_id = f"xfer-{uuid.uuid4().hex}"
    engine_id = json.loads(processes.get(bootstrap, "/query"))["0"]["engine_id"]
    ask(engine.port, {**body(prompt), "max_tokens": 1, "kv_transfer_params": {
        "do_remote_decode": True, "do_remote_prefill": False, "transfer_id": transfer_id}})
    return {"do_remote_prefill": True, "do_remote_decode": False, "transfer_id": transfer_id, "remote_engine_id": engine_id,
            "remote_bootstrap_addr": f"http://127.0.0.1:{bootstrap}"}


def routed(options):
    def start(prefiller, decoder):
        return router(options.out / "router.log", ROUTER, "--backend", "mooncake", "--prefiller",
                      f"127.0.0.1:{prefiller.port},bootstrap={BOOTSTRAP[prefiller.port]}",
                      "--decoder", f"127.0.0.1:{decoder.port}"), ROUTER
    return start


def run(options):
    with Fleet() as fleet:
        fleet.add(baton(options, "baton-alone", ALONE))
        other = fleet.add(vllm(
            options, VLLM,
            {"kv_connector": "MooncakeCpu", "kv_connector_module_path": "mooncake_cpu", "kv_role": "kv_both",
             "kv_connector_extra_config": {"mooncake_protocol": "tcp"}},
            ["--block-size", options.block_size], PYTHONPATH=SHIMS, VLLM_MOONCAKE_BOOTSTRAP_PORT=BOOTSTRAP[VLLM],
            VLLM_MOONCAKE_ABORT_REQUEST_TIMEOUT=KEPT_SECONDS))
        ours = fleet.add(start_baton(options, "baton", BATON, options.block_size))
        fleet.up()
        return both_directions(options, fleet, HandOver(
            what=f"MooncakeConnector, blocks of {options.block_size} tokens",
            prefill=prefill,
            strange="block size differs",
            complaint="pulling kv_caches",
            start_stranger=lambda: start_baton(options, "baton-stranger", OTHER, 2 * options.block_size),
            start_mortal=lambda: start_baton(options, "baton-mortal", OTHER, options.block_size),
            routed=routed(options) if options.via_router else None), other, ours)
