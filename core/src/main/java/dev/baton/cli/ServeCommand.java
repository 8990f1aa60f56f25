package dev.baton.cli;

import dev.baton.discovery.DiscoveryException;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineRole;
import dev.baton.discovery.Registrar;
import dev.baton.engine.Engine;
import dev.baton.engine.EngineConfig;
import dev.baton.http.FileProblem;
import dev.baton.launch.ProcessGroup;
import dev.baton.model.CausalLm;
import dev.baton.model.ModelConfig;
import dev.baton.model.ModelLoader;
import dev.baton.model.WarmUp;
import dev.baton.serving.EngineServer;
import dev.baton.serving.EngineServerConfig;
import dev.baton.serving.ServingWarmUp;
import dev.baton.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.concurrent.atomic.AtomicBoolean;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/// `baton serve`: one instance, with vLLM's flags.
@Command(
        name = "serve",
        description = "Serves the OpenAI API over one model.",
        sortOptions = false,
        abbreviateSynopsis = true,
        parameterListHeading = "%n")
final class ServeCommand implements Callable<Integer> {
    private static final Logger LOG = LoggerFactory.getLogger(ServeCommand.class);
    private static final Duration HEALTH_INTERVAL = Duration.ofSeconds(1);

    /// The first request would otherwise pay for compiling the vector loops; see [WarmUp].
    private static final Duration WARM_UP_LIMIT = Duration.ofSeconds(4);

    /// Of the way of a request, where the model computes on a device: see [ServingWarmUp].
    private static final Duration SERVING_WARM_UP = Duration.ofMillis(1200);

    /// An engine that has been unhealthy for so long does not come back; better no process than half a one.
    private static final int UNHEALTHY_CHECKS = 10;

    @Parameters(arity = "0..1", paramLabel = "MODEL", description = "Folder of a Hugging Face model.")
    @Nullable
    Path positionalModel;

    @Option(names = "--model", paramLabel = "DIR", description = "The same, as older scripts and files have it.")
    @Nullable
    Path namedModel;

    @Option(
            names = "--host",
            paramLabel = "HOST",
            defaultValue = "0.0.0.0",
            description = "Address to listen on (default: ${DEFAULT-VALUE}).")
    String host = "";

    @Option(
            names = "--port",
            paramLabel = "PORT",
            defaultValue = "8000",
            description = "Port to listen on, 0 for any free one (default: ${DEFAULT-VALUE}).")
    int port;

    @Spec
    CommandSpec spec = CommandSpec.create();

    @Option(
            names = "--shutdown-timeout",
            defaultValue = "10",
            paramLabel = "SECONDS",
            converter = Seconds.class,
            description = "Time that requests get to end on SIGTERM (default: ${DEFAULT-VALUE}).")
    Duration shutdownTimeout = Duration.ZERO;

    @Mixin
    ConfigOption config = new ConfigOption();

    @Mixin(name = "Frontend")
    AccessOptions access = new AccessOptions();

    @Mixin
    EngineOptions engine = new EngineOptions();

    @Mixin(name = "KV transfer")
    KvTransferOptions transfer = new KvTransferOptions();

    @Mixin(name = "Registration")
    RegistrationOptions registration = new RegistrationOptions();

    @Option(names = ProcessGroup.EXIT_WITH_PARENT, hidden = true, description = "Stop at the end of standard input.")
    boolean exitWithParent;

    @Override
    public Integer call() throws InterruptedException {
        PortFlag.check(spec, port);
        checkRegistration();
        Path model = model();
        engine.log.apply();
        ModelConfig shape = ModelLoader.config(model);
        engine.check(shape, transfer.config());
        List<String> names = engine.model.servedModelNames.isEmpty()
                ? List.of(model.toString())
                : List.copyOf(engine.model.servedModelNames);
        EngineServerConfig served = serverConfig(model, names, shape);
        Optional<String> chatTemplate = engine.frontend.chatTemplate();
        StopSignal stop = StopSignal.install();
        if (exitWithParent) {
            stop.watchParent();
        }
        LOG.info("Loading {}", model);
        AtomicBoolean loading = new AtomicBoolean(true);
        stop.onRaised(() -> endIfLoading(stop, loading), () -> {});
        try (Tokenizer tokenizer = Tokenizer.load(model, chatTemplate)) {
            EngineOptions.LoadedModel loaded = engine.load(model, shape);
            warmUp(loaded.model());
            if (!loading.compareAndSet(true, false)) {
                return stop.await().exitCode();
            }
            try (Engine running = startEngine(names.getFirst(), model, loaded, tokenizer)) {
                if (loaded.model().deviceSteps().isPresent()) {
                    int answers = ServingWarmUp.run(served, running, tokenizer, SERVING_WARM_UP);
                    LOG.info("Warmed up with {} requests in {} ms", answers, SERVING_WARM_UP.toMillis());
                }
                collectGarbage();
                EngineServer server = EngineServer.start(served, running, tokenizer);
                try {
                    LOG.info(
                            "Serving {} on {}://{}:{}{}\n{}",
                            String.join(", ", names),
                            access.scheme(),
                            host,
                            server.port(),
                            access.needsKey() ? ", with an API key" : "",
                            running.describe().indent(2).stripTrailing());
                    EngineAddress listening = new EngineAddress(
                            host, server.port(), served.http().tls().isPresent());
                    try (Registrar _ = registration.start(listening, role(), running::isHealthy)) {
                        return await(stop, running);
                    }
                } finally {
                    server.stop(running.isHealthy() ? shutdownTimeout : Duration.ZERO);
                }
            }
        }
    }

    /// A model on a device gets ready by itself, once it has its KV cache.
    private void warmUp(CausalLm loaded) {
        if (loaded.deviceSteps().isEmpty()) {
            LOG.info(
                    "Warmed up in {} ms",
                    WarmUp.run(loaded, engine.kvCacheDtype(), WARM_UP_LIMIT).toMillis());
        }
    }

    /// What loading left behind, and what it leaves to stay: a collection under load would copy it in a pause.
    private static void collectGarbage() {
        long start = System.nanoTime();
        System.gc();
        LOG.debug("Collected what loading left in {} ms", (System.nanoTime() - start) / 1_000_000);
    }

    private void checkRegistration() {
        try {
            registration.check(host);
        } catch (DiscoveryException e) {
            throw new ParameterException(spec.commandLine(), String.valueOf(e.getMessage()), e);
        }
    }

    /// What a router may ask of this instance; without a connector it does everything itself, as a decoder can.
    private EngineRole role() {
        return transfer.config()
                .map(config -> switch (config.role()) {
                    case KV_PRODUCER -> EngineRole.PREFILLER;
                    case KV_CONSUMER -> EngineRole.DECODER;
                    case KV_BOTH -> EngineRole.BOTH;
                })
                .orElse(EngineRole.DECODER);
    }

    /// Loading cannot be interrupted, but nothing outside the process knows of it yet.
    private static void endIfLoading(StopSignal stop, AtomicBoolean loading) {
        if (loading.compareAndSet(true, false)) {
            StopSignal.Cause cause = stop.cause().orElseThrow();
            LOG.info("Stopping ({}) while loading", cause);
            System.exit(cause.exitCode());
        }
    }

    /// Starts the engine, which owns the model from then on; closes the model if it does not start.
    private Engine startEngine(String name, Path model, EngineOptions.LoadedModel sized, Tokenizer tokenizer) {
        CausalLm loaded = sized.model();
        try {
            EngineConfig config = engine.engineConfig(
                    name,
                    loaded.config(),
                    eosTokenIds(loaded.config(), tokenizer),
                    transfer.config(),
                    Map.of("tokenizer_digest", sha256(model.resolve("tokenizer.json"))),
                    sized.kvBlocks());
            return Engine.start(config, loaded);
        } catch (IllegalArgumentException e) {
            loaded.close();
            throw new CliException(FlagNames.in("The engine cannot be set up so: " + e.getMessage() + ".", spec), e);
        } catch (RuntimeException | Error e) {
            loaded.close();
            throw e;
        }
    }

    /// The tokenizer's end-of-sequence token, which ends outputs also where the model names others, as in vLLM.
    private static List<Integer> eosTokenIds(ModelConfig shape, Tokenizer tokenizer) {
        return tokenizer.eosTokenId().stream()
                .filter(id -> id < shape.vocabSize())
                .boxed()
                .toList();
    }

    private Path model() {
        Path model = positionalModel == null ? namedModel : positionalModel;
        if (model == null) {
            throw new ParameterException(
                    spec.commandLine(), "Name a model: the folder of a Hugging Face model, as MODEL.");
        }
        ModelFolder.check(model, "MODEL");
        return model;
    }

    private EngineServerConfig serverConfig(Path model, List<String> names, ModelConfig shape) {
        FrontendOptions frontend = engine.frontend;
        try {
            return EngineServerConfig.builder(access.http(host, port), names.getFirst(), shape.vocabSize())
                    .servedModelNames(names)
                    .modelRoot(model.toString())
                    .version(VersionCommand.version())
                    .defaultSampling(engine.model.defaultSampling(model))
                    .enablePromptTokensDetails(frontend.enablePromptTokensDetails)
                    .enableRequestIdHeaders(frontend.enableRequestIdHeaders)
                    .enableForceIncludeUsage(frontend.enableForceIncludeUsage)
                    .sseKeepAliveInterval(
                            Optional.of(frontend.sseKeepAliveInterval).filter(Duration::isPositive))
                    .responseRole(frontend.responseRole)
                    .enableAutoToolChoice(frontend.enableAutoToolChoice)
                    .toolCallParser(Optional.ofNullable(frontend.toolCallParser))
                    .devMode(frontend.serverDevMode)
                    .maxInFlight(engine.scheduler.maxNumQueuedReqs)
                    .logStats(!engine.runtime.disableLogStats)
                    .logStatsInterval(engine.runtime.logStatsInterval)
                    .tracesEndpoint(engine.log.tracesEndpoint())
                    .build();
        } catch (IllegalArgumentException e) {
            throw new ParameterException(spec.commandLine(), String.valueOf(e.getMessage()), e);
        }
    }

    private int await(StopSignal stop, Engine running) throws InterruptedException {
        int unhealthy = 0;
        while (unhealthy < UNHEALTHY_CHECKS) {
            Optional<StopSignal.Cause> cause = stop.await(HEALTH_INTERVAL);
            if (cause.isPresent()) {
                LOG.info("Stopping ({}); requests get {} s to end", cause.get(), Seconds.text(shutdownTimeout));
                return cause.get().exitCode();
            }
            unhealthy = running.isHealthy() ? 0 : unhealthy + 1;
        }
        LOG.error("The engine makes no progress; this instance ends itself");
        // At once: to close the engine is to wait for the step that hangs, as a process without a port.
        Runtime.getRuntime().halt(Exit.FAILURE);
        return Exit.FAILURE;
    }

    private static String sha256(Path file) {
        try {
            return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file)));
        } catch (IOException e) {
            throw new CliException("%s cannot be read: %s".formatted(file, FileProblem.of(e)), e);
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every JDK has SHA-256", e);
        }
    }
}
