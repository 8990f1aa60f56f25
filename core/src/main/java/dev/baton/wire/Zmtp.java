package dev.baton.wire;

import java.io.IOException;
import java.net.ProtocolException;
import java.net.SocketTimeoutException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/// One connection of ZeroMQ's wire protocol, ZMTP 3.1 without security: greeting, messages of several frames,
/// heartbeats.
///
/// Spoken here rather than through a ZeroMQ library because a question must end when its connection does, which
/// a ZeroMQ socket hides: it reconnects, and keeps quiet about it. Specification: rfc.zeromq.org/spec/37. A
/// REQ's empty first frame is the caller's affair.
///
/// Every length is compared with a limit before memory is taken, and memory is taken as bytes come. Owned by one
/// thread, which reads; [#send] and [#abort] may be called by any.
public final class Zmtp {
    /// What a side of a connection is.
    public enum SocketType {
        /// Asks and answers as it likes.
        DEALER,
        /// Takes from many and answers each.
        ROUTER,
        /// Asks and waits for the answer.
        REQ,
        /// Only sends.
        PUSH,
        /// Only takes.
        PULL;

        /// Whether ZeroMQ lets a peer of that type talk to one of this.
        private boolean talksTo(String peer) {
            return switch (this) {
                case DEALER -> peer.equals("ROUTER") || peer.equals("DEALER") || peer.equals("REP");
                case ROUTER -> peer.equals("DEALER") || peer.equals("REQ") || peer.equals("ROUTER");
                case REQ -> peer.equals("ROUTER") || peer.equals("REP");
                case PUSH -> peer.equals("PULL");
                case PULL -> peer.equals("PUSH");
            };
        }
    }

    /// Longest identity that ZeroMQ allows.
    public static final int MAX_IDENTITY_BYTES = 255;

    /// Most frames of one message that are read.
    public static final int MAX_FRAMES = 16;

    private static final Duration FOREVER = Duration.ofDays(36_500);

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
    private static final int FIRST_BYTES = 64 << 10; // of a frame, before more memory is taken for it

    private final Wire wire;
    private final SocketType type;
    private final byte[] identity;
    private final int maxMessageBytes;
    private boolean knowsPings;
    private byte[] peerIdentity = {};

    /// @param wire whose reader is this connection's owner
    /// @param type what this side is
    /// @param identity how the peer knows this side; empty if it need not
    /// @param maxMessageBytes longest message that is read, all frames together
    public Zmtp(Wire wire, SocketType type, byte[] identity, int maxMessageBytes) {
        if (identity.length > MAX_IDENTITY_BYTES) {
            throw new IllegalArgumentException(
                    "an identity of %d bytes; at most %d are allowed".formatted(identity.length, MAX_IDENTITY_BYTES));
        }
        this.wire = wire;
        this.type = type;
        this.identity = identity.clone();
        this.maxMessageBytes = maxMessageBytes;
    }

    /// Without an identity.
    public Zmtp(Wire wire, SocketType type, int maxMessageBytes) {
        this(wire, type, new byte[0], maxMessageBytes);
    }

    /// Greets and is greeted; before anything else.
    ///
    /// @param timeout bound on all of it
    /// @throws ProtocolException if the peer speaks something else, or is nobody to talk to
    public void greet(Duration timeout) throws IOException {
        long deadline = System.nanoTime() + timeout.toNanos();
        ByteBuffer greeting = ByteBuffer.allocate(GREETING_BYTES);
        greeting.put(0, (byte) 0xff)
                .put(9, (byte) 0x7f)
                .put(VERSION_OFFSET, (byte) 3)
                .put(VERSION_OFFSET + 1, (byte) 1);
        greeting.put(MECHANISM_OFFSET, NULL_MECHANISM);
        wire.send(greeting);
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
        knowsPings = theirs.get(VERSION_OFFSET) > 3 || theirs.get(VERSION_OFFSET + 1) > 0;
        ByteBuffer ready = ByteBuffer.allocate(2 * MAX_SHORT_BYTES);
        put(ready, "READY");
        put(ready, "Socket-Type");
        byte[] name = type.name().getBytes(StandardCharsets.US_ASCII);
        ready.putInt(name.length).put(name);
        put(ready, "Identity");
        ready.putInt(identity.length).put(identity).flip();
        wire.send(frames(COMMAND, List.of(bytes(ready))));
        Duration left = Duration.ofNanos(Math.max(1, deadline - System.nanoTime()));
        checkReady(await(left, left, deadline, 0));
    }

    private void checkReady(Frame answer) throws ProtocolException {
        if (answer.isCommand("ERROR")) {
            throw new ProtocolException("a ZeroMQ peer that refuses a " + type);
        }
        if (!answer.isCommand("READY")) {
            throw new ProtocolException("a ZeroMQ peer that is not ready for a %s".formatted(type));
        }
        ByteBuffer properties = ByteBuffer.wrap(answer.body);
        properties.position(1 + "READY".length());
        String theirType = "";
        while (properties.hasRemaining()) {
            byte[] name = part(properties, properties.get() & 0xff);
            if (properties.remaining() < Integer.BYTES) {
                throw new ProtocolException("a ZeroMQ peer whose READY ends early");
            }
            byte[] value = part(properties, properties.getInt());
            switch (new String(name, StandardCharsets.US_ASCII).toLowerCase(Locale.ROOT)) {
                case "socket-type" -> theirType = new String(value, StandardCharsets.US_ASCII);
                case "identity" -> peerIdentity = value;
                default -> {} // theirs
            }
        }
        if (!type.talksTo(theirType)) {
            throw new ProtocolException("a ZeroMQ peer of a type that does not talk to a %s".formatted(type));
        }
    }

    private static byte[] part(ByteBuffer source, int length) throws ProtocolException {
        if (length < 0 || length > source.remaining()) {
            throw new ProtocolException("a ZeroMQ peer whose READY ends early");
        }
        byte[] part = new byte[length];
        source.get(part);
        return part;
    }

    private static void put(ByteBuffer target, String name) {
        byte[] bytes = name.getBytes(StandardCharsets.US_ASCII);
        target.put((byte) bytes.length).put(bytes);
    }

    private static byte[] bytes(ByteBuffer source) {
        byte[] bytes = new byte[source.remaining()];
        source.get(bytes);
        return bytes;
    }

    /// How the peer wants to be known; empty if it did not say. Valid after the greeting.
    public byte[] peerIdentity() {
        return peerIdentity.clone();
    }

    /// Sends a message: what the socket does not take at once goes while the owner waits for something.
    ///
    /// @throws SocketTimeoutException if the peer has let too much pile up
    public void send(List<byte[]> message) throws IOException {
        wire.send(frames(0, message));
    }

    /// Sends a message of one frame.
    public void send(byte[] message) throws IOException {
        send(List.of(message));
    }

    /// Sends one frame of a message straight from its memory. Owner only.
    ///
    /// @param more whether further frames of the message follow
    /// @param timeout begins anew with every byte that is taken
    public void sendFrame(ByteBuffer body, boolean more, Duration timeout) throws IOException {
        wire.flush(timeout);
        ByteBuffer head = ByteBuffer.allocate(1 + Long.BYTES);
        head.put((byte) (more ? MORE | LONG : LONG)).putLong(body.remaining()).flip();
        wire.writeSteadily(new ByteBuffer[] {head, body}, timeout);
    }

    /// Receives one frame of a message straight into memory, which it has to fill. Owner only.
    ///
    /// @param timeout begins anew with every byte that comes
    /// @return whether further frames of the message follow
    public boolean receiveFrame(ByteBuffer target, Duration timeout) throws IOException {
        while (true) {
            ByteBuffer flags = ByteBuffer.allocate(1);
            wire.readFully(flags, timeout);
            if ((flags.get(0) & COMMAND) != 0) {
                passOver(body(flags.get(0), timeout, 0));
                continue;
            }
            long bytes = length(flags.get(0), timeout);
            if (bytes != target.remaining()) {
                throw new ProtocolException("a ZeroMQ frame of %s bytes; needed are %d"
                        .formatted(Long.toUnsignedString(bytes), target.remaining()));
            }
            if (bytes > 0) {
                wire.readSteadily(new ByteBuffer[] {target}, timeout);
            }
            return (flags.get(0) & MORE) != 0;
        }
    }

    private void ping() throws IOException {
        ByteBuffer ping = ByteBuffer.allocate(8);
        put(ping, "PING");
        ping.putShort((short) 0).flip();
        wire.send(frames(COMMAND, List.of(bytes(ping))));
    }

    /// Waits for the next message, and answers pings meanwhile.
    ///
    /// @param timeout bound on all of it
    public List<byte[]> receive(Duration timeout) throws IOException {
        return receive(timeout, timeout, timeout);
    }

    /// Waits for the next message for as long as the peer gives signs of life.
    ///
    /// @param silence how long the peer may send nothing
    /// @param pingEvery how long it may before it is asked for a sign of life
    public List<byte[]> receive(Duration silence, Duration pingEvery) throws IOException {
        return receive(silence, pingEvery, FOREVER);
    }

    /// Waits for the next message for as long as the peer gives signs of life, but not for ever.
    ///
    /// @param timeout bound on all of it
    public List<byte[]> receive(Duration silence, Duration pingEvery, Duration timeout) throws IOException {
        long deadline = System.nanoTime() + timeout.toNanos();
        List<byte[]> frames = new ArrayList<>();
        int left = maxMessageBytes;
        while (true) {
            Frame frame = await(silence, pingEvery, deadline, left);
            passOver(frame);
            if (!frame.isCommand()) {
                frames.add(frame.body);
                left -= frame.body.length;
                if ((frame.flags & MORE) == 0) {
                    return frames;
                }
                if (frames.size() == MAX_FRAMES) {
                    throw new ProtocolException("a ZeroMQ message of more than %d frames".formatted(MAX_FRAMES));
                }
            }
        }
    }

    /// Takes the next frame and passes it over, but for a ping, which is answered.
    public void skip(Duration timeout) throws IOException {
        passOver(await(timeout, timeout, System.nanoTime() + timeout.toNanos(), maxMessageBytes));
    }

    private void passOver(Frame frame) throws IOException {
        if (frame.isCommand("PING")) {
            pong(frame.body);
        }
    }

    /// A message of one frame.
    ///
    /// @throws ProtocolException if it has several
    public static byte[] single(List<byte[]> message) throws ProtocolException {
        if (message.size() != 1) {
            throw new ProtocolException("a ZeroMQ message of %d frames; needed is one".formatted(message.size()));
        }
        return message.getFirst();
    }

    private void pong(byte[] ping) throws IOException {
        int from = Math.min(ping.length, 1 + "PING".length() + PING_TTL_BYTES);
        int to = Math.min(ping.length, from + MAX_PING_CONTEXT_BYTES);
        ByteBuffer pong = ByteBuffer.allocate(1 + "PONG".length() + MAX_PING_CONTEXT_BYTES);
        put(pong, "PONG");
        pong.put(ping, from, to - from).flip();
        wire.send(frames(COMMAND, List.of(bytes(pong))));
    }

    /// Makes the owner stop soon; from any thread.
    public void abort() {
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

    /// @param most bytes of it, if it is no command
    private Frame await(Duration silence, Duration pingEvery, long deadlineNanos, int most) throws IOException {
        ByteBuffer flags = ByteBuffer.allocate(1);
        long start = System.nanoTime();
        long deadline = start + Math.min(silence.toNanos(), deadlineNanos - start);
        while (flags.hasRemaining()) {
            long left = deadline - System.nanoTime();
            try {
                wire.readFully(flags, Duration.ofNanos(Math.max(1, Math.min(left, pingEvery.toNanos()))));
            } catch (SocketTimeoutException e) {
                if (deadline - System.nanoTime() <= 0) {
                    throw e;
                }
                if (knowsPings) {
                    ping();
                }
            }
        }
        Duration rest = Duration.ofNanos(Math.max(1, Math.min(silence.toNanos(), deadlineNanos - System.nanoTime())));
        return body(flags.get(0), rest, most);
    }

    private Frame body(int flags, Duration timeout, int most) throws IOException {
        long bytes = length(flags, timeout);
        int allowed = (flags & COMMAND) != 0 ? MAX_COMMAND_BYTES : most;
        if (bytes < 0 || bytes > allowed) {
            throw new ProtocolException("a ZeroMQ frame of %s bytes; at most %d are allowed"
                    .formatted(Long.toUnsignedString(bytes), allowed));
        }
        byte[] body = new byte[(int) Math.min(bytes, FIRST_BYTES)];
        int have = 0;
        while (have < bytes) {
            if (have == body.length) {
                body = Arrays.copyOf(body, (int) Math.min(bytes, 2L * have));
            }
            wire.readFully(ByteBuffer.wrap(body, have, body.length - have), timeout);
            have = body.length;
        }
        return new Frame(flags, body);
    }

    private long length(int flags, Duration timeout) throws IOException {
        if ((flags & ~(MORE | LONG | COMMAND)) != 0) {
            throw new ProtocolException("a ZeroMQ frame with flags " + (flags & 0xff));
        }
        ByteBuffer length = ByteBuffer.allocate((flags & LONG) != 0 ? Long.BYTES : Byte.BYTES);
        wire.readFully(length, timeout);
        return (flags & LONG) != 0 ? length.getLong(0) : length.get(0) & 0xff;
    }

    private static ByteBuffer frames(int flags, List<byte[]> bodies) {
        int numBytes = 0;
        for (byte[] body : bodies) {
            numBytes += 1 + Long.BYTES + body.length;
        }
        ByteBuffer frames = ByteBuffer.allocate(numBytes);
        for (int i = 0; i < bodies.size(); i++) {
            byte[] body = bodies.get(i);
            int all = i < bodies.size() - 1 ? flags | MORE : flags;
            if (body.length > MAX_SHORT_BYTES) {
                frames.put((byte) (all | LONG)).putLong(body.length);
            } else {
                frames.put((byte) all).put((byte) body.length);
            }
            frames.put(body);
        }
        return frames.flip();
    }
}
