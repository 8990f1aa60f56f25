"""vLLM 0.32's MooncakeConnector where there is no accelerator: it asks torch for the index of one, which fails; it is told 0.
Nothing else differs from the class itself. For `kv_connector_module_path`."""
import torch
from vllm.distributed.kv_transfer.kv_connector.v1.mooncake.mooncake_connector import MooncakeConnector

if not torch.accelerator.is_available():
    torch.accelerator.current_device_index = lambda: 0


class MooncakeCpu(MooncakeConnector):
    pass
