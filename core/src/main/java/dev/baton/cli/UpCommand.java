package dev.baton.cli;

import dev.baton.launch.JavaCommand;
import dev.baton.launch.LaunchException;
import dev.baton.launch.ProcessGroup;
import dev.baton.launch.Topology;
import dev.baton.model.ModelLoader;
import java.io.PrintWriter;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ParseResult;
import picocli.CommandLine.Spec;

/// `baton up`: a whole deployment on this machine, until Ctrl+C.
@Command(
        name = "up",
        description = "Starts prefillers, decoders and a router on this machine and stops them on Ctrl+C.",
        sortOptions = false)
final class UpCommand implements Callable<Integer> {
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
            defaultValue = "127.0.0.1",
            description = "Address that the router listens on (default: ${DEFAULT-VALUE}).")
    String host = "";

    @Option(names = "--port", defaultValue = "9000", description = "The router's port (default: ${DEFAULT-VALUE}).")
    int port;

    @Option(
            names = "--prefiller-port",
            defaultValue = "8100",
            description = "Port of the first prefiller; the others follow (default: ${DEFAULT-VALUE}).")
    int prefillerPort;

    @Option(
            names = "--decoder-port",
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
            description = "Time until every role must be ready (default: ${DEFAULT-VALUE}).")
    int readyTimeoutSeconds;

    @Option(
            names = "--shutdown-timeout",
            defaultValue = "5",
            paramLabel = "SECONDS",
            description = "Time that open streams get to end on Ctrl+C (default: ${DEFAULT-VALUE}).")
    int shutdownTimeoutSeconds;

    @Spec
    CommandSpec spec = CommandSpec.create();

    @Mixin
    EngineOptions engine = new EngineOptions();

    @Override
    public Integer call() throws InterruptedException {
        Path modelDirectory = model == null ? ModelFolder.embedded() : model;
        ModelFolder.check(modelDirectory, "--model DIR");
        engine.check(ModelLoader.config(modelDirectory), Optional.empty());
        String shutdown = Integer.toString(shutdownTimeoutSeconds);
        ParseResult parsed = spec.commandLine().getParseResult();
        List<String> engineFlags = new ArrayList<>(EngineOptions.given(spec, parsed));
        if (engine.servedModelName == null) {
            engineFlags.addAll(List.of("--served-model-name", ModelFolder.nameOf(modelDirectory)));
        }
        engineFlags.addAll(List.of("--shutdown-timeout", shutdown));
        return run(topology(
                modelDirectory.toAbsolutePath().normalize(), engineFlags, List.of("--shutdown-timeout", shutdown)));
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
        // A role that does not end within its own deadline is killed a moment later.
        Duration stopDeadline = Duration.ofSeconds(shutdownTimeoutSeconds + 2L);
        try (ProcessGroup group = ProcessGroup.start(
                topology.roles(), JavaCommand.current(Main.class), logDirectory, stopDeadline, board)) {
            stop.onRaised(group::close, group::kill);
            try {
                group.awaitReady(Duration.ofSeconds(readyTimeoutSeconds));
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
        String name = engine.servedModelName == null ? ModelFolder.nameOf(topology.model()) : engine.servedModelName;
        String address =
                "http://" + (host.equals("0.0.0.0") || host.equals("127.0.0.1") ? "localhost" : host) + ":" + port;
        out.printf(
                """

                Ready: %d prefiller%s, %d decoder%s, router at %s
                Logs:  %s

                Try:
                  curl %s/v1/completions -H 'Content-Type: application/json' \\
                    -d '{"model": "%s", "prompt": "Once upon a time", "max_tokens": 40, "temperature": 0}'

                  curl -N %s/v1/chat/completions -H 'Content-Type: application/json' \\
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
                name,
                address,
                name,
                port == 9000 ? "" : " --base-url " + address);
        out.flush();
    }
}
