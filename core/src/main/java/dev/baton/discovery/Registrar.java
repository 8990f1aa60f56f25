package dev.baton.discovery;

import dev.baton.http.ClientTls;
import java.io.IOException;
import java.net.DatagramSocket;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.time.Duration;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Registers an engine where routers look, and keeps it registered: again and again, also after a router or
/// etcd was away, until it is closed or the engine is no longer well. Closing it deregisters the engine.
///
/// One virtual thread for each place, so that one that does not answer holds up no other. Thread-safe.
public final class Registrar implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(Registrar.class);

    /// vLLM sends every 3 s; a router that was started anew should not have to wait for so long.
    private static final Duration ZMQ_INTERVAL = Duration.ofSeconds(1);

    private static final Duration LONGEST_GOODBYE = Duration.ofSeconds(3);

    private final List<Place> places;

    private Registrar(List<Place> places) {
        this.places = places;
    }

    /// How an engine registers.
    ///
    /// @param engine what it says of itself; a host such as `0.0.0.0` stands for this machine's address that
    ///     leads to where it registers
    /// @param timeToLive how long a registration by HTTP or in etcd holds without being renewed; at least 1 s
    /// @param adminKey of the routers; empty for none
    /// @param tls how routers at `https` addresses are known
    public record Config(EngineInfo engine, Duration timeToLive, String adminKey, ClientTls tls) {
        /// With the authorities that the JDK trusts.
        public Config(EngineInfo engine, Duration timeToLive, String adminKey) {
            this(engine, timeToLive, adminKey, ClientTls.defaults());
        }

        /// @throws DiscoveryException if the time is under 1 s
        public Config {
            if (timeToLive.toMillis() < 1000) {
                throw new DiscoveryException("a registration must hold for at least 1 s");
            }
        }

        /// The key is a secret.
        @Override
        public String toString() {
            return "Config[" + engine + ", " + timeToLive + "]";
        }
    }

    /// Begins to register.
    ///
    /// @param targets each `http://host:port`, also `https`, `zmq://host:port` or `etcd://host:port/prefix`
    /// @param config for all of them
    /// @param isWell whether the engine works: while it does not, it does not register again
    /// @throws DiscoveryException naming the target that is none
    public static Registrar start(List<String> targets, Config config, BooleanSupplier isWell) {
        targets.forEach(Registrar::check);
        return new Registrar(targets.stream()
                .map(target -> new Place(target, config, isWell))
                .toList());
    }

    /// Registers nowhere.
    public static Registrar none() {
        return new Registrar(List.of());
    }

    /// Refuses a target that can never work.
    ///
    /// @throws DiscoveryException naming it
    public static void check(String target) {
        hostAndPort(target);
    }

    /// The engine with an address that can be reached.
    ///
    /// @throws DiscoveryException if there is no route to the target
    private static EngineInfo reachable(EngineInfo engine, String target) {
        EngineAddress address = engine.address();
        return isAnyAddress(address.host())
                ? new EngineInfo(
                        new EngineAddress(localHostTowards(target), address.port(), address.secure()),
                        engine.role(),
                        engine.weight(),
                        engine.endpoint())
                : engine;
    }

    private static boolean isAnyAddress(String host) {
        try {
            return InetAddress.ofLiteral(host).isAnyLocalAddress();
        } catch (IllegalArgumentException e) {
            return false; // a name
        }
    }

    private static String localHostTowards(String target) {
        EngineAddress towards = hostAndPort(target);
        try (DatagramSocket socket = new DatagramSocket()) {
            socket.connect(new InetSocketAddress(towards.host(), towards.port())); // sends nothing
            return socket.getLocalAddress().getHostAddress();
        } catch (IOException | RuntimeException e) {
            throw new DiscoveryException("there is no way to " + target + " (" + e.getMessage()
                    + "); with --advertise-host it need not be found out which address of this machine leads there");
        }
    }

    private static EngineAddress hostAndPort(String target) {
        return switch (scheme(target)) {
            case "etcd" -> EtcdTarget.parse(target).endpoints().getFirst();
            case "zmq", "tcp", "http", "https" -> EngineAddress.parse(withoutScheme(target));
            default ->
                throw new DiscoveryException(
                        "'" + target + "' is none of http://host:port, zmq://host:port, etcd://host:port/prefix");
        };
    }

    private static String scheme(String target) {
        int colon = target.indexOf("://");
        return colon < 0 ? "" : target.substring(0, colon).toLowerCase(Locale.ROOT);
    }

    private static String withoutScheme(String target) {
        String rest = target.substring(target.indexOf("://") + 3);
        return rest.endsWith("/") ? rest.substring(0, rest.length() - 1) : rest;
    }

    private static Registry registry(String target, Config config) {
        EngineInfo engine = reachable(config.engine(), target);
        return switch (scheme(target)) {
            case "etcd" -> new EtcdRegistry(EtcdTarget.parse(target), engine, config.timeToLive());
            case "http", "https" ->
                new HttpRegistry(URI.create(scheme(target) + "://" + hostAndPort(target)), engine, config);
            default -> new ZmqRegistry(hostAndPort(target), engine);
        };
    }

    /// Deregisters everywhere, for at most a few seconds.
    @Override
    public void close() {
        places.forEach(Place::leave);
        long deadline = System.nanoTime() + LONGEST_GOODBYE.toNanos();
        for (Place place : places) {
            try {
                if (!place.thread.join(Duration.ofNanos(Math.max(1, deadline - System.nanoTime())))) {
                    LOG.warn("could not deregister from {} in time", place.target);
                }
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                return;
            }
        }
    }

    /// One registry and the thread that keeps the engine in it.
    private static final class Place {
        private final String target;
        private final Config config;
        private final BooleanSupplier isWell;
        private final Duration interval;
        private final CountDownLatch leaving = new CountDownLatch(1);
        private final Thread thread;
        private @Nullable Registry registry; // its own thread's, as the next two
        private boolean registered;
        private String complaint = "";

        private Place(String target, Config config, BooleanSupplier isWell) {
            this.target = target;
            this.config = config;
            this.isWell = isWell;
            this.interval = switch (scheme(target)) {
                case "zmq", "tcp" -> ZMQ_INTERVAL;
                default -> config.timeToLive().dividedBy(3);
            };
            this.thread = Thread.ofVirtual().name("baton-registrar").start(this::stay);
        }

        private void leave() {
            leaving.countDown();
        }

        private void stay() {
            try {
                do {
                    if (isWell.getAsBoolean()) {
                        announce();
                    }
                } while (!leaving.await(interval.toMillis(), TimeUnit.MILLISECONDS));
                withdraw();
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            } finally {
                if (registry != null) {
                    registry.close();
                }
            }
        }

        private void announce() throws InterruptedException {
            try {
                Registry made = registry == null ? registry(target, config) : registry;
                registry = made;
                made.announce();
                if (!registered || !complaint.isEmpty()) {
                    LOG.info("registered as {} at {}", config.engine().role().word(), target);
                }
                registered = true;
                complaint = "";
            } catch (DiscoveryException e) {
                String message = String.valueOf(e.getMessage());
                if (!message.equals(complaint)) {
                    complaint = message;
                    LOG.warn("could not register at {}: {}; trying on", target, message);
                }
            }
        }

        private void withdraw() throws InterruptedException {
            Registry made = registry;
            if (made == null || !registered) {
                return;
            }
            try {
                made.withdraw();
                LOG.info("deregistered from {}", target);
            } catch (DiscoveryException e) {
                LOG.warn("could not deregister from {}: {}", target, e.getMessage());
            }
        }
    }
}
