package dev.baton.cli;

import dev.baton.cli.compat.CompatProxy;
import dev.baton.discovery.AllowedEngines;
import dev.baton.discovery.DiscoveryException;
import dev.baton.http.ApiKeys;
import dev.baton.router.FleetConfig;
import dev.baton.router.RouterConfig;
import dev.baton.router.RouterException;
import java.time.Duration;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.ParameterException;

/// `baton router --compat NAME`: a router with another project's flags, and none of its own but `--help`.
final class CompatRouter implements Callable<Integer> {
    static final String FLAG = "--compat";

    /// What the proxies' servers leave open streams on a SIGTERM.
    private static final Duration SHUTDOWN_TIME = Duration.ofSeconds(10);

    private final CompatProxy proxy;
    private final CommandSpec spec;
    private final Map<String, String> environment;

    private CompatRouter(CompatProxy proxy, CommandSpec spec, Map<String, String> environment) {
        this.proxy = proxy;
        this.spec = spec;
        this.environment = environment;
    }

    /// Whether a command line begins with `router --compat`.
    static boolean isMeant(String... arguments) {
        return arguments.length > 1
                && arguments[0].equals("router")
                && (arguments[1].equals(FLAG) || arguments[1].startsWith(FLAG + "="));
    }

    /// The words after the proxy's name.
    ///
    /// @param arguments of which [#isMeant] holds
    static List<String> flags(String... arguments) {
        int begin = arguments[1].equals(FLAG) ? Math.min(3, arguments.length) : 2;
        return Arrays.asList(arguments).subList(begin, arguments.length);
    }

    /// The command that a command line names.
    ///
    /// @param program whose errors are written
    /// @param arguments of which [#isMeant] holds
    /// @throws ParameterException if there is no such proxy
    static CommandLine command(CommandLine program, Map<String, String> environment, String... arguments) {
        CommandLine router = program.getSubcommands().get("router");
        String file = arguments[1].equals(FLAG)
                ? (arguments.length > 2 ? arguments[2] : "")
                : arguments[1].substring(FLAG.length() + 1);
        CompatProxy.Name name =
                CompatProxy.Name.of(file).orElseThrow(() -> new ParameterException(router, unknown(file)));
        CompatProxy proxy = name.proxy();
        CommandSpec spec = CommandSpec.forAnnotatedObject(proxy)
                .name("baton router " + FLAG + " " + name)
                .mixinStandardHelpOptions(true);
        spec.usageMessage().showDefaultValues(true).abbreviateSynopsis(true).sortOptions(false);
        CommandLine command = new CommandLine(spec)
                .setCaseInsensitiveEnumValuesAllowed(true)
                .setUnmatchedOptionsAllowedAsOptionParameters(false);
        command.setUsageHelpAutoWidth(true).setErr(program.getErr()).setOut(program.getOut());
        CompatRouter run = new CompatRouter(proxy, spec, environment);
        command.setExecutionStrategy(parsed -> {
            Integer helped = CommandLine.executeHelpRequest(parsed);
            if (helped != null) {
                return helped;
            }
            try {
                return run.call();
            } catch (ParameterException e) {
                throw e;
            } catch (Exception e) {
                throw new CommandLine.ExecutionException(parsed.commandSpec().commandLine(), "it failed", e);
            }
        });
        return command;
    }

    /// An unknown flag must not become one of the values of a flag that takes several.
    ///
    /// @throws ParameterException naming the nearest flag
    static void requireKnown(CommandLine command, List<String> words) {
        CommandSpec spec = command.getCommandSpec();
        for (String word : words) {
            boolean isFlag = word.matches("--?[a-zA-Z].*");
            String flag = word.startsWith("--") ? word.split("=", 2)[0] : word.substring(0, Math.min(2, word.length()));
            if (isFlag && !spec.optionsMap().containsKey(flag)) {
                throw new ParameterException(command, GivenFlags.unknown(spec, word));
            }
        }
    }

    private static String unknown(String file) {
        List<String> known = CompatProxy.Name.all();
        if (file.isEmpty() || file.startsWith("-")) {
            return FLAG + " needs a name: " + String.join(", ", known) + ".";
        }
        return "There is no proxy " + file + " to stand in for"
                + NearestName.of(file, known)
                        .map(near -> "; did you mean " + near + "?")
                        .orElse("; known are " + String.join(", ", known) + ".");
    }

    private Optional<String> variable(String name) {
        return Optional.ofNullable(environment.get(name)).map(String::strip).filter(text -> !text.isEmpty());
    }

    @Override
    public Integer call() throws InterruptedException {
        RouterConfig config;
        try {
            RouterConfig.Builder router =
                    proxy.router().toBuilder().engineKey(variable(CompatProxy.ENGINE_KEY_VARIABLE));
            proxy.adminKeyVariable()
                    .flatMap(this::variable)
                    .ifPresent(key -> router.fleet(
                            new FleetConfig(ApiKeys.of(List.of(key)), false, AllowedEngines.privateNetworks())));
            config = router.build();
        } catch (DiscoveryException | RouterException | IllegalArgumentException e) {
            throw new ParameterException(spec.commandLine(), String.valueOf(e.getMessage()), e);
        }
        return RouterCommand.serve(config, SHUTDOWN_TIME, StopSignal.install());
    }
}
