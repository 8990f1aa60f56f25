package dev.baton.transfer.lmcache;

import dev.baton.transfer.TransferException;
import dev.baton.wire.Wire;
import dev.baton.wire.WireServer;
import java.io.EOFException;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.net.ProtocolException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.atomic.LongAdder;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/// A server of LMCache's `lm://` protocol, for engines of Baton's and for vLLM with LMCache: keeps chunks in
/// memory, up to a bound; the one that was not used for longest goes first.
///
/// The protocol has no authentication: whoever reaches the port can read and replace chunks.
///
/// Thread-safe. One platform thread per connection, up to a bound.
public final class LmCacheServer implements AutoCloseable {
    private static final Logger LOG = LoggerFactory.getLogger(LmCacheServer.class);

    /// An engine may ask nothing for as long as it likes: LMCache's client cannot connect a second time.
    private static final Duration PATIENCE = Duration.ofDays(3650);
    /// How long a client may take no bytes, or send none of those it promised.
    private static final Duration STALL = Duration.ofSeconds(30);

    private static final int BUFFERS_AT_A_TIME = 64;

    private final WireServer server;
    private final long maxChunkBytes;
    private final ChunkMemory memory;
    private final LongAdder puts = new LongAdder();
    private final LongAdder gets = new LongAdder();
    private final LongAdder hits = new LongAdder();

    private LmCacheServer(String host, int port, long maxBytes, int maxConnections) throws IOException {
        this.maxChunkBytes = Math.min(maxBytes, Limits.MAX_CHUNK_BYTES);
        this.memory = new ChunkMemory(maxBytes);
        try {
            this.server = WireServer.start("baton-lm-server", host, port, maxConnections, Client::new);
        } catch (IOException | RuntimeException e) {
            memory.close();
            throw e;
        }
    }

    /// Binds and begins to serve.
    ///
    /// @param port 0 for any free one
    /// @param maxBytes memory for chunks; address space is taken at once, memory as it is needed
    /// @param maxConnections further clients are turned away
    /// @throws TransferException if the address cannot be bound, or a bound makes no sense
    public static LmCacheServer start(String host, int port, long maxBytes, int maxConnections) {
        if (maxBytes < ChunkMemory.PAGE_BYTES || maxBytes / ChunkMemory.PAGE_BYTES > Integer.MAX_VALUE) {
            throw new TransferException("--max-bytes is %d; needed: at least %d, at most 128 TiB"
                    .formatted(maxBytes, ChunkMemory.PAGE_BYTES));
        }
        if (maxConnections < 1) {
            throw new TransferException("--max-connections is %d; needed: at least 1".formatted(maxConnections));
        }
        try {
            return new LmCacheServer(host, port, maxBytes, maxConnections);
        } catch (IOException e) {
            throw new TransferException(
                    "cannot listen on %s:%d (%s); change --host or --port".formatted(host, port, e), e);
        } catch (OutOfMemoryError e) {
            throw new TransferException("there is no memory of %d bytes; lower --max-bytes".formatted(maxBytes), e);
        }
    }

    /// The port bound.
    public int port() {
        return server.port();
    }

    /// Clients connected now.
    public int numConnections() {
        return server.numConnections();
    }

    /// Chunks kept now.
    public int numChunks() {
        return memory.numChunks();
    }

    /// Memory that chunks take now, in whole pages.
    public long usedBytes() {
        return memory.usedBytes();
    }

    /// One sentence about what was done so far.
    public String summary() {
        return "%d chunks in %d MiB, %d clients; so far %d stored, %d of %d asked for were there, %d evicted"
                .formatted(
                        numChunks(),
                        usedBytes() >> 20,
                        numConnections(),
                        puts.sum(),
                        hits.sum(),
                        gets.sum(),
                        memory.numEvicted());
    }

    /// One client, and the thread that serves it.
    private final class Client implements WireServer.Connection {
        private final Wire wire;

        Client(Wire wire) {
            this.wire = wire;
        }

        @Override
        public void abort() {
            wire.abort();
        }

        @Override
        public void run() {
            ByteBuffer header = ByteBuffer.allocateDirect(LmMessage.REQUEST_BYTES);
            try (wire) {
                while (true) {
                    wire.readFully(header.clear().limit(1), PATIENCE);
                    wire.readFully(header.limit(LmMessage.REQUEST_BYTES), STALL);
                    answer(wire, LmMessage.readRequest(header.flip()));
                }
            } catch (EOFException e) {
                LOG.debug("a client is gone");
            } catch (ProtocolException e) {
                LOG.warn("a client is disconnected: {}", e.getMessage());
            } catch (IOException e) {
                LOG.debug("a client is disconnected: {}", e.toString());
            } catch (RuntimeException | OutOfMemoryError e) {
                LOG.error("a client is disconnected", e);
            }
        }
    }

    private void answer(Wire wire, LmMessage.Request request) throws IOException {
        switch (request.command()) {
            case LmMessage.PUT -> put(wire, request);
            case LmMessage.GET -> get(wire, request.key());
            case LmMessage.EXIST -> {
                boolean isThere = memory.contains(request.key());
                reply(wire, isThere ? LmMessage.SUCCESS : LmMessage.FAIL);
            }
            case LmMessage.HEALTH -> reply(wire, LmMessage.SUCCESS);
            default -> throw new ProtocolException("there is no command %d".formatted(request.command()));
        }
    }

    private static void reply(Wire wire, int code) throws IOException {
        wire.writeSteadily(new ByteBuffer[] {LmMessage.reply(code, ChunkHead.NONE)}, STALL);
    }

    private void put(Wire wire, LmMessage.Request request) throws IOException {
        int bytes = request.head().lengthBytes();
        if (bytes < 0 || bytes > maxChunkBytes || request.key().isEmpty()) {
            throw new ProtocolException("it wants to store %d bytes under \"%s\"; needed: 0 to %d bytes under a key"
                    .formatted(bytes, request.key(), maxChunkBytes));
        }
        Optional<ChunkMemory.Chunk> reserved = memory.reserve(request.key(), request.head());
        if (reserved.isEmpty()) {
            skip(wire, bytes); // all other chunks are being read or written
            return;
        }
        ChunkMemory.Chunk chunk = reserved.get();
        boolean isWhole = false;
        try {
            for (MemorySegment piece : memory.pieces(chunk)) {
                wire.readFully(piece.asByteBuffer(), STALL);
            }
            isWhole = true;
        } finally {
            if (isWhole) {
                memory.publish(chunk);
                puts.increment();
            } else {
                memory.release(chunk);
            }
        }
    }

    private static void skip(Wire wire, int bytes) throws IOException {
        ByteBuffer scratch = ByteBuffer.allocate(Math.min(bytes, ChunkMemory.PAGE_BYTES));
        for (int left = bytes; left > 0; left -= scratch.limit()) {
            wire.readFully(scratch.clear().limit(Math.min(left, scratch.capacity())), STALL);
        }
    }

    private void get(Wire wire, String key) throws IOException {
        gets.increment();
        Optional<ChunkMemory.Chunk> found = memory.acquire(key);
        if (found.isEmpty()) {
            reply(wire, LmMessage.FAIL);
            return;
        }
        ChunkMemory.Chunk chunk = found.get();
        try {
            hits.increment();
            // The header goes with the first bytes: LMCache's client takes it with one read.
            List<ByteBuffer> buffers = new ArrayList<>();
            buffers.add(LmMessage.reply(LmMessage.SUCCESS, chunk.head()));
            memory.pieces(chunk).forEach(piece -> buffers.add(piece.asByteBuffer()));
            for (int from = 0; from < buffers.size(); from += BUFFERS_AT_A_TIME) {
                int end = Math.min(buffers.size(), from + BUFFERS_AT_A_TIME);
                wire.writeSteadily(buffers.subList(from, end).toArray(ByteBuffer[]::new), STALL);
            }
        } finally {
            memory.release(chunk);
        }
    }

    /// Turns all clients away and gives the memory back.
    @Override
    public void close() {
        server.close();
        memory.close();
    }
}
