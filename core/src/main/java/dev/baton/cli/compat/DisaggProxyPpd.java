package dev.baton.cli.compat;

import dev.baton.discovery.AllowedEngines;
import dev.baton.discovery.ZmqRegistrations;
import dev.baton.router.RouterConfig;
import dev.baton.router.backend.P2pNccl;
import dev.baton.router.policy.Mode;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// The PPD project's `disagg_proxy_ppd.py`: P2pNcclConnector, patched so that decoders serve later turns alone.
@Command(description = "Stands in for the PPD project's disagg_proxy_ppd.py (patched P2pNcclConnector).")
final class DisaggProxyPpd implements CompatProxy {
    /// The modes that this proxy has at its start.
    enum StartMode {
        PD,
        PPD;

        @Override
        public String toString() {
            return name().toLowerCase(java.util.Locale.ROOT);
        }
    }

    @Option(
            names = "--mode",
            paramLabel = "MODE",
            defaultValue = "pd",
            description = "${COMPLETION-CANDIDATES}: whether a conversation's later turns go straight to a decoder.")
    StartMode mode = StartMode.PD;

    @Option(names = "--http-port", paramLabel = "PORT", defaultValue = "10001", description = "Port to listen on.")
    int httpPort;

    @Option(names = "--zmq-port", paramLabel = "PORT", defaultValue = "30001", description = "Port for registrations.")
    int zmqPort;

    @Option(names = "--host", paramLabel = "HOST", defaultValue = "0.0.0.0", description = "Address to listen on.")
    String host = "";

    @Override
    public RouterConfig router() {
        return RouterConfig.builder(
                        host,
                        httpPort,
                        new ZmqRegistrations(
                                host, zmqPort, ZmqRegistrations.TIME_TO_LIVE, AllowedEngines.privateNetworks()))
                .backend(new P2pNccl(true))
                .policy(CompatProxy.inTurn().toBuilder()
                        .mode(mode == StartMode.PPD ? Mode.PPD : Mode.PD)
                        .build())
                .build();
    }
}
