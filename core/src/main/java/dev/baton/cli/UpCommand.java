package dev.baton.cli;

import dev.baton.launch.JavaCommand;
import dev.baton.launch.LaunchException;
import dev.baton.launch.ProcessGroup;
import dev.baton.launch.Topology;
import dev.baton.model.ModelLoader;
import dev.baton.router.backend.BackendKind;
import dev.baton.tensor.TensorException;
import dev.baton.tensor.cuda.owned.Context;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Model.OptionSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;

/// `baton up`: a whole deployment on this machine, until Ctrl+C.
@Command(
        name = "up",
        description = "Starts prefillers, decoders and a router on this machine and stops them on Ctrl+C.",
        sortOptions = false,
        abbreviateSynopsis = true)
final class UpCommand implements Callable<Integer> {
    private static final String ACCESS = "Frontend";
    private static final String ROUTING = "Routing";

    /// A role that does not end within its own deadline is killed a moment later.
    private static final Duration KILL_AFTER = Duration.ofSeconds(2);

    @Option(
            names = "--prefillers",
            defaultValue = "2",
            paramLabel = "X",
            description = "Number of prefillers (default: ${DEFAULT-VALUE}).")
    int prefillers;

    @Option(
            names = "--decoders",
            defaultValue = "1",
            paramLabel = "Y",
            description = "Number of decoders (default: ${DEFAULT-VALUE}).")
    int decoders;

    @Option(
            names = "--model",
            paramLabel = "DIR",
            description = "Folder of a Hugging Face model (default: models/baton-tiny beside ./baton).")
    @Nullable
    Path model;

    @Option(
            names = "--host",
            paramLabel = "HOST",
            defaultValue = "127.0.0.1",
            description = "Address that the router listens on (default: ${DEFAULT-VALUE}).")
    String host = "";

    @Option(
            names = "--port",
            paramLabel = "PORT",
            defaultValue = "9000",
            description = "The router's port (default: ${DEFAULT-VALUE}).")
    int port;

    @Option(
            names = "--prefiller-port",
            paramLabel = "PORT",
            defaultValue = "8100",
            description = "Port of the first prefiller; the others follow (default: ${DEFAULT-VALUE}).")
    int prefillerPort;

    @Option(
            names = "--decoder-port",
            paramLabel = "PORT",
            defaultValue = "8200",
            description = "Port of the first decoder; the others follow (default: ${DEFAULT-VALUE}).")
    int decoderPort;

    @Option(
            names = "--log-dir",
            defaultValue = ".",
            paramLabel = "DIR",
            description = "Where prefiller1.log, decoder1.log, router.log, ... are written (default: here).")
    Path logDirectory = Path.of(".");

    @Option(
            names = "--ready-timeout",
            defaultValue = "120",
            paramLabel = "SECONDS",
            converter = Seconds.Positive.class,
            description = "Time until every role must be ready (default: ${DEFAULT-VALUE}).")
    Duration readyTimeout = Duration.ZERO;

    @Option(
            names = "--shutdown-timeout",
            defaultValue = "5",
            paramLabel = "SECONDS",
            converter = Seconds.class,
            description = "Time that open streams get to end on Ctrl+C (default: ${DEFAULT-VALUE}).")
    Duration shutdownTimeout = Duration.ZERO;

    @Mixin
    ConfigOption file = new ConfigOption();

    @Mixin(name = ACCESS)
    AccessOptions access = new AccessOptions();

    @Spec
    CommandSpec spec = CommandSpec.create();

    @Mixin(name = ROUTING)
    RoutingOptions routing = new RoutingOptions();

    @Mixin
    EngineOptions engine = new EngineOptions();

    @Override
    public Integer call() throws InterruptedException {
        Path modelDirectory = model == null ? ModelFolder.embedded() : model;
        ModelFolder.check(modelDirectory, "--model DIR");
        engine.check(ModelLoader.config(modelDirectory), Optional.empty());
        checkFrontend(modelDirectory);
        String shutdown = "--shutdown-timeout=" + Seconds.text(shutdownTimeout);
        List<String> engineFlags = new ArrayList<>(EngineOptions.given(spec));
        if (engine.model.servedModelNames.isEmpty()) {
            engineFlags.add("--served-model-name=" + ModelFolder.nameOf(modelDirectory));
        }
        engineFlags.add(shutdown);
        List<String> routerFlags = new ArrayList<>(routerFlags());
        routerFlags.add(shutdown);
        return run(topology(modelDirectory.toAbsolutePath().normalize(), engineFlags, routerFlags));
    }

    private List<String> gpus() {
        try {
            return engine.isOnGpu() ? Context.visible(System.getenv()) : List.of();
        } catch (TensorException e) {
            throw new LaunchException("--device cuda: " + e.getMessage(), e);
        }
    }

    private OptionalDouble memoryShare() {
        boolean isGiven = spec.commandLine().getParseResult().hasMatchedOption(CacheOptions.GPU_MEMORY_UTILIZATION);
        return isGiven ? OptionalDouble.empty() : OptionalDouble.of(engine.cache.gpuMemoryUtilization);
    }

    /// What the roles would find wrong only in their own processes.
    private void checkFrontend(Path modelDirectory) {
        try {
            access.http(host, port);
            routing.policy();
            engine.model.defaultSampling(modelDirectory);
        } catch (IllegalArgumentException e) {
            throw new ParameterException(spec.commandLine(), FlagNames.in(String.valueOf(e.getMessage()), spec), e);
        }
        if (access.scheme().equals("https")) {
            throw new ParameterException(
                    spec.commandLine(),
                    "up speaks plain text to the roles that it starts: give --ssl-certfile to baton router or baton"
                            + " serve.");
        }
        if (access.apiKeys.stream().anyMatch(key -> key.chars().anyMatch(Character::isWhitespace))) {
            throw new ParameterException(
                    spec.commandLine(),
                    "--api-key has a key with a blank in it, which the roles would take for several keys.");
        }
        engine.frontend.chatTemplate();
    }

    /// Who may ask is the router's to check as well as the engines'; the keys travel by [#keys()].
    private List<String> routerFlags() {
        List<OptionSpec> shared = new ArrayList<>();
        for (CommandSpec mixin : List.of(
                Objects.requireNonNull(spec.mixins().get(ACCESS)),
                Objects.requireNonNull(spec.mixins().get(ROUTING)),
                EngineOptions.group(spec, EngineOptions.LOGGING))) {
            mixin.options().stream()
                    .filter(option -> !option.longestName().equals(AccessOptions.API_KEY))
                    .forEach(shared::add);
        }
        List<String> flags = new ArrayList<>();
        flags.add("--backend=" + BackendKind.BATON);
        if (engine.runtime.disableLogStats) {
            flags.add(RuntimeOptions.LOG_STATS_INTERVAL + "=0");
        } else {
            shared.add(Objects.requireNonNull(spec.optionsMap().get(RuntimeOptions.LOG_STATS_INTERVAL)));
        }
        flags.addAll(EngineOptions.given(shared, spec.commandLine().getParseResult()));
        return flags;
    }

    /// The keys as the roles' environment, because everybody on this machine can read command lines. A file has
    /// only the keys' hashes, so that the router needs one more to show to the engines.
    private Map<String, String> keys() {
        if (!access.needsKey()) {
            return Map.of();
        }
        List<String> keys = access.apiKeys.isEmpty() ? List.of(UUID.randomUUID().toString()) : access.apiKeys;
        return Map.of("BATON_API_KEY", String.join(" ", keys), "BATON_ENGINE_API_KEY", keys.getFirst());
    }

    private Topology topology(Path modelDirectory, List<String> engineFlags, List<String> routerFlags) {
        try {
            return new Topology(
                    prefillers,
                    decoders,
                    host,
                    port,
                    prefillerPort,
                    decoderPort,
                    modelDirectory,
                    gpus(),
                    memoryShare(),
                    engineFlags,
                    routerFlags);
        } catch (LaunchException e) {
            throw new ParameterException(spec.commandLine(), String.valueOf(e.getMessage()), e);
        }
    }

    private int run(Topology topology) throws InterruptedException {
        PrintWriter out = spec.commandLine().getOut();
        StatusBoard board = new StatusBoard(out, Terminals.isTerminal());
        StopSignal stop = StopSignal.install();
        try (ProcessGroup group = ProcessGroup.start(
                topology.roles(),
                JavaCommand.current(Main.class).withVariables(keys()),
                logDirectory,
                shutdownTimeout.plus(KILL_AFTER),
                board)) {
            stop.onRaised(group::close, group::kill);
            try {
                group.awaitReady(readyTimeout);
            } catch (LaunchException e) {
                if (stop.cause().isPresent()) {
                    return stop.cause().get().exitCode();
                }
                throw e;
            }
            board.started();
            printInvitation(out, topology);
            group.awaitEnd();
            Optional<StopSignal.Cause> cause = stop.cause();
            if (cause.isEmpty() || group.hasDeaths()) {
                return Exit.FAILURE;
            }
            return cause.get().exitCode();
        }
    }

    private void printInvitation(PrintWriter out, Topology topology) {
        String name = engine.model.servedModelNames.isEmpty()
                ? ModelFolder.nameOf(topology.model())
                : engine.model.servedModelNames.getFirst();
        String key = !access.needsKey() ? "" : " -H \"Authorization: Bearer $OPENAI_API_KEY\"";
        String address =
                "http://" + (host.equals("0.0.0.0") || host.equals("127.0.0.1") ? "localhost" : host) + ":" + port;
        out.printf(
                """

                Ready: %d prefiller%s, %d decoder%s, router at %s
                Logs:  %s

                Try:
                  curl %s/v1/completions -H 'Content-Type: application/json'%s \\
                    -d '{"model": "%s", "prompt": "Once upon a time", "max_tokens": 40, "temperature": 0}'

                  curl -N %s/v1/chat/completions -H 'Content-Type: application/json'%s \\
                    -d '{"model": "%s", "messages": [{"role": "user", "content": "Hello"}], "stream": true}'

                or, in another terminal: ./baton chat%s

                Ctrl+C stops everything.
                """,
                topology.prefillers(),
                topology.prefillers() == 1 ? "" : "s",
                topology.decoders(),
                topology.decoders() == 1 ? "" : "s",
                address,
                topology.roles().stream().map(role -> role.name() + ".log").collect(Collectors.joining(", ")) + " in "
                        + logDirectory.toAbsolutePath().normalize(),
                address,
                key,
                name,
                address,
                key,
                name,
                port == 9000 ? "" : " --base-url " + address);
        out.flush();
    }
}
