package dev.baton.router.backend;

import dev.baton.discovery.DiscoveryException;
import dev.baton.discovery.EngineAddress;
import dev.baton.discovery.MsgPack;
import dev.baton.http.HttpException;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;
import org.zeromq.SocketType;
import org.zeromq.ZMQ;
import org.zeromq.ZMQException;
import tools.jackson.databind.JsonNode;
import zmq.ZError;

/// LMCache's `ProxyNotif`: every rank of a prefiller pushes one over ZMQ once its part of the KV cache lies at the
/// decoder. Binds the PULL socket that prefillers know as `pd_proxy_host:pd_proxy_port`. Thread-safe.
///
/// Whoever reaches the port can announce; what nobody waits for is dropped, and ids cannot be guessed.
public final class ProxyNotifications implements Announcements {
    private static final Logger LOG = LoggerFactory.getLogger(ProxyNotifications.class);

    /// Over this the sender is no LMCache, and its connection is closed.
    private static final int MAX_MESSAGE_BYTES = 4096;

    private final Expectations expectations = new Expectations();
    private final ZMQ.Context context = ZMQ.context(1);
    private final ZMQ.Socket socket;
    private final int port;
    private boolean complained; // by the receiver's thread alone

    private ProxyNotifications(String host, int port) {
        socket = context.socket(SocketType.PULL);
        socket.setLinger(0);
        socket.setMaxMsgSize(MAX_MESSAGE_BYTES);
        socket.setIPv6(host.contains(":"));
        try {
            this.port = bind(host, port);
        } catch (ZMQException e) {
            socket.close();
            context.term();
            throw new HttpException(
                    HttpException.Kind.BIND,
                    "cannot listen for LMCache's notifications on " + host + ":" + port + ": "
                            + ZError.toString(e.getErrorCode()),
                    e);
        }
        Thread.ofPlatform().daemon().name("baton-proxy-notif").start(this::receive);
    }

    /// Starts to receive; returns once it listens.
    ///
    /// @param host `0.0.0.0` and `*` for all interfaces
    /// @param port 0 for any free one
    /// @throws HttpException of kind [HttpException.Kind#BIND], in one sentence, if it cannot listen
    public static ProxyNotifications listen(String host, int port) {
        return new ProxyNotifications(host, port);
    }

    private int bind(String host, int port) {
        // JeroMQ looks a name up by itself, but takes `localhost` for an interface's name.
        String name = host.equals("localhost") ? "127.0.0.1" : host.contains(":") ? "[" + host + "]" : host;
        socket.bind("tcp://" + name + ":" + (port == 0 ? "*" : Integer.toString(port)));
        return EngineAddress.parse(socket.getLastEndpoint().replace("tcp://", ""))
                .port();
    }

    /// The port it listens on.
    public int port() {
        return port;
    }

    private void receive() {
        try {
            while (true) {
                byte[] message = socket.recv();
                if (message == null) {
                    return;
                }
                received(message);
            }
        } catch (ZMQException e) {
            if (e.getErrorCode() != ZError.ETERM) {
                LOG.error("LMCache's notifications are not received any more", e);
            }
        } finally {
            socket.close();
        }
    }

    private void received(byte[] message) {
        try {
            JsonNode notification = MsgPack.map(message);
            String type = notification.path("type").asString("");
            if (!type.equals("ProxyNotif") && !type.equals("NixlProxyNotif")) { // the second until LMCache 0.3
                complain("a message of type '" + type + "'");
            } else if (!expectations.announced(notification.path("req_id").asString(""))) {
                LOG.debug("nobody waits for {}", notification);
            }
        } catch (DiscoveryException e) {
            complain(String.valueOf(e.getMessage()));
        } catch (RuntimeException e) {
            LOG.error("a notification met a bug of the router", e);
        }
    }

    /// Said aloud once: whoever sends one sends many.
    private void complain(String what) {
        if (complained) {
            LOG.debug("not a ProxyNotif: {}", what);
        } else {
            complained = true;
            LOG.warn("{}, where LMCache's prefillers push ProxyNotif (further ones are logged at debug)", what);
        }
    }

    @Override
    public Expectation expect(String id, int times, Runnable heard) {
        return expectations.expect(id, times, heard);
    }

    /// Ends the receiver, which closes its socket itself: ZeroMQ's sockets belong to one thread.
    @Override
    public void close() {
        context.term();
    }
}
