package dev.baton.transfer.mooncake;

import dev.baton.transfer.mooncake.TeMemory.Operation;
import dev.baton.wire.Wire;
import java.io.Closeable;
import java.io.IOException;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.time.Duration;

/// The asking end of a Transfer Engine's data connection: writes into, and reads from, memory that the peer
/// registered.
///
/// Writes are pipelined: up to [#MAX_UNACKNOWLEDGED] may wait for their status, which is far less than what the
/// sockets hold, so that neither side can block the other for good.
///
/// Owned by one thread at a time; any thread may [#abort()] it. After an exception it must be closed.
final class TeConnection implements Closeable {
    /// Writes whose status has not been read yet, at most.
    static final int MAX_UNACKNOWLEDGED = 32;

    private final Wire wire;
    private final Duration timeout;
    private final ByteBuffer header = TeFraming.buffer(TeFraming.HEADER_BYTES);
    private final ByteBuffer status = TeFraming.buffer(TeFraming.STATUS_BYTES);
    private int unacknowledged;
    private boolean open;

    /// A connection that is not open yet, so that opening it can be aborted.
    ///
    /// @param timeout how long the peer may take no bytes, or send none
    TeConnection(Duration timeout) throws IOException {
        this.wire = Wire.unconnected();
        this.timeout = timeout;
    }

    /// Whether it was opened before, and may have gone stale since.
    boolean isOpen() {
        return open;
    }

    /// Connects to where an engine takes data.
    ///
    /// @param handshakeHost the host that told the descriptor
    void open(TeHandshake.Descriptor peer, String handshakeHost, Duration connectTimeout) throws IOException {
        if (peer.version() < TeHandshake.ACKNOWLEDGED_VERSION) {
            throw new ProtocolException("the Transfer Engine speaks version %d of its framing, needed is %d"
                    .formatted(peer.version(), TeHandshake.ACKNOWLEDGED_VERSION));
        }
        wire.connect(peer.dataHost().isEmpty() ? handshakeHost : peer.dataHost(), peer.dataPort(), connectTimeout);
        open = true;
    }

    /// Writes bytes to a peer's address. The peer has them only after [#awaitWritten].
    ///
    /// @param pieces the bytes in order, at least one piece; their positions move
    /// @param length of all pieces together
    void write(long address, ByteBuffer[] pieces, long length) throws IOException {
        if (unacknowledged == MAX_UNACKNOWLEDGED) {
            readStatus();
        }
        TeFraming.putHeader(header, Operation.WRITE, address, length);
        ByteBuffer[] all = new ByteBuffer[pieces.length + 1];
        all[0] = header;
        System.arraycopy(pieces, 0, all, 1, pieces.length);
        unacknowledged++;
        wire.writeSteadily(all, timeout);
    }

    /// Returns when the peer has acknowledged every write.
    void awaitWritten() throws IOException {
        while (unacknowledged > 0) {
            readStatus();
        }
    }

    /// Reads bytes from a peer's address until the buffer is full.
    void read(long address, ByteBuffer target) throws IOException {
        awaitWritten();
        TeFraming.putHeader(header, Operation.READ, address, target.remaining());
        wire.writeSteadily(new ByteBuffer[] {header}, timeout);
        unacknowledged++;
        readStatus();
        wire.readSteadily(new ByteBuffer[] {target}, timeout);
    }

    private void readStatus() throws IOException {
        wire.readFully(status.clear(), timeout);
        unacknowledged--;
        long code = status.getLong(0);
        if (code == TeFraming.REJECTED) {
            throw new ProtocolException("the Transfer Engine rejected the address: it is not, or no longer, open");
        }
        if (code != TeFraming.OK) {
            throw new ProtocolException("the Transfer Engine answered with status " + Long.toHexString(code));
        }
    }

    /// Makes the owner stop soon; from any thread.
    void abort() {
        wire.abort();
    }

    @Override
    public void close() {
        wire.close();
    }
}
