package dev.baton.transfer.mooncake;

import dev.baton.transfer.tcp.BlockServer;
import dev.baton.wire.Zmtp;
import dev.baton.wire.ZmtpServer;
import java.io.Closeable;
import java.io.IOException;
import java.time.Duration;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A prefiller's side of the side channel: what decoders' DEALERs take for a ROUTER. Thread-safe.
final class SideChannel implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(SideChannel.class);

    /// Each question has a connection of its own, and waits on it for its prefill.
    private static final int CONNECTIONS_FACTOR = 4;

    private final ZmtpServer server;
    private final String ip;

    /// Binds any free port and begins to answer.
    ///
    /// @param receiver takes each message, and where its answers go
    /// @throws dev.baton.transfer.TransferException if the address cannot be bound
    SideChannel(String ip, MooncakeOptions options, BiConsumer<byte[], Consumer<XferResponse>> receiver) {
        this.ip = ip;
        Duration silence = options.abortTimeout().plus(Receiver.EXTRA_PATIENCE).plus(Receiver.EXTRA_PATIENCE);
        try {
            this.server = ZmtpServer.start(
                    "baton-kv-side-channel",
                    Zmtp.SocketType.ROUTER,
                    ip,
                    0,
                    new ZmtpServer.Limits(
                            CONNECTIONS_FACTOR * options.maxConnections(), XferMetadata.MAX_BYTES, silence),
                    (from, message) -> receiver.accept(Zmtp.single(message), response -> reply(from, response)));
        } catch (IOException e) {
            throw BlockServer.cannotListen(ip, 0, "kv_ip", e);
        }
    }

    /// Where it listens, as `tcp://host:port`.
    String address() {
        return "tcp://%s:%d".formatted(ip.contains(":") ? "[" + ip + "]" : ip, server.port());
    }

    private static void reply(Zmtp to, XferResponse response) {
        try {
            to.send(response.bytes());
        } catch (IOException e) {
            LOG.debug("a decoder is not there any more: {}", e.toString());
            to.abort();
        }
    }

    @Override
    public void close() {
        server.close();
    }
}
