package dev.baton.wire;

import java.io.Closeable;
import java.io.IOException;
import java.net.ConnectException;
import java.net.ProtocolException;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.List;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;

/// The connecting side of ZeroMQ for one who asks: each question is a REQ of its own, with a connection that
/// ends with the answer. Thread-safe; the asking thread waits.
public final class ZmtpRequests implements Closeable {
    private final Set<Wire> asking = ConcurrentHashMap.newKeySet();
    private volatile boolean closed;

    /// Asks, and waits for the answer.
    ///
    /// @param maxAnswerBytes all frames together
    /// @param connectTimeout until the peer's machine has answered
    /// @param timeout for all of it
    /// @return the frames of the answer
    /// @throws ConnectException if nobody listens there, or the machine does not answer
    /// @throws SocketTimeoutException if no answer comes in time
    /// @throws IOException if it is none, or the connection breaks
    public List<byte[]> ask(
            String host, int port, byte[] question, int maxAnswerBytes, Duration connectTimeout, Duration timeout)
            throws IOException {
        long deadline = System.nanoTime() + timeout.toNanos();
        try (Wire wire = Wire.unconnected()) {
            asking.add(wire);
            try {
                if (closed) {
                    wire.abort();
                }
                connect(wire, host, port, connectTimeout);
                Zmtp channel = new Zmtp(wire, Zmtp.SocketType.REQ, maxAnswerBytes);
                channel.greet(until(deadline));
                channel.send(List.of(new byte[0], question));
                List<byte[]> answer = channel.receive(until(deadline));
                if (answer.size() < 2 || answer.getFirst().length > 0) {
                    throw new ProtocolException("an answer that is none to a REQ: its first frame must be empty");
                }
                return answer.subList(1, answer.size());
            } finally {
                asking.remove(wire);
            }
        }
    }

    private static void connect(Wire wire, String host, int port, Duration timeout) throws IOException {
        try {
            wire.connect(host, port, timeout);
        } catch (SocketTimeoutException e) {
            throw (IOException) new ConnectException("no connection within " + timeout).initCause(e);
        }
    }

    private static Duration until(long deadlineNanos) {
        return Duration.ofNanos(Math.max(1, deadlineNanos - System.nanoTime()));
    }

    /// Ends the questions that wait for an answer, and refuses more.
    @Override
    public void close() {
        closed = true;
        asking.forEach(Wire::abort);
    }
}
