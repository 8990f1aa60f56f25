package dev.baton.wire;

import java.io.Closeable;
import java.io.IOException;
import java.time.Duration;
import org.jspecify.annotations.Nullable;

/// The connecting side of ZeroMQ for one who only tells: a DEALER or a PUSH that connects when there is
/// something to say, and again when the peer has gone meanwhile. What comes back is passed over.
///
/// Owned by one thread.
public final class ZmtpSender implements Closeable {
    private static final int MAX_INPUT_BYTES = 64 << 10;

    private final Zmtp.SocketType type;
    private final byte[] identity;
    private final String host;
    private final int port;
    private final Duration timeout;
    private @Nullable Open open;

    private record Open(Wire wire, Zmtp channel) {
        void send(byte[] message, Duration timeout) throws IOException {
            while (wire.hasInput()) {
                channel.skip(timeout);
            }
            channel.send(message);
            wire.flush(timeout);
        }
    }

    /// @param identity how the peer knows this side; empty if it need not
    /// @param timeout bound on connecting, on greeting and on sending, each
    public ZmtpSender(Zmtp.SocketType type, byte[] identity, String host, int port, Duration timeout) {
        this.type = type;
        this.identity = identity.clone();
        this.host = host;
        this.port = port;
        this.timeout = timeout;
    }

    /// Hands a message to the system's network. Whether the peer reads it is not known.
    ///
    /// @throws IOException if there is no peer, or it does not take it in time
    public void send(byte[] message) throws IOException {
        Open known = open;
        if (known != null) {
            try {
                known.send(message, timeout);
                return;
            } catch (IOException e) {
                close(); // and once more over a new connection
            }
        }
        connect().send(message, timeout);
    }

    private Open connect() throws IOException {
        Wire wire = Wire.unconnected();
        try {
            wire.connect(host, port, timeout);
            Zmtp channel = new Zmtp(wire, type, identity, MAX_INPUT_BYTES);
            channel.greet(timeout);
            Open made = new Open(wire, channel);
            open = made;
            return made;
        } catch (IOException | RuntimeException e) {
            wire.close();
            throw e;
        }
    }

    /// Ends the connection; what was sent still arrives. May be used again.
    @Override
    public void close() {
        if (open != null) {
            open.wire().close();
            open = null;
        }
    }
}
