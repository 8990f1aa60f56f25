package dev.baton.cli;

import dev.baton.discovery.AllowedEngines;
import dev.baton.discovery.CompositeSource;
import dev.baton.discovery.DiscoveryException;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.EngineSource;
import dev.baton.discovery.EtcdEngines;
import dev.baton.discovery.FileEngines;
import dev.baton.discovery.StaticEngines;
import dev.baton.discovery.ZmqRegistrations;
import dev.baton.http.ApiKeys;
import dev.baton.router.FleetConfig;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/// Flags about how a router finds its engines.
@Command
final class DiscoveryOptions {
    @Option(
            names = {"--prefiller", "--prefillers"},
            arity = "1..*",
            paramLabel = "HOST:PORT",
            description = "Prefillers, separated by blanks or commas; without any, decoders do everything. Also"
                    + " HOST:PORT,weight=2 and so on.")
    List<String> prefillers = new ArrayList<>();

    @Option(
            names = {"--decoder", "--decoders"},
            arity = "1..*",
            paramLabel = "HOST:PORT",
            description = "Decoders, likewise. Needed unless engines are found in another way.")
    List<String> decoders = new ArrayList<>();

    @Option(
            names = "--engines-file",
            paramLabel = "FILE",
            description = "YAML or JSON list of engines, read again when it changes.")
    @Nullable
    Path enginesFile;

    @Option(
            names = "--discovery",
            arity = "1..*",
            paramLabel = "URL",
            description = "Where engines register: zmq://HOST:PORT to listen there as vLLM's P2pNccl proxies do,"
                    + " etcd://HOST:PORT/PREFIX to follow etcd.")
    List<String> discovery = new ArrayList<>();

    @Option(
            names = "--registration",
            description = "Engines register by POST /instances/add; with an admin key that is so in any case.")
    boolean registration;

    @Option(
            names = "--admin-api-key",
            arity = "1..*",
            paramLabel = "KEY",
            description = "Keys of which one must be shown to see or change the fleet. Better by"
                    + " BATON_ADMIN_API_KEY or ADMIN_API_KEY.")
    List<String> adminApiKeys = new ArrayList<>();

    @Option(
            names = "--allowed-engines",
            arity = "1..*",
            paramLabel = "NETWORK",
            description = "Networks and names of engines that may register by HTTP or ZeroMQ: 10.1.0.0/16,"
                    + " *.example.org, private, or * for all (default: private).")
    List<String> allowedEngines = new ArrayList<>();

    /// Everything that these flags name, as one source.
    ///
    /// @throws DiscoveryException if a value is none that a flag can have, or no engine could ever be found
    EngineSource engines() {
        List<EngineSource> sources = new ArrayList<>();
        if (enginesFile != null) {
            sources.add(new FileEngines(enginesFile));
        }
        discovery.forEach(url -> sources.add(source(url)));
        boolean others = !sources.isEmpty() || registration || !adminApiKeys.isEmpty();
        if (!others) {
            return StaticEngines.parse(prefillers, decoders);
        }
        StaticEngines listed = StaticEngines.parsePart(prefillers, decoders);
        if (!listed.engines().isEmpty()) {
            sources.addFirst(listed);
        }
        return new CompositeSource(sources);
    }

    private EngineSource source(String url) {
        if (url.startsWith("etcd://")) {
            return new EtcdEngines(url);
        }
        int scheme = url.indexOf("://");
        if (scheme < 0 || !(url.startsWith("zmq:") || url.startsWith("tcp:"))) {
            throw new DiscoveryException(
                    "--discovery " + url + " is neither zmq://HOST:PORT nor etcd://HOST:PORT/PREFIX");
        }
        EngineAddress address = EngineAddress.parse(url.substring(scheme + 3));
        return new ZmqRegistrations(address.host(), address.port(), ZmqRegistrations.TIME_TO_LIVE, allowed());
    }

    /// @throws DiscoveryException if a value is none that a flag can have
    /// @throws IllegalArgumentException if a key is empty: a variable that was meant to hold one and is not set
    ///     must not open the fleet
    FleetConfig fleet() {
        if (adminApiKeys.stream().anyMatch(String::isBlank)) {
            throw new IllegalArgumentException("--admin-api-key has an empty key: give one, or leave the flag out.");
        }
        return new FleetConfig(ApiKeys.of(adminApiKeys), registration, allowed());
    }

    private AllowedEngines allowed() {
        return allowedEngines.isEmpty() ? AllowedEngines.privateNetworks() : AllowedEngines.parse(allowedEngines);
    }
}
