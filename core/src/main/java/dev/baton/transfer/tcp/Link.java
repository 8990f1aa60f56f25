package dev.baton.transfer.tcp;

import dev.baton.wire.Wire;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.time.Duration;

/// What the protocol needs of a connection: a stream of bytes each way, with a deadline on every wait. A [Wire], or
/// something that behaves like one.
///
/// Owned by one thread at a time, which reads, writes and closes; any thread may [#abort()] it.
interface Link extends Closeable {
    /// As [Wire#connect].
    void connect(String host, int port, Duration timeout) throws IOException;

    /// As [Wire#readFully].
    void readFully(ByteBuffer target, Duration timeout) throws IOException;

    /// As [Wire#readSteadily].
    void readSteadily(ByteBuffer[] targets, Duration timeout) throws IOException;

    /// As [Wire#writeSteadily].
    void writeSteadily(ByteBuffer[] sources, Duration timeout) throws IOException;

    /// As [Wire#hasInput].
    boolean hasInput() throws IOException;

    /// As [Wire#abort].
    void abort();

    @Override
    void close();

    /// A TCP connection.
    static Link over(Wire wire) {
        return new Socket(wire);
    }

    /// A TCP connection.
    record Socket(Wire wire) implements Link {
        @Override
        public void connect(String host, int port, Duration timeout) throws IOException {
            wire.connect(host, port, timeout);
        }

        @Override
        public void readFully(ByteBuffer target, Duration timeout) throws IOException {
            wire.readFully(target, timeout);
        }

        @Override
        public void readSteadily(ByteBuffer[] targets, Duration timeout) throws IOException {
            wire.readSteadily(targets, timeout);
        }

        @Override
        public void writeSteadily(ByteBuffer[] sources, Duration timeout) throws IOException {
            wire.writeSteadily(sources, timeout);
        }

        @Override
        public boolean hasInput() throws IOException {
            return wire.hasInput();
        }

        @Override
        public void abort() {
            wire.abort();
        }

        @Override
        public void close() {
            wire.close();
        }
    }
}
