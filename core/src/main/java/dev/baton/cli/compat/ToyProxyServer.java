package dev.baton.cli.compat;

import dev.baton.discovery.StaticEngines;
import dev.baton.router.RouterConfig;
import dev.baton.router.backend.Nixl;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// vLLM's `toy_proxy_server.py`, for NixlConnector.
@Command(description = "Stands in for vLLM's toy_proxy_server.py (NixlConnector).")
final class ToyProxyServer implements CompatProxy {
    @Option(names = "--port", paramLabel = "PORT", defaultValue = "8000", description = "Port to listen on.")
    int port;

    @Option(names = "--host", paramLabel = "HOST", defaultValue = "127.0.0.1", description = "Address to listen on.")
    String host = "";

    @Option(
            names = {"--prefiller-hosts", "--prefiller-host"},
            arity = "1..*",
            paramLabel = "HOST",
            defaultValue = "localhost",
            description = "Hosts of the prefillers.")
    List<String> prefillerHosts = new ArrayList<>();

    @Option(
            names = {"--prefiller-ports", "--prefiller-port"},
            arity = "1..*",
            paramLabel = "PORT",
            defaultValue = "8100",
            description = "Their ports, one for each host.")
    List<Integer> prefillerPorts = new ArrayList<>();

    @Option(
            names = {"--decoder-hosts", "--decoder-host"},
            arity = "1..*",
            paramLabel = "HOST",
            defaultValue = "localhost",
            description = "Hosts of the decoders.")
    List<String> decoderHosts = new ArrayList<>();

    @Option(
            names = {"--decoder-ports", "--decoder-port"},
            arity = "1..*",
            paramLabel = "PORT",
            defaultValue = "8200",
            description = "Their ports, one for each host.")
    List<Integer> decoderPorts = new ArrayList<>();

    @Override
    public RouterConfig router() {
        return RouterConfig.builder(
                        host,
                        port,
                        new StaticEngines(
                                HostsAndPorts.paired("prefiller", prefillerHosts, prefillerPorts),
                                HostsAndPorts.paired("decoder", decoderHosts, decoderPorts)))
                .backend(new Nixl())
                .policy(CompatProxy.inTurn())
                .build();
    }
}
