package dev.baton.cli;

import dev.baton.discovery.DiscoveryException;
import dev.baton.http.ClientTls;
import dev.baton.http.HttpException;
import dev.baton.launch.ProcessGroup;
import dev.baton.router.Router;
import dev.baton.router.RouterConfig;
import dev.baton.router.RouterDeadlines;
import dev.baton.router.RouterException;
import dev.baton.router.backend.Announcements;
import dev.baton.router.backend.BackendKind;
import dev.baton.router.backend.ProxyNotifications;
import dev.baton.router.backend.StoreTelemetry;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Optional;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/// `baton router`: the OpenAI front of prefillers and decoders that run already.
@Command(
        name = "router",
        description = "Serves the OpenAI API over prefillers and decoders that run already.",
        sortOptions = false,
        abbreviateSynopsis = true)
final class RouterCommand implements Callable<Integer> {
    private static final Logger LOG = LoggerFactory.getLogger(RouterCommand.class);

    @Option(
            names = CompatRouter.FLAG,
            paramLabel = "NAME",
            description = "As the first flag: stand in for another project's proxy, and take its flags instead of"
                    + " these: disagg_proxy_server, disagg_proxy_p2p_nccl_xpyd, disagg_proxy_ppd, toy_proxy_server,"
                    + " disagg_proxy_demo, disagg_proxy_pushconnector_demo, disagg_prefill_proxy_server or"
                    + " mooncake_connector_proxy (docs/compat.md).")
    @Nullable
    String compat;

    @Option(
            names = "--host",
            paramLabel = "HOST",
            defaultValue = "0.0.0.0",
            description = "Address to listen on (default: ${DEFAULT-VALUE}).")
    String host = "";

    @Option(
            names = "--port",
            paramLabel = "PORT",
            defaultValue = "9000",
            description = "Port to listen on, 0 for any free one (default: ${DEFAULT-VALUE}).")
    int port;

    @Option(
            names = "--backend",
            paramLabel = "NAME",
            defaultValue = "auto",
            description = "How engines hand over: ${COMPLETION-CANDIDATES} (default: ${DEFAULT-VALUE}: as baton"
                    + " between two Batons, else as nixl).")
    BackendKind backend = BackendKind.AUTO;

    @Option(
            names = "--pd-proxy-port",
            defaultValue = "7500",
            paramLabel = "PORT",
            description = "Port for the notifications of LMCache's prefillers, their pd_proxy_port, with"
                    + " --backend lmcache-pd (default: ${DEFAULT-VALUE}).")
    int pdProxyPort;

    @Option(
            names = "--telemetry-port",
            defaultValue = "5768",
            paramLabel = "PORT",
            description = "Port for the telemetry of LMCache's prefillers, with --backend lmcache-mp (default:"
                    + " ${DEFAULT-VALUE}).")
    int telemetryPort;

    @Mixin(name = "Routing")
    RoutingOptions routing = new RoutingOptions();

    @Option(
            names = "--prefill-timeout",
            defaultValue = "300",
            paramLabel = "SECONDS",
            converter = Seconds.Positive.class,
            description = "Time for a prefill (default: ${DEFAULT-VALUE}).")
    Duration prefillTimeout = Duration.ZERO;

    @Option(
            names = "--answer-timeout",
            defaultValue = "1800",
            paramLabel = "SECONDS",
            converter = Seconds.Positive.class,
            description = "Time for an answer that is not streamed (default: ${DEFAULT-VALUE}).")
    Duration answerTimeout = Duration.ZERO;

    @Option(
            names = "--gap-timeout",
            defaultValue = "120",
            paramLabel = "SECONDS",
            converter = Seconds.Positive.class,
            description = "Longest silence within a stream (default: ${DEFAULT-VALUE}).")
    Duration gapTimeout = Duration.ZERO;

    @Option(
            names = "--max-in-flight",
            defaultValue = "10000",
            paramLabel = "N",
            description = "Most requests at a time; further ones are refused with 503 (default: ${DEFAULT-VALUE}).")
    int maxInFlight;

    @Option(
            names = "--exact-continuation",
            description =
                    "Lets a stream whose decoder fails go on at another one only where the tokens so far are known;"
                            + " without it also from its text.")
    boolean exactContinuation;

    @Option(
            names = "--max-queue-wait",
            defaultValue = "30",
            paramLabel = "SECONDS",
            converter = Seconds.class,
            description = "Expected wait for a first token from which on requests are refused with 503, each API key"
                    + " its part of them; 0: never (default: ${DEFAULT-VALUE}).")
    Duration maxQueueWait = Duration.ZERO;

    @Option(
            names = "--engine-api-key",
            paramLabel = "KEY",
            description = "Key that engines are shown (default: what the client shows; none with --api-key or"
                    + " --api-key-file). Better by BATON_ENGINE_API_KEY.")
    @Nullable
    String engineApiKey;

    @Option(
            names = "--engine-ca-certs",
            paramLabel = "FILE",
            description = "Certificates of the authorities that vouch for engines of https:// addresses, PEM (default:"
                    + " those of the JDK).")
    @Nullable
    Path engineCaCerts;

    @Option(
            names = "--engine-certfile",
            paramLabel = "FILE",
            description = "Certificate that the router shows to such engines, PEM.")
    @Nullable
    Path engineCertfile;

    @Option(names = "--engine-keyfile", paramLabel = "FILE", description = "Its private key, PEM.")
    @Nullable
    Path engineKeyfile;

    @Option(
            names = "--event-loops",
            paramLabel = "N",
            description = "Threads that carry requests (default: one a core).")
    int eventLoops = Runtime.getRuntime().availableProcessors();

    @Option(names = "--disable-access-log", description = "Do not log each request.")
    boolean disableAccessLog;

    @Option(
            names = RuntimeOptions.LOG_STATS_INTERVAL,
            defaultValue = "5",
            paramLabel = "SECONDS",
            converter = Seconds.class,
            description = "Time between two reports of the times to the first token, for each engine, in the log while"
                    + " there is traffic; 0: none (default: ${DEFAULT-VALUE}).")
    Duration logStatsInterval = Duration.ZERO;

    @Option(
            names = "--shutdown-timeout",
            defaultValue = "10",
            paramLabel = "SECONDS",
            converter = Seconds.class,
            description = "Time that open streams get to end on SIGTERM (default: ${DEFAULT-VALUE}).")
    Duration shutdownTimeout = Duration.ZERO;

    @Mixin
    ConfigOption file = new ConfigOption();

    @Mixin(name = "Fleet")
    DiscoveryOptions discovery = new DiscoveryOptions();

    @Mixin(name = "Frontend")
    AccessOptions access = new AccessOptions();

    @Mixin(name = "Health")
    HealthOptions health = new HealthOptions();

    @Mixin(name = "Logging")
    LogOptions log = new LogOptions();

    @Option(names = ProcessGroup.EXIT_WITH_PARENT, hidden = true, description = "Stop at the end of standard input.")
    boolean exitWithParent;

    @Spec
    CommandSpec spec = CommandSpec.create();

    @Override
    public Integer call() throws InterruptedException {
        log.apply();
        RouterConfig config = config();
        StopSignal stop = StopSignal.install();
        if (exitWithParent) {
            stop.watchParent();
        }
        return serve(config, shutdownTimeout, stop);
    }

    /// Runs a router until it is to end.
    ///
    /// @return the exit status
    static int serve(RouterConfig config, Duration shutdownTimeout, StopSignal stop) throws InterruptedException {
        Router router = Router.start(config);
        try {
            LOG.info(
                    "Router on {}://{}:{}{} over {}",
                    config.server().tls().isPresent() ? "https" : "http",
                    config.server().host(),
                    router.port(),
                    config.server().apiKeys().areRequired() ? ", with an API key," : "",
                    config.engines().description());
            StopSignal.Cause cause = stop.await();
            LOG.info(
                    "Stopping ({}); {} requests get {} s to end",
                    cause,
                    router.numInFlight(),
                    Seconds.text(shutdownTimeout));
            return cause.exitCode();
        } finally {
            router.stop(shutdownTimeout);
        }
    }

    /// @throws ParameterException if a flag's value is none that a router can have
    private RouterConfig config() {
        if (compat != null) {
            throw new ParameterException(
                    spec.commandLine(),
                    CompatRouter.FLAG + " has to be the first flag: baton router --compat " + compat);
        }
        PortFlag.check(spec, port);
        RouterDeadlines deadlines = RouterDeadlines.defaults()
                .withPrefill(prefillTimeout)
                .withAnswer(answerTimeout)
                .withGap(gapTimeout)
                .withProbe(health.probeTimeout);
        try {
            return RouterConfig.builder(host, port, discovery.engines())
                    .fleet(discovery.fleet())
                    .server(access.http(host, port))
                    .engineKey(engineKey())
                    .backend(backend.backend())
                    .announcements(announcements())
                    .policy(routing.policy())
                    .kvTransfer(routing.kvTransfer)
                    .deadlines(deadlines)
                    .maxInFlight(maxInFlight)
                    .maxQueueWait(maxQueueWait)
                    .exactContinuation(exactContinuation)
                    .eventLoops(eventLoops)
                    .tracesEndpoint(log.tracesEndpoint())
                    .engineTls(new ClientTls(
                            Optional.ofNullable(engineCaCerts),
                            Optional.ofNullable(engineCertfile),
                            Optional.ofNullable(engineKeyfile)))
                    .probeInterval(health.probeInterval)
                    .health(health.health())
                    .statsInterval(logStatsInterval)
                    .accessLog(!disableAccessLog)
                    .warmUp(routing.warmUp)
                    .build();
        } catch (DiscoveryException | HttpException | RouterException | IllegalArgumentException e) {
            throw new ParameterException(spec.commandLine(), FlagNames.in(String.valueOf(e.getMessage()), spec), e);
        }
    }

    private Optional<String> engineKey() {
        if (engineApiKey != null && engineApiKey.isBlank()) {
            throw new IllegalArgumentException("--engine-api-key is empty: give a key, or leave the flag out.");
        }
        return Optional.ofNullable(engineApiKey);
    }

    private Announcements announcements() {
        return switch (backend) {
            case LMCACHE_PD -> ProxyNotifications.listen(host, pdProxyPort);
            case LMCACHE_MP -> StoreTelemetry.listen(host, telemetryPort);
            default -> Announcements.NONE;
        };
    }
}
