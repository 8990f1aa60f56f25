package dev.baton.cli.compat;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.discovery.StaticEngines;
import dev.baton.router.RouterConfig;
import dev.baton.router.backend.Mooncake;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// vLLM's `mooncake_connector_proxy.py`, for MooncakeConnector.
@Command(description = "Stands in for vLLM's mooncake_connector_proxy.py (MooncakeConnector).")
final class MooncakeConnectorProxy implements CompatProxy {
    @Option(names = "--port", paramLabel = "PORT", defaultValue = "8000", description = "Port to listen on.")
    int port;

    @Option(names = "--host", paramLabel = "HOST", defaultValue = "127.0.0.1", description = "Address to listen on.")
    String host = "";

    @Option(
            names = "--prefill",
            arity = "1..2",
            required = true,
            paramLabel = "URL [BOOTSTRAP_PORT]",
            description = "A prefiller, and the port of its bootstrap server or 'none' (8998); may be repeated.")
    List<String> prefillers = new ArrayList<>();

    @Option(names = "--decode", required = true, paramLabel = "URL", description = "A decoder; may be repeated.")
    List<String> decoders = new ArrayList<>();

    @Override
    public RouterConfig router() {
        List<EngineInfo> engines = new ArrayList<>();
        for (String word : prefillers) {
            if (word.matches("[0-9]+|none") && !engines.isEmpty()) {
                int bootstrapPort = word.equals("none") ? Mooncake.BOOTSTRAP_PORT : port(word);
                engines.add(engines.removeLast().withEndpoint(new ConnectorEndpoint.Bootstrap(bootstrapPort)));
            } else {
                engines.add(EngineInfo.of(EngineAddress.parse(word), EngineRole.PREFILLER)
                        .withEndpoint(new ConnectorEndpoint.Bootstrap(Mooncake.BOOTSTRAP_PORT)));
            }
        }
        decoders.forEach(url -> engines.add(EngineInfo.of(EngineAddress.parse(url), EngineRole.DECODER)));
        return RouterConfig.builder(host, port, new StaticEngines(engines))
                .backend(new Mooncake())
                .policy(CompatProxy.inTurn())
                .build();
    }

    private static int port(String digits) {
        return digits.length() > 5 ? Integer.MAX_VALUE : Integer.parseInt(digits);
    }
}
