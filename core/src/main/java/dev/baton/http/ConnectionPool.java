package dev.baton.http;

import io.netty.bootstrap.Bootstrap;
import io.netty.channel.Channel;
import io.netty.channel.ChannelFuture;
import io.netty.channel.ChannelInitializer;
import io.netty.channel.ChannelOption;
import io.netty.handler.codec.http.HttpClientCodec;
import io.netty.handler.codec.http.HttpDecoderConfig;
import io.netty.handler.ssl.SslHandler;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.util.ArrayDeque;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.jspecify.annotations.Nullable;

/// The connections of one event loop to one server: those that wait for a call, the last used first, and the calls
/// that wait because there are as many connections as there may be. Belongs to one event loop.
final class ConnectionPool {
    private static final HttpDecoderConfig DECODER =
            new HttpDecoderConfig().setMaxHeaderSize(64 << 10).setMaxChunkSize(64 << 10); // larger ones come in pieces

    /// A server, as requests name it.
    record Origin(String host, int port, boolean secure) {
        private static final int HTTP = 80;
        private static final int HTTPS = 443;

        /// @param server an address of `http` or `https`
        static Origin of(URI server) {
            boolean secure = "https".equals(server.getScheme());
            int usual = secure ? HTTPS : HTTP;
            return new Origin(server.getHost(), server.getPort() < 0 ? usual : server.getPort(), secure);
        }

        /// As it stands in a request's `Host`: without the usual port.
        String authority() {
            return port == (secure ? HTTPS : HTTP) ? host : host + ":" + port;
        }
    }

    /// A call that needs a connection.
    interface Caller {
        /// It has got one, which may have to be connected yet: [#ready] follows then, or its user is told.
        void got(ClientConnection connection);

        /// Its connection can be written to.
        void ready(ClientConnection connection);

        /// There is none for it as yet. It gets one later, or leaves before that.
        void waits(ConnectionPool here);

        /// It gets none.
        void refused(Throwable cause);
    }

    private final Origin origin;
    private final String authority;
    private final HttpClient.Loop loop;
    private final Set<ClientConnection> open = new HashSet<>();
    private final ArrayDeque<ClientConnection> free = new ArrayDeque<>();
    private final ArrayDeque<Caller> waiting = new ArrayDeque<>();

    ConnectionPool(Origin origin, HttpClient.Loop loop) {
        this.origin = origin;
        this.authority = origin.authority();
        this.loop = loop;
    }

    /// The server, as it stands in a request's `Host`.
    String authority() {
        return authority;
    }

    /// Gives a connection, at once if there can be one and nobody waits.
    void give(Caller caller) {
        if (!waiting.isEmpty() || !couldGive(caller)) {
            waiting.add(caller);
            caller.waits(this);
        }
    }

    private boolean couldGive(Caller caller) {
        ClientConnection kept = usable();
        if (kept != null) {
            caller.got(kept);
            caller.ready(kept);
        } else if (open.size() < loop.maxConnections()) {
            connect(caller);
        } else {
            return false;
        }
        return true;
    }

    /// What its server has closed, or may close in this moment, is of no use.
    private @Nullable ClientConnection usable() {
        long sinceNanos = loop.idleSinceNanos();
        ClientConnection kept = free.pollLast();
        while (kept != null && !kept.isUsable(sinceNanos)) {
            kept.close();
            kept = free.pollLast();
        }
        return kept;
    }

    /// A caller waits no longer.
    void leave(Caller caller) {
        waiting.remove(caller);
    }

    boolean isUnused() {
        return open.isEmpty() && waiting.isEmpty();
    }

    /// Nobody needs it now.
    void free(ClientConnection connection) {
        free.addLast(connection);
        loop.sweepLater();
        if (!waiting.isEmpty()) { // not at once: the one whose call has just ended is told first
            loop.later(this::serve);
        }
    }

    private void serve() {
        for (Caller next = waiting.poll(); next != null; next = waiting.poll()) {
            if (!couldGive(next)) {
                waiting.addFirst(next);
                return;
            }
        }
    }

    /// It is closed.
    void ended(ClientConnection connection) {
        open.remove(connection);
        free.remove(connection);
        Caller next = waiting.poll();
        if (next != null) {
            connect(next);
        } else {
            loop.forgetIfUnused(origin, this);
        }
    }

    /// Ends the connections that nobody has used since then.
    ///
    /// @return whether others are left
    boolean sweep(long sinceNanos) {
        for (ClientConnection oldest = free.peekFirst();
                oldest != null && oldest.idleNanos() - sinceNanos <= 0;
                oldest = free.peekFirst()) {
            oldest.close();
        }
        return !free.isEmpty();
    }

    /// Ends all of them, and their calls.
    void close() {
        IllegalStateException closed = new IllegalStateException("the client is closed");
        List<Caller> refused = List.copyOf(waiting);
        waiting.clear();
        refused.forEach(caller -> caller.refused(closed));
        for (ClientConnection connection : List.copyOf(open)) {
            connection.failed(closed);
        }
    }

    /* A new connection. */

    private void connect(Caller caller) {
        ClientConnection connection = new ClientConnection(this, loop.vertx(), loop.context());
        open.add(connection);
        caller.got(connection);
        if (HostNames.isAddress(origin.host())) {
            connect(connection, caller, origin.host());
        } else {
            loop.names().find(origin.host(), address -> connect(connection, caller, address), connection::failed);
        }
    }

    private void connect(ClientConnection connection, Caller caller, String address) {
        if (connection.isEnded()) {
            return;
        }
        InetSocketAddress target;
        try {
            String literal = address.startsWith("[") ? address.substring(1, address.length() - 1) : address;
            target = new InetSocketAddress(InetAddress.ofLiteral(literal), origin.port());
        } catch (IllegalArgumentException e) {
            loop.later(() -> connection.failed(e));
            return;
        }
        ChannelFuture connecting = new Bootstrap()
                .group(loop.context().nettyEventLoop())
                .channelFactory(loop.vertx().transport().channelFactory(false))
                .option(ChannelOption.CONNECT_TIMEOUT_MILLIS, loop.connectTimeoutMillis())
                .option(ChannelOption.TCP_NODELAY, true)
                .handler(new ChannelInitializer<Channel>() {
                    @Override
                    protected void initChannel(Channel made) {
                        if (origin.secure()) {
                            made.pipeline().addLast(loop.tls().newHandler(made.alloc(), origin.host(), origin.port()));
                        }
                        made.pipeline().addLast(new HttpClientCodec(DECODER, false, false), connection);
                    }
                })
                .connect(target);
        connecting.addListener(done -> {
            if (loop.isCurrent()) {
                loop.context().dispatch(() -> connected(connection, caller, connecting));
            } else { // a socket that could not be made is told of by another thread
                loop.later(() -> connected(connection, caller, connecting));
            }
        });
    }

    private void connected(ClientConnection connection, Caller caller, ChannelFuture connecting) {
        if (!connecting.isSuccess()) {
            connection.failed(connecting.cause());
            return;
        }
        connection.has(connecting.channel());
        if (!origin.secure()) {
            ready(connection, caller);
            return;
        }
        SslHandler tls = connecting.channel().pipeline().get(SslHandler.class);
        tls.handshakeFuture()
                .addListener(shaken -> loop.context().dispatch(() -> {
                    if (shaken.isSuccess()) {
                        ready(connection, caller);
                    } else { // which closes it
                        connection.failed(shaken.cause());
                    }
                }));
    }

    private static void ready(ClientConnection connection, Caller caller) {
        connection.connected();
        if (!connection.isEnded()) {
            caller.ready(connection);
        }
    }
}
