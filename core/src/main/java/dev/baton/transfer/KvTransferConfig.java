package dev.baton.transfer;

import java.util.Map;

/// How an instance exchanges KV blocks: vLLM's `--kv-transfer-config`, field by field.
///
/// @param connector name of the connector (`kv_connector`), for example `TcpConnector`
/// @param engineId identity of this instance, new at every start (`engine_id`)
/// @param ip address that peers reach this instance under (`kv_ip`)
/// @param port port of the side channel, 0 for any free one (`kv_port`)
/// @param loadFailurePolicy `kv_load_failure_policy`; `recompute` unless told otherwise
/// @param extra connector-specific settings (`kv_connector_extra_config`)
public record KvTransferConfig(
        String connector,
        KvRole role,
        String engineId,
        String ip,
        int port,
        KvLoadFailurePolicy loadFailurePolicy,
        Map<String, Object> extra) {}
