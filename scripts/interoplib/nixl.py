"""NixlConnector on both sides: the decoder reads from the prefiller's memory."""
from interoplib.checks import ALONE, Fleet, ask, baton, body, router, vllm
from interoplib.handover import HandOver, both_directions

VLLM, BATON, OTHER, ROUTER = 8310, 8320, 8340, 8350
SIDE = {VLLM: 5710, BATON: 5720, OTHER: 5730}
NO_BLOCKS = {"remote_engine_id": None, "remote_block_ids": None, "remote_host": None, "remote_port": None}
PREFILL = {"do_remote_decode": True, "do_remote_prefill": False, **NO_BLOCKS}
LEASE = {"kv_lease_duration": 10}


def add_flags(parser):
    parser.add_argument("--block-size", type=int, default=128, help="tokens in a block of vLLM's")
    parser.add_argument("--baton-block-size", type=int, default=16)
    parser.add_argument("--mirror-block-size", type=int, help="of the mirror that a Baton shows vLLM; vLLM's, or a divisor of it")
    parser.add_argument("--via-router", action="store_true", help="`baton router` stands in front of prefiller and decoder")


def transfer(**extra):
    return {"kv_connector": "NixlConnector", "kv_role": "kv_both", "kv_buffer_device": "cpu",
            "kv_connector_extra_config": {**LEASE, **extra}}


def start_baton(options, name, port, **extra):
    return baton(options, name, port,
                 transfer(nixl_home=str(options.vllm), vllm_model=str(options.model),
                          vllm_block_size=options.mirror_block_size or options.block_size, **extra),
                 ["--block-size", options.baton_block_size], VLLM_NIXL_SIDE_CHANNEL_PORT=SIDE[port])


def prefill(engine, prompt):
    """What a proxy tells the decoder of this prompt."""
    params = ask(engine.port, {**body(prompt), "max_tokens": 1, "kv_transfer_params": PREFILL})["kv_transfer_params"]
    if not (params and params.get("remote_block_ids")):
        raise SystemExit(f"{engine.name} holds nothing of a prompt of {len(prompt)} tokens: {params}")
    return params


def routed(options):
    def start(prefiller, decoder):
        return router(options.out / "router.log", ROUTER, "--backend", "nixl", "--prefiller", f"127.0.0.1:{prefiller.port}",
                      "--decoder", f"127.0.0.1:{decoder.port}"), ROUTER
    return start


def run(options):
    with Fleet() as fleet:
        fleet.add(baton(options, "baton-alone", ALONE))
        other = fleet.add(vllm(options, VLLM, transfer(), ["--block-size", options.block_size],
                               VLLM_NIXL_SIDE_CHANNEL_PORT=SIDE[VLLM]))
        ours = fleet.add(start_baton(options, "baton", BATON))
        fleet.up()
        return both_directions(options, fleet, HandOver(
            what=f"NixlConnector, vLLM's blocks of {options.block_size} tokens, Baton's of {options.baton_block_size}",
            prefill=prefill,
            strange="compatibility hash differs",
            complaint="NIXL compatibility hash mismatch",
            start_stranger=lambda: start_baton(options, "baton-stranger", OTHER, vllm_version="0.31.0"),
            start_mortal=lambda: start_baton(options, "baton-mortal", OTHER),
            routed=routed(options) if options.via_router else None), other, ours)
