"""Ray Serve LLM's own prefill/decode application over two servers that are up already.

All that answers, splits and joins requests is Ray's, as `ray.serve.llm:build_pd_openai_app` deploys it: the ingress, the
server that decodes and asks for the prefill, the server that prefills, the connector's backend. `ray_engine.py` is what is not.

`ray_pd.py --port 8000 --prefill http://HOST:PORT --decode http://HOST:PORT --model-id NAME` serves on 127.0.0.1 until SIGTERM.
Needs `ray[serve]` 2.60 and vLLM, whose request classes Ray uses.
"""
import argparse
import os
import pathlib
import secrets
import signal
import tempfile


def application(model_id, prefill, decode):
    """The arguments of Ray's builder, as its YAML would have them."""
    def config(server, role):
        return {
            "model_loading_config": {"model_id": model_id},
            "accelerator_config": {"kind": "cpu"},
            "placement_group_config": {"bundles": [{"CPU": 0.1}]},
            "engine_kwargs": {"kv_transfer_config": {"kv_connector": "NixlConnector", "kv_role": role}},
            "deployment_config": {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}},
            "experimental_configs": {"server": server},
        }
    return {
        "prefill_config": config(prefill, "kv_producer"),
        "decode_config": config(decode, "kv_consumer"),
        "ingress_deployment_config": {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--prefill", required=True, help="URL of the server that prefills")
    parser.add_argument("--decode", required=True, help="URL of the server that decodes")
    parser.add_argument("--model-id", required=True)
    flags = parser.parse_args()
    # Read as Ray is imported, and by the processes that it starts. The token keeps others of the machine and the network out.
    os.environ |= {"RAYLLM_VLLM_ENGINE_CLS": "ray_engine:HttpEngine", "PYTHONPATH": str(pathlib.Path(__file__).resolve().parent),
                   "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    import ray
    from ray import serve
    from ray.serve.llm import build_pd_openai_app
    with tempfile.TemporaryDirectory(prefix="ray") as folder:
        try:
            ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, _temp_dir=folder)
            signal.signal(signal.SIGTERM, lambda *_: exit())  # after Ray, which has a handler of its own
            serve.start(http_options={"host": "127.0.0.1", "port": flags.port})
            serve.run(build_pd_openai_app(application(flags.model_id, flags.prefill, flags.decode)))
            signal.pause()
        finally:
            ray.shutdown()


if __name__ == "__main__":
    main()
