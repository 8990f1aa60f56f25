package dev.baton.transfer.mooncake;

import dev.baton.transfer.tcp.BlockServer;
import dev.baton.transfer.tcp.Wire;
import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.nio.channels.AsynchronousCloseException;
import java.time.Duration;
import java.util.function.BiConsumer;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A prefiller's side of the side channel: what decoders' DEALERs take for a ROUTER. Thread-safe.
final class SideChannel implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(SideChannel.class);

    private static final Duration GREETING_TIMEOUT = Duration.ofSeconds(5);
    /// Each question has a connection of its own, and waits on it for its prefill.
    private static final int CONNECTIONS_FACTOR = 4;

    private final BlockServer server;
    private final String ip;

    /// Binds any free port and begins to answer.
    ///
    /// @param receiver takes each message, and where its answers go
    /// @throws dev.baton.transfer.TransferException if the address cannot be bound
    SideChannel(String ip, MooncakeOptions options, BiConsumer<byte[], Consumer<XferResponse>> receiver) {
        this.ip = ip;
        Duration silence = options.abortTimeout().plus(Receiver.EXTRA_PATIENCE).plus(Receiver.EXTRA_PATIENCE);
        this.server = BlockServer.start(
                "side-channel",
                ip,
                0,
                "kv_ip",
                CONNECTIONS_FACTOR * options.maxConnections(),
                wire -> new Decoder(wire, silence, receiver));
    }

    /// Where it listens, as `tcp://host:port`.
    String address() {
        return "tcp://%s:%d".formatted(ip.contains(":") ? "[" + ip + "]" : ip, server.port());
    }

    @Override
    public void close() {
        server.close();
    }

    /// One decoder's connection.
    private record Decoder(Wire wire, Duration silence, BiConsumer<byte[], Consumer<XferResponse>> receiver)
            implements BlockServer.Connection {
        @Override
        public void run() {
            try (wire) {
                Zmtp channel = new Zmtp(wire, "ROUTER", XferMetadata.MAX_BYTES);
                channel.greet(GREETING_TIMEOUT);
                while (true) {
                    receiver.accept(channel.receive(silence, silence), response -> reply(channel, response));
                }
            } catch (EOFException | AsynchronousCloseException e) {
                LOG.debug("a decoder's connection ended: {}", e.getMessage());
            } catch (IOException e) {
                LOG.info("a decoder's connection was dropped: {}", e.toString());
            }
        }

        private static void reply(Zmtp channel, XferResponse response) {
            try {
                channel.send(response.bytes());
            } catch (IOException e) {
                LOG.debug("a decoder is not there any more: {}", e.toString());
                channel.abort();
            }
        }

        @Override
        public void abort() {
            wire.abort();
        }
    }
}
