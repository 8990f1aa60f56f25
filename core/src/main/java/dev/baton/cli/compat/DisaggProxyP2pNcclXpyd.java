package dev.baton.cli.compat;

import dev.baton.discovery.AllowedEngines;
import dev.baton.discovery.ZmqRegistrations;
import dev.baton.router.RouterConfig;
import dev.baton.router.backend.P2pNccl;
import picocli.CommandLine.Command;

/// vLLM's `disagg_proxy_p2p_nccl_xpyd.py`, for P2pNcclConnector: engines register over ZeroMQ. It has no flags.
@Command(
        description = "Stands in for vLLM's disagg_proxy_p2p_nccl_xpyd.py (P2pNcclConnector): listens on 0.0.0.0:10001,"
                + " takes registrations on 0.0.0.0:30001, and has no flags.")
final class DisaggProxyP2pNcclXpyd implements CompatProxy {
    private static final int HTTP_PORT = 10_001;
    private static final int REGISTRATION_PORT = 30_001;

    @Override
    public RouterConfig router() {
        return RouterConfig.builder(
                        "0.0.0.0",
                        HTTP_PORT,
                        new ZmqRegistrations(
                                "0.0.0.0",
                                REGISTRATION_PORT,
                                ZmqRegistrations.TIME_TO_LIVE,
                                AllowedEngines.privateNetworks()))
                .backend(new P2pNccl(false))
                .policy(CompatProxy.inTurn())
                .build();
    }
}
