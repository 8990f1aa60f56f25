package dev.baton.transfer.mooncake;

import dev.baton.transfer.tcp.Wire;
import java.io.IOException;
import java.net.ProtocolException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;

/// One connection of the side channel: ZeroMQ's wire protocol, ZMTP 3.1, as far as a DEALER and a ROUTER need
/// it that exchange messages of one frame, without security.
///
/// Spoken here rather than through a ZeroMQ library because a load must end when its connection does, which a
/// ZeroMQ socket hides: it reconnects, and keeps quiet about it. Specification: rfc.zeromq.org/spec/37.
///
/// Owned by one thread, which reads; [#send] and [#abort] may be called by any.
final class Zmtp {
    private static final int GREETING_BYTES = 64;
    private static final int VERSION_OFFSET = 10;
    private static final int MECHANISM_OFFSET = 12;
    private static final int MECHANISM_BYTES = 20;
    private static final byte[] NULL_MECHANISM = {'N', 'U', 'L', 'L'};

    private static final int MORE = 1;
    private static final int LONG = 2;
    private static final int COMMAND = 4;
    private static final int MAX_SHORT_BYTES = 255;
    private static final int MAX_COMMAND_BYTES = 8 << 10;
    private static final int PING_TTL_BYTES = 2;
    private static final int MAX_PING_CONTEXT_BYTES = 16;

    private final Wire wire;
    private final String socketType;
    private final int maxMessageBytes;

    /// @param wire whose reader is this connection's owner
    /// @param socketType what this side is, `DEALER` or `ROUTER`
    /// @param maxMessageBytes longest message that is read
    Zmtp(Wire wire, String socketType, int maxMessageBytes) {
        this.wire = wire;
        this.socketType = socketType;
        this.maxMessageBytes = maxMessageBytes;
    }

    /// Greets and is greeted; before anything else.
    ///
    /// @param timeout bound on each of the two steps
    void greet(Duration timeout) throws IOException {
        ByteBuffer greeting = ByteBuffer.allocate(GREETING_BYTES);
        greeting.put(0, (byte) 0xff)
                .put(9, (byte) 0x7f)
                .put(VERSION_OFFSET, (byte) 3)
                .put(VERSION_OFFSET + 1, (byte) 1);
        greeting.put(MECHANISM_OFFSET, NULL_MECHANISM);
        write(greeting);
        ByteBuffer theirs = ByteBuffer.allocate(GREETING_BYTES);
        wire.readFully(theirs, timeout);
        byte[] mechanism = Arrays.copyOf(NULL_MECHANISM, MECHANISM_BYTES);
        if (theirs.get(0) != (byte) 0xff || (theirs.get(9) & 1) == 0 || theirs.get(VERSION_OFFSET) < 3) {
            throw new ProtocolException("a peer that does not speak ZMTP 3");
        }
        if (!Arrays.equals(
                mechanism, Arrays.copyOfRange(theirs.array(), MECHANISM_OFFSET, MECHANISM_OFFSET + MECHANISM_BYTES))) {
            throw new ProtocolException("a ZeroMQ peer that wants another security mechanism than NULL");
        }
        ByteBuffer ready = ByteBuffer.allocate(MAX_SHORT_BYTES);
        put(ready, "READY");
        put(ready, "Socket-Type");
        byte[] type = socketType.getBytes(StandardCharsets.US_ASCII);
        ready.putInt(type.length).put(type);
        put(ready, "Identity");
        ready.putInt(0).flip();
        write(frame(COMMAND, ready));
        Frame answer = read(timeout);
        if (!answer.isCommand("READY")) {
            throw new ProtocolException("a ZeroMQ peer that is not ready for a %s".formatted(socketType));
        }
    }

    private static void put(ByteBuffer target, String name) {
        byte[] bytes = name.getBytes(StandardCharsets.US_ASCII);
        target.put((byte) bytes.length).put(bytes);
    }

    /// Sends a message, which must fit into what the socket takes at once: a peer that lets messages pile up until
    /// then is not worth waiting for.
    void send(byte[] message) throws IOException {
        write(frame(0, ByteBuffer.wrap(message)));
    }

    /// Asks the peer for a sign of life.
    void ping() throws IOException {
        ByteBuffer ping = ByteBuffer.allocate(8);
        put(ping, "PING");
        ping.putShort((short) 0).flip();
        write(frame(COMMAND, ping));
    }

    /// Waits for the next message, and answers pings meanwhile.
    ///
    /// @param silence how long the peer may send nothing
    /// @param pingEvery how long it may before it is asked for a sign of life
    byte[] receive(Duration silence, Duration pingEvery) throws IOException {
        while (true) {
            Frame frame = await(silence, pingEvery);
            if (!frame.isCommand()) {
                if ((frame.flags & MORE) != 0) {
                    throw new ProtocolException("a ZeroMQ message of several frames; needed is one");
                }
                return frame.body;
            }
            if (frame.isCommand("PING")) {
                pong(frame.body);
            }
        }
    }

    private void pong(byte[] ping) throws IOException {
        int from = Math.min(ping.length, 1 + "PING".length() + PING_TTL_BYTES);
        int to = Math.min(ping.length, from + MAX_PING_CONTEXT_BYTES);
        ByteBuffer pong = ByteBuffer.allocate(1 + "PONG".length() + MAX_PING_CONTEXT_BYTES);
        put(pong, "PONG");
        pong.put(ping, from, to - from).flip();
        write(frame(COMMAND, pong));
    }

    /// Makes the owner stop soon; from any thread.
    void abort() {
        wire.abort();
    }

    private record Frame(int flags, byte[] body) {
        boolean isCommand() {
            return (flags & COMMAND) != 0;
        }

        boolean isCommand(String name) {
            byte[] bytes = name.getBytes(StandardCharsets.US_ASCII);
            return isCommand()
                    && body.length > bytes.length
                    && body[0] == bytes.length
                    && Arrays.equals(bytes, Arrays.copyOfRange(body, 1, 1 + bytes.length));
        }
    }

    private Frame read(Duration timeout) throws IOException {
        return await(timeout, timeout);
    }

    private Frame await(Duration silence, Duration pingEvery) throws IOException {
        ByteBuffer flags = ByteBuffer.allocate(1);
        long deadline = System.nanoTime() + silence.toNanos();
        while (flags.hasRemaining()) {
            long left = deadline - System.nanoTime();
            try {
                wire.readFully(flags, Duration.ofNanos(Math.max(1, Math.min(left, pingEvery.toNanos()))));
            } catch (SocketTimeoutException e) {
                if (deadline - System.nanoTime() <= 0) {
                    throw e;
                }
                ping();
            }
        }
        return body(flags.get(0), silence);
    }

    private Frame body(int flags, Duration timeout) throws IOException {
        if ((flags & ~(MORE | LONG | COMMAND)) != 0) {
            throw new ProtocolException("a ZeroMQ frame with flags " + (flags & 0xff));
        }
        ByteBuffer length = ByteBuffer.allocate((flags & LONG) != 0 ? Long.BYTES : Byte.BYTES);
        wire.readFully(length, timeout);
        long bytes = (flags & LONG) != 0 ? length.getLong(0) : length.get(0) & 0xff;
        int most = (flags & COMMAND) != 0 ? MAX_COMMAND_BYTES : maxMessageBytes;
        if (bytes < 0 || bytes > most) {
            throw new ProtocolException(
                    "a ZeroMQ frame of %s bytes; at most %d are allowed".formatted(Long.toUnsignedString(bytes), most));
        }
        ByteBuffer body = ByteBuffer.allocate((int) bytes);
        wire.readFully(body, timeout);
        return new Frame(flags, body.array());
    }

    private static ByteBuffer frame(int flags, ByteBuffer body) {
        ByteBuffer frame = ByteBuffer.allocate(1 + Long.BYTES + body.remaining());
        if (body.remaining() > MAX_SHORT_BYTES) {
            frame.put((byte) (flags | LONG)).putLong(body.remaining());
        } else {
            frame.put((byte) flags).put((byte) body.remaining());
        }
        return frame.put(body).flip();
    }

    private void write(ByteBuffer bytes) throws IOException {
        wire.writeNow(bytes);
    }
}
