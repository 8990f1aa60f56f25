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
    record Bootstrap(int port) implements ConnectorEndpoint {
        /// @throws DiscoveryException if the port is out of range
        public Bootstrap {
            requirePort(port, "of the bootstrap server");
        }
    }

    /// A prefiller with vLLM's MooncakeConnector, whose bootstrap server has said which engines it has.
    ///
    /// @param bootstrapAddress `http://host:port`
    /// @param ranks at least one
    record Mooncake(String bootstrapAddress, List<Rank> ranks) implements ConnectorEndpoint {
        public Mooncake {
            ranks = List.copyOf(ranks);
        }

        /// One engine of a data-parallel prefiller.
        ///
        /// @param dataParallelRank from 0
        /// @param engineId another after each start
        public record Rank(int dataParallelRank, String engineId) {}
    }

    /// A prefiller with vLLM's NixlPushConnector.
    ///
    /// @param engineId its `engine_id`
    /// @param host of its side channel
    /// @param port of its side channel
    /// @param tpSize tensor-parallel size
    /// @param ppSize pipeline-parallel size
    record NixlSideChannel(String engineId, String host, int port, int tpSize, int ppSize)
            implements ConnectorEndpoint {
        /// @throws DiscoveryException if a number is out of range, or a text empty
        public NixlSideChannel {
            requirePort(port, "of the NIXL side channel");
            if (engineId.isEmpty() || host.isEmpty() || tpSize < 1 || ppSize < 1) {
                throw new DiscoveryException(
                        "a NIXL side channel needs an engine id, a host, and parallel sizes of at " + "least 1");
            }
        }
    }

    /// A decoder with LMCache's PD backend.
    ///
    /// @param host where prefillers reach it
    /// @param initPorts one for each tensor-parallel rank
    /// @param allocPorts one for each tensor-parallel rank
    record LmCacheReceiver(String host, List<Integer> initPorts, List<Integer> allocPorts)
            implements ConnectorEndpoint {
        /// @throws DiscoveryException if a port is out of range, or a rank has not both
        public LmCacheReceiver {
            initPorts = List.copyOf(initPorts);
            allocPorts = List.copyOf(allocPorts);
            initPorts.forEach(port -> requirePort(port, "of LMCache's receiver"));
            allocPorts.forEach(port -> requirePort(port, "of LMCache's receiver"));
            if (host.isEmpty() || initPorts.isEmpty() || initPorts.size() != allocPorts.size()) {
                throw new DiscoveryException("LMCache's receiver needs a host, and an init and an alloc port a rank");
            }
        }
    }

    private static void requirePort(int port, String whose) {
        if (port < 1 || port > 65_535) {
            throw new DiscoveryException("port " + port + " " + whose + " is not between 1 and 65535");
        }
    }
}
