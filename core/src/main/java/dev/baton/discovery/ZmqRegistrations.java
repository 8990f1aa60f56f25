package dev.baton.discovery;

import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import org.jspecify.annotations.Nullable;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.zeromq.SocketType;
import org.zeromq.ZContext;
import org.zeromq.ZMQ;
import org.zeromq.ZMQException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.node.ObjectNode;

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
/// One thread, `baton-zmq-registrations`, owns the socket. Thread-safe.
public final class ZmqRegistrations implements EngineSource {
    /// What vLLM's proxies allow.
    public static final Duration TIME_TO_LIVE = Duration.ofSeconds(5);

    private static final Logger LOG = LoggerFactory.getLogger(ZmqRegistrations.class);
    private static final int TURN_MILLIS = 100;
    private static final int WAITING_MESSAGES = 10_000;
    /// Between two lines of the log about messages that cannot be used.
    private static final long COMPLAINT_NANOS = Duration.ofSeconds(10).toNanos();

    private final String host;
    private final int port;
    private final Duration timeToLive;
    private final AllowedEngines allowed;
    private final ZContext context = new ZContext(1);
    private volatile boolean closed;
    private @Nullable Thread receiver;
    private int boundPort;
    private long numRefused;
    private long complainedNanos = System.nanoTime() - COMPLAINT_NANOS;

    /// @param host address to bind, `0.0.0.0` for all
    /// @param port to bind, 0 for any free one
    /// @param timeToLive how long one message holds
    public ZmqRegistrations(String host, int port, Duration timeToLive, AllowedEngines allowed) {
        this.host = host;
        this.port = port;
        this.timeToLive = timeToLive;
        this.allowed = allowed;
        context.setLinger(0);
    }

    @Override
    public void start(EngineListener listener) {
        ZMQ.Socket socket = context.createSocket(SocketType.ROUTER);
        socket.setRouterHandover(true); // a restarted engine comes back under its identity while the old one lingers
        socket.setMaxMsgSize(MsgPack.MAX_BYTES);
        socket.setRcvHWM(WAITING_MESSAGES);
        socket.setReceiveTimeOut(TURN_MILLIS);
        socket.setIPv6(host.contains(":"));
        String address = "tcp://" + (host.contains(":") ? "[" + host + "]" : host) + ":";
        try {
            if (port == 0) {
                boundPort = socket.bindToRandomPort(address.substring(0, address.length() - 1));
            } else {
                socket.bind(address + port);
                boundPort = port;
            }
        } catch (ZMQException | IllegalArgumentException e) {
            context.close();
            throw new DiscoveryException(
                    "registrations by ZeroMQ cannot be taken at " + address + port + ": " + e.getMessage());
        }
        ExpiringFleet fleet = new ExpiringFleet(listener);
        receiver = Thread.ofPlatform().name("baton-zmq-registrations").daemon().start(() -> receive(socket, fleet));
    }

    /// Where it listens, once started.
    public int port() {
        return boundPort;
    }

    @Override
    public String description() {
        return "registrations by ZeroMQ at " + host + ":" + (boundPort == 0 ? port : boundPort);
    }

    @Override
    public void close() {
        closed = true;
        Thread running = receiver;
        if (running != null) {
            try {
                running.join(Duration.ofSeconds(5));
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
            }
        }
        context.close();
    }

    private void receive(ZMQ.Socket socket, ExpiringFleet fleet) {
        try {
            while (!closed) {
                byte[] frame = socket.recv();
                // What waits is read before anybody's time is found to be over.
                while (frame != null && !closed) {
                    message(socket, frame, fleet);
                    frame = socket.recv(ZMQ.DONTWAIT);
                }
                fleet.expire();
            }
        } catch (ZMQException e) {
            if (!closed) {
                LOG.error("{} have ended: nobody can register there any more", description(), e);
            }
        } finally {
            socket.close();
        }
    }

    /// Takes the rest of a message whose first frame is there: the sender's identity, then the map, with or
    /// without an empty frame between.
    private void message(ZMQ.Socket socket, byte[] identity, ExpiringFleet fleet) {
        byte[] last = identity;
        int frames = 1;
        while (socket.hasReceiveMore()) {
            last = Objects.requireNonNullElse(socket.recv(), last);
            frames++;
        }
        try {
            if (frames > 3) {
                throw new DiscoveryException("a message of " + frames + " frames, needed are 2");
            }
            register(MsgPack.map(last), fleet);
        } catch (DiscoveryException e) {
            complain(String.valueOf(e.getMessage()));
        }
    }

    private void register(ObjectNode message, ExpiringFleet fleet) {
        EngineInfo engine = read(message);
        allowed.check(engine);
        if (message.path("leaving").asBoolean(false)) {
            fleet.left(engine.address(), "it said so");
        } else {
            fleet.heard(engine, Optional.of(timeToLive));
        }
    }

    private static EngineInfo read(ObjectNode message) {
        EngineRole role = EngineRole.of(text(message, message.has("role") ? "role" : "type"));
        JsonNode weight = message.path("weight");
        return new EngineInfo(
                EngineAddress.parse(text(message, "http_address")),
                role,
                weight.isNumber() ? weight.doubleValue() : 1,
                new ConnectorEndpoint.P2pNccl(
                        EngineAddress.parse(text(message, "zmq_address")).toString()));
    }

    private static String text(ObjectNode message, String field) {
        return message.path(field)
                .asStringOpt()
                .orElseThrow(() -> new DiscoveryException("a message without '" + field + "'"));
    }

    private void complain(String what) {
        numRefused++;
        long now = System.nanoTime();
        if (now - complainedNanos >= COMPLAINT_NANOS) {
            complainedNanos = now;
            LOG.warn("{}: {} ({} messages refused so far)", description(), what, numRefused);
        }
    }
}
