package dev.baton.router.backend;

import dev.baton.http.HttpException;
import dev.baton.wire.Fields;
import dev.baton.wire.MsgPack;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpServer;
import java.io.IOException;
import java.net.ProtocolException;
import java.time.Duration;
import java.util.concurrent.atomic.AtomicBoolean;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// LMCache's `ProxyNotif`: every rank of a prefiller pushes one over ZMQ once its part of the KV cache lies at the
/// decoder. Binds the PULL socket that prefillers know as `pd_proxy_host:pd_proxy_port`. Thread-safe.
///
/// Whoever reaches the port can announce; what nobody waits for is dropped, and ids cannot be guessed.
public final class ProxyNotifications implements Announcements {
    private static final Logger LOG = LoggerFactory.getLogger(ProxyNotifications.class);

    /// Over this the sender is no LMCache, and its connection is closed.
    private static final int MAX_MESSAGE_BYTES = 4096;

    private static final int MAX_PREFILLERS = 1_024;
    /// Of a connection that gives no sign of life, though it was asked for one.
    private static final Duration SILENCE = Duration.ofMinutes(1);

    private final Expectations expectations = new Expectations();
    private final ZmtpServer server;
    private final AtomicBoolean complained = new AtomicBoolean();

    private ProxyNotifications(String host, int port) {
        try {
            server = ZmtpServer.start(
                    "baton-proxy-notif",
                    Zmtp.SocketType.PULL,
                    host,
                    port,
                    new ZmtpServer.Limits(MAX_PREFILLERS, MAX_MESSAGE_BYTES, SILENCE),
                    (_, message) -> received(Zmtp.single(message)));
        } catch (IOException e) {
            throw new HttpException(
                    HttpException.Kind.BIND,
                    "cannot listen for LMCache's notifications on " + host + ":" + port + ": " + e.getMessage(),
                    e);
        }
    }

    /// Starts to receive; returns once it listens.
    ///
    /// @param host `0.0.0.0` and `*` for all interfaces
    /// @param port 0 for any free one
    /// @throws HttpException of kind [HttpException.Kind#BIND], in one sentence, if it cannot listen
    public static ProxyNotifications listen(String host, int port) {
        return new ProxyNotifications(host, port);
    }

    /// The port it listens on.
    public int port() {
        return server.port();
    }

    private void received(byte[] message) {
        try {
            Fields notification = MsgPack.map("a notification", message);
            String type = notification.textOr("type", "");
            if (!type.equals("ProxyNotif") && !type.equals("NixlProxyNotif")) { // the second until LMCache 0.3
                complain("a message of type '" + type + "'");
            } else if (!expectations.announced(notification.textOr("req_id", ""))) {
                LOG.debug("nobody waits for {}", notification);
            }
        } catch (ProtocolException e) {
            complain(String.valueOf(e.getMessage()));
        }
    }

    /// Said aloud once: whoever sends one sends many.
    private void complain(String what) {
        if (complained.getAndSet(true)) {
            LOG.debug("not a ProxyNotif: {}", what);
        } else {
            LOG.warn("{}, where LMCache's prefillers push ProxyNotif (further ones are logged at debug)", what);
        }
    }

    @Override
    public Expectation expect(String id, int times, Runnable heard) {
        return expectations.expect(id, times, heard);
    }

    @Override
    public void close() {
        server.close();
    }
}
