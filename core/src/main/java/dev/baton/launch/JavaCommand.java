package dev.baton.launch;

import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/// How a role's process is started: the java binary, its flags and the jar of this very process. Immutable.
///
/// @param java the java binary
/// @param userFlags further JVM flags, after Baton's own, so that they win
/// @param main what follows the flags: `-jar baton.jar`, or a class path and a class
/// @param variables environment variables for the process, for what should not be read in a command line
public record JavaCommand(Path java, List<String> userFlags, List<String> main, Map<String, String> variables) {
    /// Variables with such names give this process's own flags, which are not its children's.
    private static final String OWN_VARIABLES = "BATON_";

    /// The command that this process was started by, with the JVM flags of the environment's `BATON_JAVA_OPTS`.
    ///
    /// @param mainClass the class to start if this process runs from a class folder instead of a jar
    public static JavaCommand current(Class<?> mainClass) {
        Path java = Path.of(System.getProperty("java.home"), "bin", "java");
        Path code;
        try {
            code = Path.of(mainClass
                    .getProtectionDomain()
                    .getCodeSource()
                    .getLocation()
                    .toURI());
        } catch (URISyntaxException e) {
            throw new LaunchException("Baton does not find its own jar: " + e.getMessage(), e);
        }
        List<String> main = code.toString().endsWith(".jar")
                ? List.of("-jar", code.toString())
                : List.of("-cp", System.getProperty("java.class.path"), mainClass.getName());
        String options = System.getenv().getOrDefault("BATON_JAVA_OPTS", "").strip();
        return new JavaCommand(java, options.isEmpty() ? List.of() : List.of(options.split("\\s+")), main, Map.of());
    }

    /// The same with other variables.
    public JavaCommand withVariables(Map<String, String> changed) {
        return new JavaCommand(java, userFlags, main, Map.copyOf(changed));
    }

    /// Changes the environment that a process would inherit.
    void prepare(Map<String, String> environment) {
        environment.keySet().removeIf(name -> name.startsWith(OWN_VARIABLES));
        environment.putAll(variables);
    }

    /// The whole command line of a sub-command.
    public List<String> commandLine(Role.Kind kind, List<String> arguments) {
        List<String> command = new ArrayList<>();
        command.add(java.toString());
        command.addAll(flags(kind));
        aotCache(arguments).ifPresent(cache -> command.add("-XX:AOTCache=" + cache));
        command.addAll(userFlags);
        command.addAll(main);
        command.addAll(arguments);
        return command;
    }

    /// The file of loaded classes and profiles that `scripts/train-aot` made for a sub-command of this jar, if
    /// it is newer than the jar. The script `baton` looks for the same one.
    private Optional<Path> aotCache(List<String> arguments) {
        if (!main.getFirst().equals("-jar") || arguments.isEmpty()) {
            return Optional.empty();
        }
        Path jar = Path.of(main.get(1));
        Path cache = jar.resolveSibling("baton-" + arguments.getFirst() + ".aot");
        try {
            boolean newer = Files.getLastModifiedTime(cache).compareTo(Files.getLastModifiedTime(jar)) > 0;
            return newer ? Optional.of(cache) : Optional.empty();
        } catch (IOException e) {
            return Optional.empty(); // most have none
        }
    }

    /// Baton's own JVM flags. The script `baton` gives the same ones to a role that is started by hand.
    public static List<String> flags(Role.Kind kind) {
        List<String> flags =
                new ArrayList<>(List.of("-XX:+ExitOnOutOfMemoryError", "--enable-native-access=ALL-UNNAMED"));
        switch (kind) {
            case PREFILLER, DECODER -> flags.addAll(List.of("-Xmx1g", "--add-modules", "jdk.incubator.vector"));
            // Next to nothing outlives a request: a small young generation, collected in a millisecond or two
            // by the thread at hand, costs less time and memory than a collector that works beside it.
            // Its code is flat and wide: less inlining and no unrolled loops halve what the compiler takes from
            // the first minute's requests, and cost them about a tenth later.
            case ROUTER ->
                flags.addAll(List.of(
                        "-Xmx512m",
                        "-Xms64m",
                        "-Xmn32m",
                        "-XX:+UseSerialGC",
                        "-XX:MetaspaceSize=64m",
                        "-XX:MaxInlineLevel=9",
                        "-XX:FreqInlineSize=150",
                        "-XX:InlineSmallCode=1200",
                        "-XX:LoopUnrollLimit=0"));
        }
        return flags;
    }
}
