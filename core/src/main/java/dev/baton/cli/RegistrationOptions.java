package dev.baton.cli;

import dev.baton.discovery.ConnectorEndpoint;
import dev.baton.discovery.DiscoveryException;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineInfo;
import dev.baton.discovery.EngineRole;
import dev.baton.discovery.Registrar;
import dev.baton.http.ClientTls;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// Flags about where an instance registers itself.
@Command
final class RegistrationOptions {
    @Option(
            names = "--register",
            arity = "1..*",
            paramLabel = "URL",
            description = "Where this instance registers itself: http:// or https://ROUTER:PORT,"
                    + " zmq://ROUTER:PORT or etcd://HOST:PORT/PREFIX.")
    List<String> register = new ArrayList<>();

    @Option(
            names = "--advertise-host",
            paramLabel = "HOST",
            description = "Host to register (default: --host, or the address that leads to where it registers).")
    @Nullable
    String advertiseHost;

    @Option(
            names = "--register-weight",
            paramLabel = "WEIGHT",
            defaultValue = "1",
            description = "Share of the traffic against others of its role (default: ${DEFAULT-VALUE}).")
    double weight;

    @Option(
            names = "--register-ttl",
            paramLabel = "SECONDS",
            defaultValue = "6",
            converter = Seconds.Positive.class,
            description = "Time that a registration holds; it is renewed three times as often (default:"
                    + " ${DEFAULT-VALUE}).")
    Duration timeToLive = Duration.ZERO;

    @Option(
            names = "--register-key",
            paramLabel = "KEY",
            defaultValue = "",
            description = "The router's admin key. Better by BATON_REGISTER_KEY.")
    String key = "";

    @Option(
            names = "--register-ca-certs",
            paramLabel = "FILE",
            description = "Authorities that vouch for routers at https addresses, PEM (default: those that the JDK"
                    + " trusts).")
    @Nullable
    Path authorities;

    /// Refuses what can never work, before a model is loaded.
    ///
    /// @throws DiscoveryException in one sentence
    void check(String host) {
        register.forEach(Registrar::check);
        if (!register.isEmpty()) {
            config(new EngineAddress(host, 1), EngineRole.BOTH);
        }
    }

    /// Begins to register.
    ///
    /// @param listening where the instance listens
    /// @param isWell whether the instance works
    Registrar start(EngineAddress listening, EngineRole role, BooleanSupplier isWell) {
        if (register.isEmpty()) {
            return Registrar.none();
        }
        return Registrar.start(register, config(listening, role), isWell);
    }

    private Registrar.Config config(EngineAddress listening, EngineRole role) {
        EngineAddress address = advertiseHost == null
                ? listening
                : new EngineAddress(advertiseHost, listening.port(), listening.secure());
        return new Registrar.Config(
                new EngineInfo(address, role, weight, new ConnectorEndpoint.Unnamed()),
                timeToLive,
                key,
                new ClientTls(Optional.ofNullable(authorities), Optional.empty(), Optional.empty()));
    }
}
