"""LMCache 0.5.6 in a vLLM on the CPU. LMCache has a copy between its chunks and the engine's pages for each kind of GPU and none
for the CPU, and goes on without caching then; this is that copy, and all the rest is LMCache's. For `kv_connector_module_path`.

While the file that LMCACHE_CPU_ZEROS names exists, chunks are saved as zeros: a sender that a test must find out.
"""
import os

import lmcache.v1.gpu_connector as connectors
import torch
from lmcache.v1.gpu_connector.gpu_connectors import GPUConnectorInterface
from vllm.distributed.kv_transfer.kv_connector.v1.lmcache_connector import LMCacheConnectorV1


class CpuPages(GPUConnectorInterface):
    """A page has, for each head, keys as (size, tokens) and values as (tokens, size); a chunk is (2, layers, tokens, heads * size)."""

    def __init__(self, metadata):
        self.layers, _, _, self.heads, self.size = metadata.kv_shape
        self.pages = None

    def get_shape(self, num_tokens):
        return torch.Size([2, self.layers, num_tokens, self.heads * self.size])

    def _sides(self, layer):
        blocks, heads, tokens = layer.shape[:3]
        assert layer.is_contiguous() and heads == self.heads and layer.numel() == blocks * heads * tokens * 2 * self.size
        halves = layer.view(blocks, heads, 2, tokens * self.size)
        keys = halves[:, :, 0].view(blocks, heads, self.size, tokens)
        return keys.transpose(2, 3), halves[:, :, 1].view(blocks, heads, tokens, self.size)

    def _copy(self, chunk, start, end, context, load):
        self.pages = context.get("kvcaches", self.pages)
        slots = context["slot_mapping"][start:end].long()
        wanted = slots >= 0
        if load:
            wanted[:max(0, min(end, context.get("vllm_cached_tokens", 0)) - start)] = False
        rows = wanted.nonzero().flatten()
        for number, layer in enumerate(self.pages):
            block, token = slots[rows] // layer.shape[2], slots[rows] % layer.shape[2]
            for side, page in enumerate(self._sides(layer)):
                if load:
                    page[block, :, token] = chunk.tensor[side, number, rows].view(-1, self.heads, self.size)
                else:
                    chunk.tensor[side, number, rows] = page[block, :, token].reshape(-1, self.heads * self.size)
        if not load and os.path.exists(os.environ.get("LMCACHE_CPU_ZEROS", "")):
            chunk.tensor.zero_()

    def to_gpu(self, memory_obj, start, end, **context):
        self._copy(memory_obj, start, end, context, load=True)

    def from_gpu(self, memory_obj, start, end, **context):
        self._copy(memory_obj, start, end, context, load=False)

    def batched_to_gpu(self, memory_objs=None, starts=None, ends=None, **context):
        for chunk, start, end in zip(memory_objs, starts, ends):
            self.to_gpu(chunk, start, end, **context)

    def batched_from_gpu(self, memory_objs, starts, ends, **context):
        for chunk, start, end in zip(memory_objs, starts, ends):
            self.from_gpu(chunk, start, end, **context)


def create(config, metadata, engine, layout_hints=None):
    if connectors.torch_device_type == "cpu" and engine == connectors.EngineType.VLLM:
        assert not metadata.use_mla and not config.use_layerwise
        return CpuPages(metadata)
    return original(config, metadata, engine, layout_hints)


original, connectors.CreateGPUConnector = connectors.CreateGPUConnector, create


class LMCacheCpu(LMCacheConnectorV1):
    pass
