package dev.baton.transfer.mooncakestore;

import dev.baton.transfer.TransferException;
import dev.baton.transfer.mooncake.SmallJson;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.Optional;

/// How this process gets at a Mooncake cluster.
///
/// Immutable, thread-safe.
///
/// @param host how other nodes of the cluster reach this one
/// @param home where Mooncake is; looked for if it is not given
/// @param metricsPort where the master answers HTTP, for reads without Mooncake's library
/// @param startTimeout how long Mooncake's client may take to join the cluster, the start of a helper process
///     included
/// @param operationTimeout how long the cluster may take for one call
/// @param trustedNetwork whether Mooncake's library may listen beyond this machine
public record MooncakeAccess(
        Cluster cluster,
        String host,
        Optional<Path> home,
        int metricsPort,
        Duration startTimeout,
        Duration operationTimeout,
        boolean trustedNetwork) {

    /// The variable that names a file with a cluster's keys.
    public static final String CONFIG_PATH = "MOONCAKE_CONFIG_PATH";
    /// The setting of [#home].
    public static final String HOME = "mooncake_home";
    /// The setting of [#metricsPort].
    public static final String METRICS_PORT = "master_metrics_port";
    /// [#metricsPort] unless it is set.
    public static final int DEFAULT_METRICS_PORT = 9003;

    /// [#startTimeout] unless it is set.
    public static final Duration DEFAULT_START_TIMEOUT = Duration.ofSeconds(20);

    private static final String HOME_VARIABLE = "MOONCAKE_HOME";

    /// Where Mooncake is: what was set, else the variable's.
    public static Optional<Path> home(Optional<String> set, Map<String, String> environment) {
        return set.or(() -> Optional.ofNullable(environment.get(HOME_VARIABLE)).filter(home -> !home.isBlank()))
                .map(Path::of);
    }

    /// What the file holds that the environment names; empty if it names none.
    ///
    /// @throws TransferException if it cannot be read, or is no JSON object
    public static Optional<Map<String, Object>> file(Map<String, String> environment) {
        String name = environment.getOrDefault(CONFIG_PATH, "");
        if (name.isEmpty()) {
            return Optional.empty();
        }
        try {
            return Optional.of(
                    SmallJson.map(name, Files.readAllBytes(Path.of(name))).map());
        } catch (ProtocolException e) {
            throw new TransferException("%s: %s".formatted(CONFIG_PATH, e.getMessage()), e);
        } catch (IOException e) {
            throw new TransferException("%s: %s cannot be read: %s".formatted(CONFIG_PATH, name, e), e);
        }
    }
}
