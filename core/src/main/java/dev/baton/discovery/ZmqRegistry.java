package dev.baton.discovery;

import dev.baton.wire.MsgPack;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpSender;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;

/// Registers over ZeroMQ as vLLM's P2pNcclConnector does; see [ZmqRegistrations]. Nothing is answered: what was
/// sent may still be refused.
final class ZmqRegistry implements Registry {
    private static final Duration TIMEOUT = Duration.ofSeconds(1);

    private final EngineInfo engine;
    private final EngineAddress router;
    private final ZmtpSender sender;

    /// @param router `host:port`
    ZmqRegistry(EngineAddress router, EngineInfo engine) {
        this.router = router;
        this.engine = engine;
        this.sender = new ZmtpSender(
                Zmtp.SocketType.DEALER,
                zmqAddress().getBytes(StandardCharsets.UTF_8),
                router.host(),
                router.port(),
                TIMEOUT);
    }

    private String zmqAddress() {
        return engine.endpoint() instanceof ConnectorEndpoint.P2pNccl(String address)
                ? address
                : engine.address().toString();
    }

    @Override
    public void announce() {
        send(message());
    }

    @Override
    public void withdraw() {
        Map<String, Object> message = message();
        message.put("leaving", true);
        send(message);
    }

    private void send(Map<String, Object> message) {
        try {
            sender.send(MsgPack.write(message));
        } catch (IOException e) {
            throw new DiscoveryException(router + " does not take it (" + e.getMessage() + ")");
        }
    }

    private Map<String, Object> message() {
        Map<String, Object> message = new LinkedHashMap<>();
        message.put("type", engine.role() == EngineRole.DECODER ? "D" : "P");
        message.put("http_address", engine.address().toString());
        message.put("zmq_address", zmqAddress());
        if (engine.role() == EngineRole.BOTH) {
            message.put("role", engine.role().word());
        }
        if (engine.weight() != 1) {
            message.put("weight", engine.weight());
        }
        return message;
    }

    @Override
    public void close() {
        sender.close();
    }
}
