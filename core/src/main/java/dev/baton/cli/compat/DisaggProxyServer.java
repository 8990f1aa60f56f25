package dev.baton.cli.compat;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.discovery.StaticEngines;
import dev.baton.router.RouterConfig;
import dev.baton.router.backend.Announcements;
import dev.baton.router.backend.Backend;
import dev.baton.router.backend.LmCacheMp;
import dev.baton.router.backend.LmCachePd;
import dev.baton.router.backend.ProxyNotifications;
import dev.baton.router.backend.SharedStore;
import dev.baton.router.backend.StoreTelemetry;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// LMCache's `disagg_proxy_server.py`, of which there are three under one name. Which one is meant is seen from the
/// flags: one about receivers or notifications means the PD backend, `--telemetry-port` the MP connector, none of
/// them a store that both engines share.
@Command(
        description = "Stands in for LMCache's disagg_proxy_server.py: with a flag about receivers or notifications the"
                + " one for LMCache's PD backend, with --telemetry-port the one for LMCacheMPConnector, else the one"
                + " for a store that all engines share.")
final class DisaggProxyServer implements CompatProxy {
    private static final int INIT_PORT = 8300;
    private static final int ALLOC_PORT = 8400;
    private static final int NOTIFICATION_PORT = 8500;

    @Option(names = "--port", paramLabel = "PORT", defaultValue = "8000", description = "Port to listen on.")
    int port;

    @Option(names = "--host", paramLabel = "HOST", defaultValue = "localhost", description = "Address to listen on.")
    String host = "";

    @Option(
            names = {"--prefiller-host", "--prefiller-hosts"},
            split = ",",
            paramLabel = "HOST",
            defaultValue = "localhost",
            description = "Hosts of the prefillers, separated by commas.")
    List<String> prefillerHosts = new ArrayList<>();

    @Option(
            names = {"--prefiller-port", "--prefiller-ports"},
            split = ",",
            paramLabel = "PORT",
            defaultValue = "8100",
            description = "Their ports.")
    List<Integer> prefillerPorts = new ArrayList<>();

    @Option(
            names = "--num-prefillers",
            paramLabel = "N",
            defaultValue = "1",
            description = "Prefillers on ports in a row, for one host and one port.")
    int numPrefillers;

    @Option(
            names = {"--decoder-host", "--decoder-hosts"},
            split = ",",
            paramLabel = "HOST",
            defaultValue = "localhost",
            description = "Hosts of the decoders, separated by commas.")
    List<String> decoderHosts = new ArrayList<>();

    @Option(
            names = {"--decoder-port", "--decoder-ports"},
            split = ",",
            paramLabel = "PORT",
            defaultValue = "8200",
            description = "Their ports.")
    List<Integer> decoderPorts = new ArrayList<>();

    @Option(
            names = "--num-decoders",
            paramLabel = "N",
            defaultValue = "1",
            description = "Decoders on ports in a row, for one host and one port.")
    int numDecoders;

    @Option(
            names = {"--decoder-init-port", "--nixl-init-channel-port"},
            split = ",",
            paramLabel = "PORT",
            description = "pd_peer_init_port of the decoders, one for each rank (PD backend; default: 8300).")
    List<Integer> initPorts = new ArrayList<>();

    @Option(
            names = {"--decoder-alloc-port", "--nixl-alloc-channel-port"},
            split = ",",
            paramLabel = "PORT",
            description = "pd_peer_alloc_port of the decoders, one for each rank (PD backend; default: 8400).")
    List<Integer> allocPorts = new ArrayList<>();

    @Option(
            names = {"--proxy-host", "--nixl-proxy-host"},
            paramLabel = "HOST",
            description = "pd_proxy_host: address for the prefillers' notifications (PD backend; default: localhost).")
    @Nullable
    String proxyHost;

    @Option(
            names = {"--proxy-port", "--nixl-proxy-port"},
            paramLabel = "PORT",
            description = "pd_proxy_port: port for the prefillers' notifications (PD backend; default: 8500).")
    @Nullable
    Integer proxyPort;

    @Option(
            names = "--telemetry-port",
            paramLabel = "PORT",
            description = "Port for the prefillers' telemetry (MP connector).")
    @Nullable
    Integer telemetryPort;

    @Override
    public RouterConfig router() {
        boolean pd = !initPorts.isEmpty() || !allocPorts.isEmpty() || proxyHost != null || proxyPort != null;
        if (pd && telemetryPort != null) {
            throw new IllegalArgumentException(
                    "--telemetry-port belongs to another disagg_proxy_server.py than the flags about receivers");
        }
        List<EngineInfo> engines = new ArrayList<>();
        HostsAndPorts.spread("prefiller", prefillerHosts, prefillerPorts, numPrefillers)
                .forEach(address -> engines.add(EngineInfo.of(address, EngineRole.PREFILLER)));
        List<EngineAddress> decoders = HostsAndPorts.spread("decoder", decoderHosts, decoderPorts, numDecoders);
        boolean inARow = decoderHosts.size() == 1 && decoderPorts.size() == 1;
        for (int i = 0; i < decoders.size(); i++) {
            EngineInfo decoder = EngineInfo.of(decoders.get(i), EngineRole.DECODER);
            engines.add(pd ? decoder.withEndpoint(receiver(decoder, inARow ? i : 0)) : decoder);
        }
        RouterConfig.Builder router =
                RouterConfig.builder(host, port, new StaticEngines(engines)).policy(CompatProxy.inTurn());
        return router.backend(backend(pd)).announcements(announcements(pd)).build();
    }

    /// @param offset added to each port
    private ConnectorEndpoint receiver(EngineInfo decoder, int offset) {
        List<Integer> init = initPorts.isEmpty() ? List.of(INIT_PORT) : initPorts;
        List<Integer> alloc = allocPorts.isEmpty() ? List.of(ALLOC_PORT) : allocPorts;
        return new ConnectorEndpoint.LmCacheReceiver(
                decoder.address().host(),
                init.stream().map(each -> each + offset).toList(),
                alloc.stream().map(each -> each + offset).toList());
    }

    private Backend backend(boolean pd) {
        if (pd) {
            return new LmCachePd();
        }
        return telemetryPort == null ? new SharedStore() : new LmCacheMp();
    }

    private Announcements announcements(boolean pd) {
        if (pd) {
            return ProxyNotifications.listen(
                    proxyHost == null ? "localhost" : proxyHost, proxyPort == null ? NOTIFICATION_PORT : proxyPort);
        }
        return telemetryPort == null ? Announcements.NONE : StoreTelemetry.listen(host, telemetryPort);
    }
}
