"""An engine of Ray Serve LLM that is a server elsewhere. A deployment starts it where it would start a vLLM, if
RAYLLM_VLLM_ENGINE_CLS names it; it sends each request, with every field that Ray's has, over HTTP to the server that
`experimental_configs` name.
"""
import aiohttp
from ray.llm._internal.serve.core.configs import openai_api_models as openai
from ray.llm._internal.serve.core.engine.protocol import LLMEngine

OWN_HEADERS = {"host", "content-length", "content-type", "connection", "transfer-encoding", "accept-encoding", "x-request-id"}


class HttpEngine(LLMEngine):
    def __init__(self, llm_config):
        super().__init__(llm_config)
        llm_config.setup_engine_backend()  # what shapes the requests of the two legs
        self.server = llm_config.experimental_configs["server"]
        self.session = None

    async def start(self):
        self.session = aiohttp.ClientSession(self.server, timeout=aiohttp.ClientTimeout(total=None))
        await self.check_health()

    async def check_health(self):
        async with self.session.get("/health") as answer:
            answer.raise_for_status()

    async def shutdown(self):
        await self.session.close()

    def routing_stats(self):
        return {}

    async def resolve_lora(self, lora_model):
        raise NotImplementedError("adapters")

    async def reset_prefix_cache(self):
        raise NotImplementedError("reset of the prefix cache")

    async def embeddings(self, request, raw_request_info=None):
        raise NotImplementedError("embeddings")
        yield

    async def transcriptions(self, request, raw_request_info=None):
        raise NotImplementedError("transcriptions")
        yield

    def chat(self, request, raw_request_info=None):
        return self._ask("/v1/chat/completions", request, raw_request_info, openai.ChatCompletionResponse)

    def completions(self, request, raw_request_info=None):
        return self._ask("/v1/completions", request, raw_request_info, openai.CompletionResponse)

    async def _ask(self, path, request, raw_request_info, response):
        """Yields the events of a stream as text, else one response or one error."""
        headers = raw_request_info.headers if raw_request_info else {}
        headers = {name: value for name, value in headers.items() if name.lower() not in OWN_HEADERS}
        headers["X-Request-Id"] = request.request_id
        async with self.session.post(path, json=request.model_dump(mode="json"), headers=headers) as answer:
            if answer.status != 200:
                yield openai.ErrorResponse(**await answer.json())
            elif request.stream:
                async for line in answer.content:
                    if line.startswith(b"data:"):
                        yield line.decode().rstrip() + "\n\n"
            else:
                yield response(**await answer.json())
