package dev.baton.wire;

import java.io.Closeable;
import java.io.EOFException;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketTimeoutException;
import java.net.StandardSocketOptions;
import java.nio.ByteBuffer;
import java.nio.channels.AsynchronousCloseException;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Queue;

/// One TCP connection with a deadline on every wait.
///
/// Owned by one thread at a time, which reads, writes and closes; any thread may [#abort()] it, after which the
/// owner's current and later calls throw within moments, and any may [#send]. A plain blocking channel has no
/// deadlines, therefore the channel is non-blocking with a selector of its own that waits only when the socket
/// has nothing to give or take.
///
/// Reads and writes of off-heap buffers go straight between the socket and that memory.
public final class Wire implements Closeable {
    private static final long LONGEST_SELECT_MILLIS = 1_000;

    /// Of messages that wait for the peer to take them.
    private static final long MAX_WAITING_BYTES = 16 << 20;

    private final SocketChannel channel;
    private final Selector selector;
    private final SelectionKey key;
    private final Queue<ByteBuffer> outbox = new ArrayDeque<>(); // guarded by itself
    private long waitingBytes; // guarded by outbox
    private volatile boolean hasWaiting;
    private volatile boolean aborted;

    private Wire(SocketChannel channel, Selector selector, SelectionKey key) {
        this.channel = channel;
        this.selector = selector;
        this.key = key;
    }

    /// Takes a channel over; it is closed if that fails.
    public static Wire over(SocketChannel channel) throws IOException {
        try {
            Selector selector = Selector.open();
            try {
                channel.configureBlocking(false);
                channel.setOption(StandardSocketOptions.TCP_NODELAY, true);
                channel.setOption(StandardSocketOptions.SO_KEEPALIVE, true); // finds peers whose machine is gone
                return new Wire(channel, selector, channel.register(selector, 0));
            } catch (IOException | RuntimeException e) {
                selector.close();
                throw e;
            }
        } catch (IOException | RuntimeException e) {
            channel.close();
            throw e;
        }
    }

    /// A connection that is not open yet.
    public static Wire unconnected() throws IOException {
        return over(SocketChannel.open());
    }

    /// Connects, within the timeout.
    public void connect(String host, int port, Duration timeout) throws IOException {
        long deadline = deadline(timeout);
        checkAborted();
        if (!channel.connect(new InetSocketAddress(InetAddress.getByName(host), port))) {
            do {
                await(SelectionKey.OP_CONNECT, deadline);
            } while (!channel.finishConnect());
        }
    }

    /// Reads until the buffer is full, within the timeout as a whole.
    public void readFully(ByteBuffer target, Duration timeout) throws IOException {
        long deadline = deadline(timeout);
        while (target.hasRemaining()) {
            checkAborted();
            int n = channel.read(target);
            if (n < 0) {
                throw new EOFException("the peer closed the connection");
            }
            if (n == 0) {
                await(SelectionKey.OP_READ, deadline);
            }
        }
    }

    /// Reads into the buffers in order until the first is full; the timeout begins anew with every byte that comes.
    ///
    /// @param targets the first must be filled; the others take what follows it
    public void readSteadily(ByteBuffer[] targets, Duration timeout) throws IOException {
        long deadline = deadline(timeout);
        while (targets[0].hasRemaining()) {
            checkAborted();
            long n = targets.length == 1 ? channel.read(targets[0]) : channel.read(targets);
            if (n < 0) {
                throw new EOFException("the peer closed the connection");
            }
            if (n == 0) {
                await(SelectionKey.OP_READ, deadline);
            } else {
                deadline = deadline(timeout);
            }
        }
    }

    /// Writes all buffers in order; the timeout begins anew with every byte that is taken.
    public void writeSteadily(ByteBuffer[] sources, Duration timeout) throws IOException {
        ByteBuffer last = sources[sources.length - 1];
        long deadline = deadline(timeout);
        while (last.hasRemaining()) {
            checkAborted();
            long n = sources.length == 1 ? channel.write(last) : channel.write(sources);
            if (n == 0) {
                await(SelectionKey.OP_WRITE, deadline);
            } else {
                deadline = deadline(timeout);
            }
        }
    }

    /// Sends a message as a whole, from any thread: what the socket takes at once, then the rest while the
    /// owner waits for something. Not to be mixed with [#writeSteadily].
    ///
    /// @param message taken over
    /// @throws SocketTimeoutException if too much waits already; the owner is made to stop then
    public void send(ByteBuffer message) throws IOException {
        synchronized (outbox) {
            checkAborted();
            if (outbox.isEmpty()) {
                channel.write(message);
            }
            if (message.hasRemaining()) {
                waitingBytes += message.remaining();
                if (waitingBytes > MAX_WAITING_BYTES) {
                    abort(); // half a message would be the end of sense
                    throw new SocketTimeoutException("the peer does not take what is sent to it");
                }
                outbox.add(message);
                hasWaiting = true;
                selector.wakeup();
            }
        }
    }

    /// Waits until the socket has taken all that was sent.
    public void flush(Duration timeout) throws IOException {
        long deadline = deadline(timeout);
        sendWaiting();
        while (hasWaiting) {
            await(0, deadline);
        }
    }

    private void sendWaiting() throws IOException {
        synchronized (outbox) {
            checkAborted();
            for (ByteBuffer next = outbox.peek(); next != null; next = outbox.peek()) {
                waitingBytes -= channel.write(next);
                if (next.hasRemaining()) {
                    return;
                }
                outbox.remove();
            }
            hasWaiting = false;
        }
    }

    /// Whether a read would not wait: bytes are there, or the end.
    public boolean hasInput() throws IOException {
        checkAborted();
        key.interestOps(SelectionKey.OP_READ);
        boolean ready = selector.selectNow() > 0;
        selector.selectedKeys().clear();
        return ready;
    }

    /// Makes the owner stop: no byte moves in a call that begins after this one returns. From any thread.
    public void abort() {
        aborted = true;
        selector.wakeup();
    }

    /// Owner only.
    @Override
    public void close() {
        try {
            selector.close();
        } catch (IOException e) {
            // nothing is left to do with it
        }
        try {
            channel.close();
        } catch (IOException e) {
            // nothing is left to do with it
        }
    }

    private static long deadline(Duration timeout) {
        return System.nanoTime() + timeout.toNanos();
    }

    private void checkAborted() throws IOException {
        if (aborted) {
            throw new AsynchronousCloseException();
        }
    }

    private void await(int operation, long deadlineNanos) throws IOException {
        long millis = Math.ceilDiv(deadlineNanos - System.nanoTime(), 1_000_000L);
        if (millis <= 0) {
            throw new SocketTimeoutException("no progress in time");
        }
        key.interestOps(hasWaiting ? operation | SelectionKey.OP_WRITE : operation);
        // Looked at anew once a second: on a loaded machine a selector has been seen to sleep on beside bytes.
        selector.select(Math.min(millis, LONGEST_SELECT_MILLIS));
        selector.selectedKeys().clear();
        checkAborted();
        if (hasWaiting) {
            sendWaiting();
        }
    }
}
