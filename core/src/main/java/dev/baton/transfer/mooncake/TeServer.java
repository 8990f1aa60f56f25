package dev.baton.transfer.mooncake;

import dev.baton.transfer.mooncake.TeFraming.Request;
import dev.baton.transfer.mooncake.TeMemory.Access;
import dev.baton.transfer.mooncake.TeMemory.Operation;
import dev.baton.transfer.tcp.BlockServer;
import dev.baton.wire.Wire;
import dev.baton.wire.WireServer;
import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.AsynchronousCloseException;
import java.time.Duration;
import java.util.Optional;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// The answering end of a Transfer Engine: the port of the handshake, and the data port through which peers read
/// and write the memory that it was given. Nothing is allocated for what a peer asks for; bytes go straight between
/// the socket and that memory.
///
/// Thread-safe.
final class TeServer implements Closeable {
    private static final Logger LOG = LoggerFactory.getLogger(TeServer.class);

    /// How long a peer that has begun a handshake or a header may take for the rest of it.
    private static final Duration FRAME_TIMEOUT = Duration.ofSeconds(5);

    private final WireServer data;
    private final WireServer handshakes;

    /// Binds both ports and begins to answer.
    ///
    /// @param ip address to bind and to announce
    /// @throws dev.baton.transfer.TransferException if it cannot be bound
    TeServer(String ip, TeMemory memory, MooncakeOptions options) {
        data = BlockServer.start(
                "te-data",
                ip,
                0,
                "kv_ip",
                options.maxConnections(),
                wire -> new DataConnection(wire, memory, options.peerTimeout(), options.idleTimeout()));
        try {
            handshakes = BlockServer.start(
                    "te-handshake",
                    ip,
                    0,
                    "kv_ip",
                    options.maxConnections(),
                    wire -> new Handshake(wire, () -> descriptor(ip, memory)));
        } catch (RuntimeException e) {
            data.close();
            throw e;
        }
    }

    /// The port of the handshake, which peers know the engine by.
    int port() {
        return handshakes.port();
    }

    private byte[] descriptor(String ip, TeMemory memory) {
        return new TeHandshake.Descriptor(
                        ip + ":" + port(), ip, data.port(), TeHandshake.ACKNOWLEDGED_VERSION, memory.ranges())
                .json();
    }

    @Override
    public void close() {
        handshakes.close();
        data.close();
    }

    /// Gives the descriptor.
    @FunctionalInterface
    private interface DescriptorSource {
        byte[] json();
    }

    private record Handshake(Wire wire, DescriptorSource descriptor) implements WireServer.Connection {
        @Override
        public void run() {
            try (wire) {
                TeHandshake.answer(wire, descriptor.json(), FRAME_TIMEOUT);
            } catch (IOException e) {
                LOG.debug("a Transfer Engine handshake failed: {}", e.toString());
            }
        }

        @Override
        public void abort() {
            wire.abort();
        }
    }

    private static final class DataConnection implements WireServer.Connection {
        private final Wire wire;
        private final TeMemory memory;
        private final Duration timeout;
        private final Duration idleTimeout;
        private final ByteBuffer header = TeFraming.buffer(TeFraming.HEADER_BYTES);
        private final ByteBuffer status = TeFraming.buffer(TeFraming.STATUS_BYTES);

        DataConnection(Wire wire, TeMemory memory, Duration timeout, Duration idleTimeout) {
            this.wire = wire;
            this.memory = memory;
            this.timeout = timeout;
            this.idleTimeout = idleTimeout;
        }

        @Override
        public void run() {
            try (wire) {
                boolean open = true;
                while (open) {
                    wire.readFully(header.clear(), idleTimeout);
                    open = answer(TeFraming.request(header));
                }
            } catch (EOFException | AsynchronousCloseException e) {
                LOG.debug("a Transfer Engine connection ended: {}", e.getMessage());
            } catch (IOException e) {
                LOG.info("a Transfer Engine connection was dropped: {}", e.toString());
            }
        }

        /// @return whether the connection stays open
        private boolean answer(Request request) throws IOException {
            Optional<Access> access =
                    memory.begin(request.operation(), request.address(), request.length(), wire::abort);
            if (access.isEmpty()) {
                LOG.warn(
                        "a Transfer Engine asked to {} {} bytes at {}, which are not open to it",
                        request.operation(),
                        request.length(),
                        Long.toHexString(request.address()));
                send(TeFraming.REJECTED);
                return false;
            }
            boolean complete = false;
            try {
                if (request.operation() == Operation.WRITE) {
                    for (ByteBuffer piece : access.get().pieces()) {
                        wire.readSteadily(new ByteBuffer[] {piece}, timeout);
                    }
                } else {
                    send(TeFraming.OK);
                    for (ByteBuffer piece : access.get().pieces()) {
                        wire.writeSteadily(new ByteBuffer[] {piece}, timeout);
                    }
                }
                complete = true;
            } finally {
                access.get().end(complete);
            }
            if (request.operation() == Operation.WRITE) {
                send(TeFraming.OK); // only now: who hears it relies on the bytes
            }
            return true;
        }

        private void send(long code) throws IOException {
            status.clear().putLong(code).flip();
            wire.writeSteadily(new ByteBuffer[] {status}, timeout);
        }

        @Override
        public void abort() {
            wire.abort();
        }
    }
}
