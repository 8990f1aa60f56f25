package dev.baton.discovery;

import java.util.List;

/// Where an engine's KV connector listens, by the kind of connector. Immutable and thread-safe.
public sealed interface ConnectorEndpoint {
    /// The engines find each other, or say where they are in their answers.
    record Unnamed() implements ConnectorEndpoint {}

    /// vLLM's P2pNcclConnector.
    ///
    /// @param zmqAddress `ip:kv_port`
    record P2pNccl(String zmqAddress) implements ConnectorEndpoint {}

    /// A prefiller with a bootstrap server: SGLang's, or that of vLLM's MooncakeConnector.
    ///
    /// @param port of the bootstrap server on the engine's host
    record Bootstrap(int port) implements ConnectorEndpoint {}

    /// A prefiller with vLLM's NixlPushConnector.
    ///
    /// @param engineId its `engine_id`
    /// @param host of its side channel
    /// @param port of its side channel
    /// @param tpSize tensor-parallel size
    /// @param ppSize pipeline-parallel size
    record NixlSideChannel(String engineId, String host, int port, int tpSize, int ppSize)
            implements ConnectorEndpoint {}

    /// A decoder with LMCache's PD backend.
    ///
    /// @param host where prefillers reach it
    /// @param initPorts one for each tensor-parallel rank
    /// @param allocPorts one for each tensor-parallel rank
    record LmCacheReceiver(String host, List<Integer> initPorts, List<Integer> allocPorts)
            implements ConnectorEndpoint {
        public LmCacheReceiver {
            initPorts = List.copyOf(initPorts);
            allocPorts = List.copyOf(allocPorts);
        }
    }
}
