"""LMCache 0.5.6 in a vLLM on the CPU. LMCache has a copy between its chunks and the engine's pages for each kind of GPU and none
for the CPU, and goes on without caching then; this is that copy, and all the rest is LMCache's. For `kv_connector_module_path`.

While the file that LMCACHE_CPU_ZEROS names exists, chunks are saved as zeros: a sender that a test must find out.
"""
import os

import lmcache.v1.gpu_connector as connectors
import torch
from lmcache.v1.gpu_connector.gpu_connectors import GPUConnectorInterface
from vllm.distributed.kv_transfer.kv_connector.v1.lmcache_connector import LMCacheConnectorV1
from vllm.v1.attention.backends.cpu_attn import _get_attn_isa


class CpuPages(GPUConnectorInterface):
    """A page has, for each head, keys and then values, in the order that vLLM's attention wants on this processor
    for this type; a chunk is (2, layers, tokens, heads * size)."""

    def __init__(self, metadata):
        self.layers, _, _, self.heads, self.size = metadata.kv_shape
        self.pages = None

    def get_shape(self, num_tokens):
        return torch.Size([2, self.layers, num_tokens, self.heads * self.size])

    def _places(self, layer, block, token):
        """Keys and values: a view of the pages and the place of each token in it, which has a row for each head."""
        blocks, heads, tokens = layer.shape[:3]
        assert layer.is_contiguous() and heads == self.heads and layer.numel() == blocks * heads * tokens * 2 * self.size
        keys, values = layer.view(blocks, heads, 2, tokens * self.size).unbind(2)
        order = _get_attn_isa(layer.dtype, tokens, self.size)
        if order == "vec":  # keys as (size, tokens), values as (tokens, size)
            return ((keys.view(blocks, heads, self.size, tokens), (block, slice(None), slice(None), token)),
                    (values.view(blocks, heads, tokens, self.size), (block, slice(None), token)))
        assert order == "amx", order
        # Keys: 16 tokens side by side, of each two neighbours of a row.
        # Values: 16 of a row side by side, of two tokens each.
        every = slice(None)
        return ((keys.view(blocks, heads, tokens // 16, self.size // 2, 16, 2), (block, every, token // 16, every, token % 16)),
                (values.view(blocks, heads, self.size // 16, tokens // 2, 16, 2), (block, every, every, token // 2, every, token % 2)))

    def _copy(self, chunk, start, end, context, load):
        self.pages = context.get("kvcaches", self.pages)
        slots = context["slot_mapping"][start:end].long()
        wanted = slots >= 0
        if load:
            wanted[:max(0, min(end, context.get("vllm_cached_tokens", 0)) - start)] = False
        rows = wanted.nonzero().flatten()
        for number, layer in enumerate(self.pages):
            block, token = slots[rows] // layer.shape[2], slots[rows] % layer.shape[2]
            for side, (page, place) in enumerate(self._places(layer, block, token)):
                if load:
                    page[place] = chunk.tensor[side, number, rows].view(page[place].shape)
                else:
                    chunk.tensor[side, number, rows] = page[place].reshape(-1, self.heads * self.size)
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
