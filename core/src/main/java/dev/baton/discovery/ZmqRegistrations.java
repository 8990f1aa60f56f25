package dev.baton.discovery;

import dev.baton.wire.Fields;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Threads;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpServer;
import java.io.IOException;
import java.net.ProtocolException;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// Engines that register over ZeroMQ, as those with vLLM's P2pNcclConnector do with the proxies made for them:
/// every 3 s a DEALER sends a MessagePack map to this ROUTER,
///
/// ```
/// {"type": "P" or "D", "http_address": "10.0.0.1:8100", "zmq_address": "10.0.0.1:14579"}
/// ```
///
/// and gets no answer. Who has not been heard of within the time to live is gone, whether or not others are
/// heard. Baton's own engines add `role` (where it is `both`), `weight`, and at their end `leaving`. A message
/// that is none of these changes nothing. ZeroMQ knows no key here: what may register is limited by address
/// alone.
///
/// Each engine's connection has a thread, `baton-zmq-registrations-...`. Thread-safe.
public final class ZmqRegistrations implements EngineSource {
    /// What vLLM's proxies allow.
    public static final Duration TIME_TO_LIVE = Duration.ofSeconds(5);

    private static final Logger LOG = LoggerFactory.getLogger(ZmqRegistrations.class);
    private static final Duration TURN = Duration.ofMillis(100);
    private static final int MAX_MESSAGE_BYTES = 64 << 10;
    private static final int MAX_ENGINES = 4_096;
    /// Of a connection, not of an engine: it is only asked for a sign of life then.
    private static final Duration SILENCE = Duration.ofMinutes(1);
    /// Between two lines of the log about messages that cannot be used.
    private static final long COMPLAINT_NANOS = Duration.ofSeconds(10).toNanos();

    private final String host;
    private final int port;
    private final Duration timeToLive;
    private final AllowedEngines allowed;
    private final CountDownLatch closing = new CountDownLatch(1);
    private volatile @Nullable ZmtpServer server;
    private volatile @Nullable Thread clock;
    private long numRefused; // guarded by this
    private long complainedNanos = System.nanoTime() - COMPLAINT_NANOS; // guarded by this

    /// @param host address to bind, `0.0.0.0` for all
    /// @param port to bind, 0 for any free one
    /// @param timeToLive how long one message holds
    public ZmqRegistrations(String host, int port, Duration timeToLive, AllowedEngines allowed) {
        this.host = host;
        this.port = port;
        this.timeToLive = timeToLive;
        this.allowed = allowed;
    }

    @Override
    public void start(EngineListener listener) {
        ExpiringFleet fleet = new ExpiringFleet(listener);
        try {
            server = ZmtpServer.start(
                    "baton-zmq-registrations",
                    Zmtp.SocketType.ROUTER,
                    host,
                    port,
                    new ZmtpServer.Limits(MAX_ENGINES, MAX_MESSAGE_BYTES, SILENCE),
                    (_, message) -> received(message, fleet));
        } catch (IOException e) {
            throw new DiscoveryException("registrations by ZeroMQ cannot be taken at tcp://%s:%d: %s"
                    .formatted(host.contains(":") ? "[" + host + "]" : host, port, e.getMessage()));
        }
        clock = Thread.ofPlatform()
                .name("baton-zmq-registrations-clock")
                .daemon()
                .start(() -> expire(fleet));
    }

    /// Where it listens, once started.
    public int port() {
        ZmtpServer started = server;
        return started == null ? 0 : started.port();
    }

    @Override
    public String description() {
        return "registrations by ZeroMQ at " + host + ":" + (port() == 0 ? port : port());
    }

    @Override
    public void close() {
        closing.countDown();
        ZmtpServer started = server;
        if (started != null) {
            started.close();
        }
        Thread running = clock;
        if (running != null) {
            Threads.awaitEnd(running);
        }
    }

    private void expire(ExpiringFleet fleet) {
        try {
            while (!closing.await(TURN.toMillis(), TimeUnit.MILLISECONDS)) {
                fleet.expire();
            }
        } catch (InterruptedException e) {
            LOG.error("{}: engines that fall silent stay from now on", description(), e);
        }
    }

    /// A message is the map, with or without an empty frame before it.
    private void received(List<byte[]> message, ExpiringFleet fleet) {
        try {
            if (message.size() > 2) {
                throw new DiscoveryException("a message of " + message.size() + " frames, needed is 1");
            }
            register(MsgPack.map("a registration", message.getLast()), fleet);
        } catch (DiscoveryException | ProtocolException e) {
            complain(String.valueOf(e.getMessage()));
        }
    }

    private void register(Fields message, ExpiringFleet fleet) throws ProtocolException {
        EngineInfo engine = read(message);
        allowed.check(engine);
        if (message.truthOr("leaving", false)) {
            fleet.left(engine.address(), "it said so");
        } else {
            fleet.heard(engine, Optional.of(timeToLive));
        }
    }

    private static EngineInfo read(Fields message) throws ProtocolException {
        EngineRole role = EngineRole.of(message.text(message.has("role") ? "role" : "type"));
        return new EngineInfo(
                EngineAddress.parse(message.text("http_address")),
                role,
                message.doubleOr("weight", 1),
                new ConnectorEndpoint.P2pNccl(
                        EngineAddress.parse(message.text("zmq_address")).toString()));
    }

    private synchronized void complain(String what) {
        numRefused++;
        long now = System.nanoTime();
        if (now - complainedNanos >= COMPLAINT_NANOS) {
            complainedNanos = now;
            LOG.warn("{}: {} ({} messages refused so far)", description(), what, numRefused);
        }
    }
}
