package dev.baton.cli.compat;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.discovery.StaticEngines;
import dev.baton.router.RouterConfig;
import dev.baton.router.backend.NixlPush;
import java.util.ArrayList;
import java.util.List;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// vLLM's `disagg_proxy_pushconnector_demo.py`, for NixlPushConnector.
@Command(description = "Stands in for vLLM's disagg_proxy_pushconnector_demo.py (NixlPushConnector).")
final class DisaggProxyPushconnectorDemo implements CompatProxy {
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
            description = "Prefillers; all have the side channel of the flags below.")
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

    @Option(
            names = "--prefill-engine-id",
            required = true,
            paramLabel = "ID",
            description = "engine_id of the prefiller's --kv-transfer-config.")
    String engineId = "";

    @Option(
            names = "--prefill-kv-host",
            required = true,
            paramLabel = "HOST",
            description = "Host of the prefiller's NIXL side channel.")
    String kvHost = "";

    @Option(
            names = "--prefill-side-channel-port",
            paramLabel = "PORT",
            defaultValue = "5600",
            description = "Port of the prefiller's NIXL side channel.")
    int sideChannelPort;

    @Option(
            names = "--prefill-tp-size",
            paramLabel = "N",
            defaultValue = "1",
            description = "Tensor-parallel size of the prefiller.")
    int tpSize;

    @Option(
            names = "--prefill-pp-size",
            paramLabel = "N",
            defaultValue = "1",
            description = "Pipeline-parallel size of the prefiller.")
    int ppSize;

    @Override
    public RouterConfig router() {
        ConnectorEndpoint channel =
                new ConnectorEndpoint.NixlSideChannel(engineId, kvHost, sideChannelPort, tpSize, ppSize);
        List<EngineInfo> engines = new ArrayList<>();
        for (String address : prefillers) {
            engines.add(EngineInfo.of(EngineAddress.parse(address), EngineRole.PREFILLER)
                    .withEndpoint(channel));
        }
        for (String address : decoders) {
            engines.add(EngineInfo.of(EngineAddress.parse(address), EngineRole.DECODER));
        }
        return RouterConfig.builder("127.0.0.1", port, new StaticEngines(engines))
                .backend(new NixlPush())
                .policy(CompatProxy.inTurn())
                .build();
    }
}
