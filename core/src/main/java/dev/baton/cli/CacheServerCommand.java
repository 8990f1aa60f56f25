package dev.baton.cli;

import dev.baton.transfer.Exposure;
import dev.baton.transfer.lmcache.LmCacheServer;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/// `baton cache-server`: keeps chunks of keys and values for engines with `LMCacheConnectorV1`.
@Command(
        name = "cache-server",
        description = "Keeps chunks of keys and values in memory for engines whose remote_url is lm://HOST:PORT,"
                + " Baton's and vLLM's with LMCache.",
        sortOptions = false,
        abbreviateSynopsis = true)
final class CacheServerCommand implements Callable<Integer> {
    private static final Logger LOG = LoggerFactory.getLogger(CacheServerCommand.class);

    private static final Duration REPORT_INTERVAL = Duration.ofMinutes(10);

    @Option(
            names = "--host",
            paramLabel = "HOST",
            defaultValue = "127.0.0.1",
            description = "Address to listen on (default: ${DEFAULT-VALUE}). The protocol asks for no key: another"
                    + " address than this machine's own needs --trusted-network.")
    String host = "";

    @Option(
            names = "--trusted-network",
            description = "Listen where other machines reach the port: all of them can read and replace chunks.")
    boolean trustedNetwork;

    @Option(
            names = "--port",
            paramLabel = "PORT",
            defaultValue = "65432",
            description = "Port to listen on, 0 for any free one (default: ${DEFAULT-VALUE}).")
    int port;

    @Option(
            names = "--max-bytes",
            paramLabel = "BYTES",
            defaultValue = "4GiB",
            converter = HumanReadableInt.class,
            description = "Memory for chunks, for example 512MiB; the one not used for longest goes first (default:"
                    + " ${DEFAULT-VALUE}).")
    long maxBytes;

    @Option(
            names = "--max-connections",
            paramLabel = "N",
            defaultValue = "256",
            description = "Most clients at a time (default: ${DEFAULT-VALUE}).")
    int maxConnections;

    @Spec
    CommandSpec spec = CommandSpec.create();

    @Override
    public Integer call() throws InterruptedException {
        PortFlag.check(spec, port);
        Exposure.check("the cache server", host, trustedNetwork, "give --trusted-network");
        StopSignal stop = StopSignal.install();
        try (LmCacheServer server = LmCacheServer.start(host, port, maxBytes, maxConnections)) {
            LOG.info("Cache server on lm://{}:{}, up to {} MiB", host, server.port(), maxBytes >> 20);
            Optional<StopSignal.Cause> cause = stop.await(REPORT_INTERVAL);
            while (cause.isEmpty()) {
                LOG.info("{}", server.summary());
                cause = stop.await(REPORT_INTERVAL);
            }
            LOG.info("Stopping ({}): {}", cause.get(), server.summary());
            return cause.get().exitCode();
        }
    }
}
