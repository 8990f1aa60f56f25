package dev.baton.http;

import io.vertx.core.internal.VertxInternal;
import java.net.InetAddress;
import java.time.Duration;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The addresses of hosts that are called by name. A name is not looked up once for ever: a host that came back
/// under another address would be lost until a restart.
///
/// Only the first call to a name waits for the answer. Later ones take the address known, and have it looked up
/// anew besides once it is a second old; an outage of the name servers costs nothing. Thread-safe.
final class HostNames {
    private static final Logger LOG = LoggerFactory.getLogger(HostNames.class);

    private static final long FRESH_NANOS = Duration.ofSeconds(1).toNanos();
    private static final Pattern ADDRESS = Pattern.compile("[0-9.]+|\\[.*|.*:.*");

    private record Known(String address, long atNanos) {}

    private final VertxInternal vertx;
    private final Map<String, Known> known = new ConcurrentHashMap<>();
    private final Set<String> underWay = ConcurrentHashMap.newKeySet();

    HostNames(VertxInternal vertx) {
        this.vertx = vertx;
    }

    /// Whether a host is given by its address.
    static boolean isAddress(String host) {
        return ADDRESS.matcher(host).matches();
    }

    /// Finds a name's address; one of the two is called, on the event loop of the caller.
    void find(String name, Consumer<String> whenFound, Consumer<Throwable> whenFailed) {
        Known before = known.get(name);
        if (before == null) {
            vertx.nameResolver()
                    .resolve(name)
                    .onComplete(found -> whenFound.accept(learnt(name, found)), whenFailed::accept);
            return;
        }
        if (System.nanoTime() - before.atNanos() >= FRESH_NANOS && underWay.add(name)) {
            vertx.nameResolver()
                    .resolve(name)
                    .onComplete(
                            found -> {
                                learnt(name, found);
                                underWay.remove(name);
                            },
                            failure -> {
                                LOG.debug("{} was not found, {} stays: {}", name, before.address(), failure.toString());
                                underWay.remove(name);
                            });
        }
        whenFound.accept(before.address());
    }

    private String learnt(String name, InetAddress found) {
        String address = found.getHostAddress();
        Known before = known.put(name, new Known(address, System.nanoTime()));
        if (before != null && !before.address().equals(address)) {
            LOG.info("{} has moved from {} to {}", name, before.address(), address);
        }
        return address;
    }
}
