package dev.baton.transfer.lmcache;

import dev.baton.wire.Wire;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.time.Duration;

/// Chunks on a server of LMCache's `lm://` protocol: `lmcache_server`, or `baton cache-server`.
///
/// A PUT has no answer, so whether the server kept a chunk is seen only when it is looked up.
///
/// Thread-safe.
final class LmTier implements Tier {
    static final String SCHEME = "lm://";

    private final ServerAddress address;
    private final Duration timeout;
    private final Connections connections;

    LmTier(ServerAddress address, Duration timeout) {
        this.address = address;
        this.timeout = timeout;
        this.connections = new Connections(address.host(), address.port(), timeout, wire -> true);
    }

    @Override
    public String name() {
        return SCHEME + address;
    }

    @Override
    public boolean contains(String key) throws IOException {
        return connections.use(wire -> {
            LmMessage.Reply reply = ask(wire, LmMessage.EXIST, key);
            return isSuccess(reply);
        });
    }

    @Override
    public boolean get(String key, ChunkHead expected, MemorySegment target) throws IOException {
        return connections.use(wire -> {
            LmMessage.Reply reply = ask(wire, LmMessage.GET, key);
            if (!isSuccess(reply)) {
                return false;
            }
            expected.require(reply.head()); // the connection ends if not: the bytes were not read
            wire.readFully(target.asSlice(0, expected.lengthBytes()).asByteBuffer(), timeout);
            return true;
        });
    }

    @Override
    public void put(String key, ChunkHead head, MemorySegment chunk) throws IOException {
        boolean _ = connections.use(wire -> {
            ByteBuffer request = LmMessage.request(new LmMessage.Request(LmMessage.PUT, head, key));
            ByteBuffer bytes = chunk.asSlice(0, head.lengthBytes()).asByteBuffer();
            wire.writeSteadily(new ByteBuffer[] {request, bytes}, timeout);
            return true;
        });
    }

    private LmMessage.Reply ask(Wire wire, int command, String key) throws IOException {
        ByteBuffer request = LmMessage.request(new LmMessage.Request(command, ChunkHead.NONE, key));
        wire.writeSteadily(new ByteBuffer[] {request}, timeout);
        ByteBuffer reply = ByteBuffer.allocate(LmMessage.REPLY_BYTES);
        wire.readFully(reply, timeout);
        return LmMessage.readReply(reply.flip());
    }

    private static boolean isSuccess(LmMessage.Reply reply) throws IOException {
        return switch (reply.code()) {
            case LmMessage.SUCCESS -> true;
            case LmMessage.FAIL -> false;
            default -> throw new ProtocolException("the server answered with code %d".formatted(reply.code()));
        };
    }

    @Override
    public void disconnect() {
        connections.close();
    }

    @Override
    public void close() {
        disconnect();
    }
}
