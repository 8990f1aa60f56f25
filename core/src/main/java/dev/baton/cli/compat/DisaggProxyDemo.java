package dev.baton.cli.compat;

import dev.baton.discovery.StaticEngines;
import dev.baton.router.RouterConfig;
import dev.baton.router.backend.Nixl;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// vLLM's `disagg_proxy_demo.py`, for NixlConnector.
@Command(description = "Stands in for vLLM's disagg_proxy_demo.py (NixlConnector).")
final class DisaggProxyDemo implements CompatProxy {
    @Option(
            names = {"--model", "-m"},
            required = true,
            paramLabel = "NAME",
            description = "Model name; the engines' own are served.")
    String model = "";

    @Option(
            names = {"--prefill", "-p"},
            arity = "1..*",
            required = true,
            paramLabel = "HOST:PORT",
            description = "Prefillers.")
    List<String> prefillers = new ArrayList<>();

    @Option(
            names = {"--decode", "-d"},
            arity = "1..*",
            required = true,
            paramLabel = "HOST:PORT",
            description = "Decoders.")
    List<String> decoders = new ArrayList<>();

    @Option(names = "--port", paramLabel = "PORT", defaultValue = "8000", description = "Port to listen on.")
    int port;

    @Override
    public Optional<String> adminKeyVariable() {
        return Optional.of("ADMIN_API_KEY");
    }

    @Override
    public RouterConfig router() {
        return RouterConfig.builder("127.0.0.1", port, StaticEngines.parse(prefillers, decoders))
                .backend(new Nixl())
                .policy(CompatProxy.inTurn())
                .build();
    }
}
