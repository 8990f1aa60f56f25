package dev.baton.transfer.lmcache;

import dev.baton.transfer.TransferException;
import dev.baton.wire.Wire;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.OptionalLong;

/// Chunks on a Redis server, as LMCache keeps them: `KEYkv_bytes` with the bytes, set first, and `KEYmetadata`
/// with the head.
///
/// Speaks the few commands of Redis' protocol (RESP 2) that this takes, because a chunk then goes straight
/// between the socket and off-heap memory: measured, that moves 2 to 3 times as many bytes a second as a client
/// library that makes arrays of them, and needs no further library.
///
/// Thread-safe.
final class RedisTier implements Tier {
    static final String SCHEME = "redis://";
    static final int DEFAULT_PORT = 6379;

    private static final String BYTES = "kv_bytes";
    private static final String METADATA = "metadata";

    private final ServerAddress address;
    private final Duration timeout;
    private final Connections connections;

    /// @throws TransferException if the address names no database
    RedisTier(ServerAddress address, Duration timeout) {
        if (!address.path().matches("\\d{0,4}")) {
            throw new TransferException(
                    "remote_url: \"%s\" is no number of a Redis database".formatted(address.path()));
        }
        this.address = address;
        this.timeout = timeout;
        this.connections = new Connections(address.host(), address.port(), timeout, this::greet);
    }

    @Override
    public String name() {
        return SCHEME + address;
    }

    private boolean greet(Wire wire) throws IOException {
        if (address.user().isPresent()) {
            String user = address.user().get();
            int colon = user.indexOf(':');
            String name = colon < 0 ? user : user.substring(0, colon);
            String password = user.substring(colon + 1);
            send(wire, name.isEmpty() || colon < 0 ? List.of("AUTH", password) : List.of("AUTH", name, password));
            new Replies(wire).ok();
        }
        if (!address.path().isEmpty() && !address.path().equals("0")) {
            send(wire, List.of("SELECT", address.path()));
            new Replies(wire).ok();
        }
        return true;
    }

    @Override
    public boolean contains(String key) throws IOException {
        return connections.use(wire -> {
            send(wire, List.of("EXISTS", key + METADATA));
            return new Replies(wire).number() > 0;
        });
    }

    @Override
    public boolean get(String key, ChunkHead expected, MemorySegment target) throws IOException {
        return connections.use(wire -> {
            Replies replies = new Replies(wire);
            send(wire, List.of("GET", key + METADATA));
            ByteBuffer head = ByteBuffer.allocate(ChunkHead.BYTES);
            if (!replies.bulk(head)) {
                return false;
            }
            expected.require(ChunkHead.read(head.flip()));
            send(wire, List.of("GET", key + BYTES));
            if (replies.bulk(target.asSlice(0, expected.lengthBytes()).asByteBuffer())) {
                return true;
            }
            send(wire, List.of("DEL", key + METADATA)); // as LMCache does: the bytes were evicted
            long _ = replies.number();
            return false;
        });
    }

    @Override
    public void put(String key, ChunkHead head, MemorySegment chunk) throws IOException {
        boolean _ = connections.use(wire -> {
            Replies replies = new Replies(wire);
            set(wire, key + BYTES, chunk.asSlice(0, head.lengthBytes()).asByteBuffer());
            replies.ok();
            set(wire, key + METADATA, ByteBuffer.wrap(head.toBytes()));
            replies.ok();
            return true;
        });
    }

    private void send(Wire wire, List<String> words) throws IOException {
        wire.writeSteadily(new ByteBuffer[] {command(words, words.size())}, timeout);
    }

    private void set(Wire wire, String key, ByteBuffer value) throws IOException {
        ByteBuffer head = command(List.of("SET", key), 3);
        ByteBuffer length = ascii("$" + value.remaining() + "\r\n");
        wire.writeSteadily(new ByteBuffer[] {head, length, value, ascii("\r\n")}, timeout);
    }

    private static ByteBuffer command(List<String> words, int numWords) {
        StringBuilder text = new StringBuilder("*").append(numWords).append("\r\n");
        for (String word : words) {
            text.append('$')
                    .append(word.getBytes(StandardCharsets.UTF_8).length)
                    .append("\r\n")
                    .append(word)
                    .append("\r\n");
        }
        return ByteBuffer.wrap(text.toString().getBytes(StandardCharsets.UTF_8));
    }

    private static ByteBuffer ascii(String text) {
        return ByteBuffer.wrap(text.getBytes(StandardCharsets.US_ASCII));
    }

    @Override
    public void disconnect() {
        connections.close();
    }

    @Override
    public void close() {
        disconnect();
    }

    /// Reads the answers to the commands of one exchange.
    private final class Replies {
        private static final int LINE_BYTES = 64;

        private final Wire wire;
        private final ByteBuffer in = ByteBuffer.allocate(LINE_BYTES).flip();

        Replies(Wire wire) {
            this.wire = wire;
        }

        void ok() throws IOException {
            String line = line();
            if (!line.equals("+OK")) {
                throw new ProtocolException("the server answered " + line);
            }
        }

        long number() throws IOException {
            String line = line();
            return of(line, ':').orElseThrow(() -> new ProtocolException("the server answered " + line));
        }

        /// Fills a buffer with a value of just its length.
        ///
        /// @return false if there is no value
        boolean bulk(ByteBuffer target) throws IOException {
            String line = line();
            long length = of(line, '$').orElseThrow(() -> new ProtocolException("the server answered " + line));
            if (length == -1) {
                return false;
            }
            if (length != target.remaining()) {
                throw new BadChunkException("its value has %d bytes; needed: %d".formatted(length, target.remaining()));
            }
            int ready = Math.min(in.remaining(), target.remaining());
            target.put(in.slice(in.position(), ready));
            in.position(in.position() + ready);
            wire.readFully(target, timeout);
            if (!line().isEmpty()) {
                throw new ProtocolException("a value is longer than the server said");
            }
            return true;
        }

        private static OptionalLong of(String line, char type) {
            boolean isNumber = line.length() > 1
                    && line.charAt(0) == type
                    && line.substring(1).matches("-?\\d{1,18}");
            return isNumber ? OptionalLong.of(Long.parseLong(line.substring(1))) : OptionalLong.empty();
        }

        /// The next line without its end. Reads ahead at most [#LINE_BYTES]; an exchange ends with nothing left.
        private String line() throws IOException {
            ByteArrayOutputStream bytes = new ByteArrayOutputStream();
            while (true) {
                while (in.hasRemaining()) {
                    byte next = in.get();
                    if (next == '\n') {
                        return bytes.toString(StandardCharsets.ISO_8859_1).strip();
                    }
                    bytes.write(next);
                }
                if (bytes.size() > Limits.MAX_REDIS_LINE_BYTES) {
                    throw new ProtocolException("the server's answer is too long");
                }
                fill();
            }
        }

        private void fill() throws IOException {
            ByteBuffer first = in.clear().slice(0, 1);
            ByteBuffer rest = in.slice(1, LINE_BYTES - 1);
            wire.readSteadily(new ByteBuffer[] {first, rest}, timeout);
            in.limit(1 + rest.position());
        }
    }
}
