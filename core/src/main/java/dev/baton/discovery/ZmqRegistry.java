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
///
/// About one in a hundred connections that JeroMQ 0.6.0 opens never comes about, whoever listens (its listening
/// side is sound): what is sent over it stays where it is. So a message that finds the one before still waiting
/// goes over a new connection.
final class ZmqRegistry implements Registry {
    private static final Duration LINGER = Duration.ofMillis(500);

    private final EngineInfo engine;
    private final ZContext context = new ZContext(1);
    private final EngineAddress router;
    private ZMQ.Socket socket;

    /// @param router `host:port`
    ZmqRegistry(EngineAddress router, EngineInfo engine) {
        this.router = router;
        this.engine = engine;
        socket = connect();
    }

    private ZMQ.Socket connect() {
        ZMQ.Socket socket = context.createSocket(SocketType.DEALER);
        socket.setIdentity(zmqAddress().getBytes(StandardCharsets.UTF_8));
        socket.setSndHWM(1); // what a router that is away has missed is of no use to it
        socket.setSendTimeOut(0);
        socket.setLinger((int) LINGER.toMillis());
        socket.setIPv6(router.host().contains(":"));
        socket.connect("tcp://" + router);
        return socket;
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
        send(message().put("leaving", true));
    }

    /// Refused while an earlier one waits: nobody listens, or the connection is one that never comes about.
    private void send(ObjectNode message) {
        if (!socket.send(MsgPackBytes.of(message))) {
            socket.setLinger(0);
            socket.close();
            socket = connect();
            boolean ignored = socket.send(MsgPackBytes.of(message));
        }
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
