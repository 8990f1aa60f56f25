package dev.baton.discovery;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.zeromq.SocketType;
import org.zeromq.ZContext;
import org.zeromq.ZMQ;
import tools.jackson.databind.node.JsonNodeFactory;
import tools.jackson.databind.node.ObjectNode;

/// Registers over ZeroMQ as vLLM's P2pNcclConnector does; see [ZmqRegistrations]. Nothing tells whether anybody
/// listens.
final class ZmqRegistry implements Registry {
    private static final Duration LINGER = Duration.ofMillis(500);

    private final EngineInfo engine;
    private final ZContext context = new ZContext(1);
    private final ZMQ.Socket socket;

    /// @param router `host:port`
    ZmqRegistry(EngineAddress router, EngineInfo engine) {
        this.engine = engine;
        socket = context.createSocket(SocketType.DEALER);
        socket.setIdentity(zmqAddress().getBytes(StandardCharsets.UTF_8));
        socket.setSndHWM(1); // what a router that is away has missed is of no use to it
        socket.setSendTimeOut(0);
        socket.setLinger((int) LINGER.toMillis());
        socket.setIPv6(router.host().contains(":"));
        socket.connect("tcp://" + router);
    }

    private String zmqAddress() {
        return engine.endpoint() instanceof ConnectorEndpoint.P2pNccl(String address)
                ? address
                : engine.address().toString();
    }

    @Override
    public void announce() {
        // Refused while an earlier one waits for a router: that one says the same.
        boolean ignored = socket.send(MsgPackBytes.of(message()));
    }

    @Override
    public void withdraw() {
        boolean ignored = socket.send(MsgPackBytes.of(message().put("leaving", true)));
    }

    private ObjectNode message() {
        ObjectNode message = JsonNodeFactory.instance.objectNode();
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
        socket.close();
        context.close();
    }
}
