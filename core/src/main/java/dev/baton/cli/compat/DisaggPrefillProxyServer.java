package dev.baton.cli.compat;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.discovery.StaticEngines;
import dev.baton.router.RouterConfig;
import dev.baton.router.RouterDeadlines;
import dev.baton.router.backend.P2pNccl;
import java.time.Duration;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// vLLM's `disagg_prefill_proxy_server.py` of its benchmarks, for one pair with P2pNcclConnector.
@Command(description = "Stands in for vLLM's disagg_prefill_proxy_server.py (P2pNcclConnector, one pair).")
final class DisaggPrefillProxyServer implements CompatProxy {
    @Option(
            names = "--timeout",
            paramLabel = "SECONDS",
            defaultValue = "21600",
            description = "Longest time for a prefill, and for an answer.")
    double timeoutSeconds;

    @Option(names = "--port", paramLabel = "PORT", defaultValue = "8000", description = "Port to listen on.")
    int port;

    @Option(
            names = "--prefill-url",
            paramLabel = "URL",
            defaultValue = "http://localhost:8100",
            description = "The prefiller.")
    String prefiller = "";

    @Option(
            names = "--decode-url",
            paramLabel = "URL",
            defaultValue = "http://localhost:8200",
            description = "The decoder.")
    String decoder = "";

    @Option(
            names = "--kv-host",
            paramLabel = "HOST",
            defaultValue = "localhost",
            description = "Host of both engines' connectors.")
    String kvHost = "";

    @Option(
            names = "--prefill-kv-port",
            paramLabel = "PORT",
            defaultValue = "14579",
            description = "kv_port of the prefiller.")
    int prefillKvPort;

    @Option(
            names = "--decode-kv-port",
            paramLabel = "PORT",
            defaultValue = "14580",
            description = "kv_port of the decoder.")
    int decodeKvPort;

    @Override
    public RouterConfig router() {
        if (!(timeoutSeconds >= 1) || timeoutSeconds > 1e9) {
            throw new IllegalArgumentException("--timeout must be 1 to 1e9 seconds, got " + timeoutSeconds);
        }
        Duration timeout = Duration.ofMillis(Math.round(timeoutSeconds * 1e3));
        return RouterConfig.builder(
                        "127.0.0.1",
                        port,
                        new StaticEngines(List.of(
                                engine(prefiller, EngineRole.PREFILLER, prefillKvPort),
                                engine(decoder, EngineRole.DECODER, decodeKvPort))))
                .backend(new P2pNccl(false))
                .deadlines(RouterDeadlines.defaults().withPrefill(timeout).withAnswer(timeout))
                .policy(CompatProxy.inTurn())
                .build();
    }

    private EngineInfo engine(String url, EngineRole role, int kvPort) {
        return EngineInfo.of(EngineAddress.parse(url), role)
                .withEndpoint(new ConnectorEndpoint.P2pNccl(new EngineAddress(kvHost, kvPort).toString()));
    }
}
